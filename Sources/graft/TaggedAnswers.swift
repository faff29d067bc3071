import Datasets
import Foundation
import Tensors
import Training

/// What `graft predict` says with a network that tags words: the entities that texts name.
struct TaggedAnswers {
    struct Answer: Encodable {
        struct Found: Encodable {
            let type: String
            let text: String
            /// Where it is in the text, in Unicode scalars from 0, half open.
            let start: Int
            let end: Int
        }
        let input: String
        let entities: [Found]
    }

    private let answers: [Answer]

    /// - Throws: what the network and `file` throw; `CommandError` where the input is no text.
    init(_ trained: TrainedNetwork, _ inputs: [String], file: String?) throws {
        guard case .texts(let input) = trained.input else {
            throw CommandError.cannotAnswer(path: trained.path, output: "tags", remedy: "it takes no texts")
        }
        let texts = try inputs + (file.map { try TextFile.lines($0) } ?? [])
        Predict.note(
            cut: try texts.count { try input.fullLength(SampleText($0)) > input.length }, of: texts.count, input)
        answers = try withoutTape { try texts.map { try Self.answer($0, input, trained) } }
    }

    func print(json: Bool) throws {
        if json { return try Output.json(answers) }
        for answer in answers {
            Swift.print(answer.input)
            for line in Output.table(answer.entities.map { [$0.type, $0.text] }) { Swift.print("  " + line) }
        }
    }

    private static func answer(_ text: String, _ input: TextInput, _ trained: TrainedNetwork) throws -> Answer {
        let encoding = try input.tokenizer.encode(text, maximumLength: input.length)
        guard !encoding.tokens.isEmpty else { throw DatasetError.noTokens(path: "'\(text)'") }
        let fields = input.stack([TokenSequence(tokens: encoding.tokens, segments: encoding.segments)])
        let logits = try trained.network.logits(of: fields, .inference).scalars
        let classes = trained.network.architecture.classes
        let firsts = TextInput.firstTokens(encoding)
        var (tags, places): ([String], [Range<Int>]) = ([], [])
        for (index, offsets) in encoding.offsets.enumerated() where encoding.words[index] != nil {
            guard firsts.contains(index) else {
                // A further token of the word.
                if let last = places.last {
                    places[places.count - 1] = last.lowerBound..<max(last.upperBound, offsets.upperBound)
                }
                continue
            }
            let row = logits[index * classes..<(index + 1) * classes]
            tags.append(trained.className((row.indices.max { row[$0] < row[$1] } ?? row.startIndex) - row.startIndex))
            places.append(offsets)
        }
        let scalars = Array(text.unicodeScalars)
        let entities = Entity.all(in: tags).map { entity in
            let (start, end) = (
                places[entity.words.lowerBound].lowerBound, places[entity.words.upperBound - 1].upperBound
            )
            var part = String.UnicodeScalarView()
            part.append(contentsOf: scalars[start..<min(max(start, end), scalars.count)])
            return Answer.Found(type: entity.type, text: String(part), start: start, end: end)
        }
        return Answer(input: text, entities: entities)
    }
}
