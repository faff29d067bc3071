import Datasets
import Models
import Tensors
import Training

/// What `graft predict` says with a network that answers questions: where in a passage the answer is.
struct QuestionAnswers {
    struct Answer: Encodable {
        let question: String
        /// Empty where the passage holds none.
        let answer: String
        /// The product of both ends' probabilities in the window that is surest; of no answer, those of [CLS].
        let score: Float
        /// Where it is in the passage, in Unicode scalars from 0, half open.
        let start: Int
        let end: Int
    }

    private let answers: [Answer]

    /// - Throws: what the network and the tokenizer throw.
    init(_ trained: TrainedNetwork, _ input: TextInput, _ questions: [(question: String, context: String)]) throws {
        answers = try withoutTape { try questions.map { try Self.answer($0.question, $0.context, input, trained) } }
    }

    func print(json: Bool) throws {
        if json { return try Output.json(answers) }
        for answer in answers {
            Swift.print(answer.question)
            let text = answer.answer.isEmpty ? "no answer" : answer.answer
            Swift.print("  \(Output.percent(Double(answer.score)))  \(text)")
        }
    }

    private static func answer(
        _ question: String, _ passage: String, _ input: TextInput, _ trained: TrainedNetwork
    ) throws -> Answer {
        var best: WindowAnswer?
        var null = (score: Float.infinity, probability: Float(0))
        for window in try input.windows(question, context: passage) {
            let sequence = TextInput.sequence(window)
            let logits = Network.spanLogits(
                try trained.network.logits(of: input.stack([sequence]), .inference), keyMask: nil
            ).scalars
            let answer = WindowAnswer(
                begin: logits[..<window.count], end: logits[window.count...], places: sequence.places)
            if answer.score ?? -.infinity > best?.score ?? -.infinity { best = answer }
            if answer.nullScore < null.score { null = (answer.nullScore, answer.nullProbability) }
        }
        guard let best, let score = best.score, !(trained.mayHaveNoAnswer && null.score > score) else {
            return Answer(question: question, answer: "", score: null.probability, start: 0, end: 0)
        }
        return Answer(
            question: question, answer: best.text(in: passage), score: best.probability,
            start: best.characters.lowerBound, end: best.characters.upperBound)
    }
}
