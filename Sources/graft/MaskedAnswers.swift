import Datasets
import Models
import Tensors
import Training

/// What `graft predict` says with a masked language model: what stands at each [MASK] of a text.
struct MaskedAnswers {
    struct Answer: Encodable {
        struct Choice: Encodable {
            /// As the vocabulary writes it.
            let token: String
            let index: Int
            let probability: Float
        }
        let input: String
        /// One list for each mask, in order.
        let masks: [[Choice]]
    }

    private let answers: [Answer]

    /// - Throws: what the network throws; `CommandError.nothingAsked` for a text without a mask.
    init(_ trained: TrainedNetwork, _ input: TextInput, _ texts: [String], top: Int) throws {
        answers = try withoutTape { try texts.map { try Self.answer($0, input, trained, top) } }
    }

    func print(json: Bool) throws {
        if json { return try Output.json(answers) }
        for answer in answers {
            Swift.print(answer.input)
            for (number, choices) in answer.masks.enumerated() {
                if answer.masks.count > 1 { Swift.print("  mask \(number + 1)") }
                let rows = choices.map { [Output.percent(Double($0.probability)), $0.token] }
                for line in Output.table(rows) { Swift.print("  " + line) }
            }
        }
    }

    private static func answer(
        _ text: String, _ input: TextInput, _ trained: TrainedNetwork, _ top: Int
    ) throws -> Answer {
        let sequence = try input.sequence(SampleText(text), name: "'\(text)'")
        let places = sequence.tokens.indices.filter { sequence.tokens[$0] == input.tokenizer.maskToken }
        guard !places.isEmpty else {
            let mask = input.tokenizer.maskToken.flatMap { input.tokenizer.token($0) } ?? "[MASK]"
            throw CommandError.nothingAsked(
                input: text, remedy: "write \(mask) where a word is wanted, within the first \(input.length) tokens")
        }
        let logits = try trained.network.logits(of: input.stack([sequence]), .inference)
        let masked = logits.reshaped([logits.shape[1], logits.shape[2]])
            .gathered(rows: Tensor(indices: places.map(Int32.init), shape: [places.count]))
        let (all, width) = (softmax(masked).scalars, logits.shape[2])
        let masks = places.indices.map { mask -> [Answer.Choice] in
            let row = all[mask * width..<(mask + 1) * width]
            return row.enumerated().sorted { ($1.element, $0.offset) < ($0.element, $1.offset) }.prefix(top).map {
                Answer.Choice(
                    token: input.tokenizer.token(Int32($0.offset)) ?? "", index: $0.offset, probability: $0.element)
            }
        }
        return Answer(input: text, masks: masks)
    }
}
