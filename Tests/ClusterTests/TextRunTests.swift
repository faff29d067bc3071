import Archives
import Foundation
import XCTest

/// Whole runs over text: a tiny BERT that tells good from bad, answers questions or fills gaps, and a tiny GPT-2 over bytes.
final class TextRunTests: TrainingRunTestCase {
    override var makesData: Bool { true }

    override func setUpWithError() throws {
        try super.setUpWithError()
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + Self.words + ["good", "bad"]
        try save(words.joined(separator: "\n") + "\n", "vocab.txt")
        try save(Self.sentences(0..<20), "train.tsv")
        try save(Self.sentences(20..<31), "test.tsv")
        for part in ["train", "test"] {
            let rows = try String(contentsOfFile: "\(folder)/\(part).tsv", encoding: .utf8).split(separator: "\n")
            let tagged = rows.map { row in
                row.prefix { $0 != "\t" }.split(separator: " ").map { word in
                    "\(word)\t\(["good", "bad"].contains(word) ? "B-verdict" : word == "very" ? "I-verdict" : "O")\n"
                }.joined() + "\n"
            }
            try save(tagged.joined(), "\(part).conll")
        }
        try save(Self.squad(0..<20), "train.json")
        try save(Self.squad(20..<31), "test.json")
        try save((0..<40).map { Self.passage($0) + "\n" }.joined(), "words.txt")
        let lines = (0..<60).map { "line \($0): the \(Self.words[$0 % 7]) is \($0 % 3 == 0 ? "good" : "bad").\n" }
        try save(lines.joined(), "text.txt")
    }

    private static let words = ["film", "plot", "cast", "music", "end", "was", "very", "rather", "the", "a", "and"]

    /// Sentences of two to nine words, of which one tells the label.
    private static func sentences(_ numbers: Range<Int>) -> String {
        numbers.map { number in
            var sentence = (0..<1 + number * 5 % 8).map { words[(number * 7 + $0 * $0 * 3) % words.count] }
            let isGood = number * 13 % 5 < 2
            sentence.insert(isGood ? "good" : "bad", at: number % (sentence.count + 1))
            return "\(sentence.joined(separator: " "))\t\(isGood ? "pos" : "neg")\n"
        }.joined()
    }

    private static func passage(_ number: Int) -> String {
        (0..<4 + number * 5 % 8).map { words[(number * 7 + $0 * $0 * 3) % words.count] }.joined(separator: " ")
    }

    /// Questions of one word about passages of four to eleven, some of which hold it, and some in two windows.
    private static func squad(_ numbers: Range<Int>) -> String {
        let paragraphs = numbers.map { number in
            let (passage, word) = (passage(number), words[number * 3 % words.count])
            let start = passage.components(separatedBy: " ").prefix { $0 != word }.reduce(0) { $0 + $1.count + 1 }
            let answer = start < passage.count ? #"{"text": "\#(word)", "answer_start": \#(start)}"# : ""
            return #"{"context": "\#(passage)", "qas": [{"id": "\#(number)", "question": "\#(word)", "#
                + #""answers": [\#(answer)]}]}"#
        }
        return #"{"data": [{"paragraphs": [\#(paragraphs.joined(separator: ", "))]}]}"#
    }

    private func save(_ text: String, _ name: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
    }

    /// Dropout is on: what it draws must not depend on ranks.
    private func classifier(_ train: String = "") -> String {
        """
        model:
          architecture: bert
          variant: sequence-classification
          sizes: {layers: 2, width: 16, heads: 2, vocabulary: 18, positions: 16}
          dropout: 0.1
        data:
          train: \(folder)/train.tsv
          validation: \(folder)/test.tsv
          text: {tokenizer: \(folder)/vocab.txt, length: 12}
        train:
          epochs: 3
          batch: 6
          optimizer: {name: sgd, learning-rate: 0.05, momentum: 0.9}
        \(train)
        run:
          log-every: 1
          save-every: {steps: 3}
          keep: 100
        """
    }

    /// The words themselves are their tags' types.
    private var tagger: String {
        classifier().replacingOccurrences(of: "sequence-classification", with: "token-classification")
            .replacingOccurrences(of: "/train.tsv", with: "/train.conll")
            .replacingOccurrences(of: "/test.tsv", with: "/test.conll")
    }

    private var reader: String {
        classifier().replacingOccurrences(of: "sequence-classification", with: "question-answering")
            .replacingOccurrences(of: "/train.tsv", with: "/train.json")
            .replacingOccurrences(of: "/test.tsv", with: "/test.json")
            .replacingOccurrences(of: "length: 12", with: "length: 10, stride: 2")
    }

    private var maskedModel: String {
        classifier().replacingOccurrences(of: "sequence-classification", with: "masked-language-model")
            .replacingOccurrences(of: "/train.tsv", with: "/words.txt")
            .replacingOccurrences(of: "  validation: \(folder)/test.tsv\n", with: "")
            .replacingOccurrences(of: "length: 12", with: "length: 12, held-out: 0.3")
    }

    private var languageModel: String {
        """
        model:
          architecture: gpt2
          sizes: {layers: 2, width: 16, heads: 2, vocabulary: 256, positions: 16}
          dropout: 0.1
        data:
          train: \(folder)/text.txt
          text: {tokenizer: bytes, length: 12, held-out: 0.2}
        train:
          steps: 12
          batch: 5
          optimizer: {name: sgd, learning-rate: 0.05}
        run:
          log-every: 1
          save-every: {steps: 3}
          validate-every: {steps: 6}
          keep: 100
        """
    }

    private struct Summary: Decodable {
        struct Metrics: Decodable {
            var top1: Double
            var loss: Double
            var samples: Int
            var perplexity: Double?
            var f1: Double?
            var exactMatch: Double?
            var questions: Int?
        }
        var last: Metrics?
    }

    private func validation(_ output: String) throws -> Summary.Metrics {
        let bytes = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(output)/summary.json"))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try XCTUnwrap(try decoder.decode(Summary.self, from: bytes).last)
    }

    /// The same losses at 1, 2 and 3 ranks, though each batch is filled up to another length and the last one leaves a
    /// rank of three without texts; the same validation, each sample counted once.
    func testRanksAgree() throws {
        let runs: [(name: String, recipe: String, samples: Int?)] = [
            ("bert", classifier(), 11), ("gpt2", languageModel, nil), ("tags", tagger, nil), ("answers", reader, nil),
            ("masks", maskedModel, nil),
        ]
        for (name, recipe, samples) in runs {
            try write(recipe)
            assertDone(try train("\(name)1"))
            let (alone, judged) = (try losses("\(name)1"), try validation("\(name)1"))
            XCTAssertGreaterThanOrEqual(alone.count, 9)
            if let samples { XCTAssertEqual(judged.samples, samples) }
            XCTAssertEqual(judged.perplexity != nil, ["gpt2", "masks"].contains(name))
            XCTAssertEqual(judged.questions, name == "answers" ? 11 : nil)
            for ranks in [2, 3] {
                assertDone(try train("\(name)\(ranks)", ranks: ranks))
                for (step, (a, b)) in zip(alone, try losses("\(name)\(ranks)")).enumerated() {
                    XCTAssertLessThan(abs(a - b) / a, 1e-4, "\(name), \(ranks) ranks, step \(step + 1)")
                }
                let other = try validation("\(name)\(ranks)")
                XCTAssertEqual(other.samples, judged.samples)
                XCTAssertEqual(other.exactMatch, judged.exactMatch)
                XCTAssertEqual(other.f1, judged.f1)
                XCTAssertEqual(other.loss, judged.loss, accuracy: 1e-4 * judged.loss)
            }
        }
    }

    /// Held-out text is the last part, and every token of it but the first is predicted once.
    func testHeldOutText() throws {
        try write(languageModel)
        assertDone(try train("held"))
        let text = try String(contentsOfFile: "\(folder)/text.txt", encoding: .utf8)
        let count = text.unicodeScalars.count - Int(Double(text.unicodeScalars.count) * 0.8)
        XCTAssertEqual(try validation("held").samples, count - 1)
        XCTAssertLessThan(try losses("held").last ?? 9, log(256))
    }

    /// A batch in three parts gives the losses of a batch in one.
    func testAccumulatingAgrees() throws {
        for (name, recipe) in [
            ("bert", classifier()), ("gpt2", languageModel), ("answers", reader), ("masks", maskedModel),
        ] {
            try write(recipe)
            assertDone(try train("\(name)-whole"))
            assertDone(try train("\(name)-parts", "train.accumulate=3"))
            for (a, b) in zip(try losses("\(name)-whole"), try losses("\(name)-parts")) {
                XCTAssertLessThan(abs(a - b) / a, 1e-4, name)
            }
        }
    }

    /// Texts sent by the coordinator train the same network; the other ranks have no files at all.
    func testScatteredTextsTrainTheSame() throws {
        try FileManager.default.createDirectory(atPath: folder + "/elsewhere", withIntermediateDirectories: true)
        for (name, recipe) in [
            ("bert", classifier()), ("gpt2", languageModel), ("answers", reader), ("masks", maskedModel),
        ] {
            try write(recipe.replacingOccurrences(of: "\(folder)/", with: ""))
            func run(_ output: String, othersIn place: String, _ sharding: String) throws -> Outcome {
                let command = arguments(output, ["data.sharding=\(sharding)"], [])
                let first = ["/bin/bash", Launch.launcher, "-np", "1", "--wdir", folder] + command
                return try Launch(
                    first + [":", "-np", "1", "--wdir", place] + command, environment: ["OMP_NUM_THREADS": "1"]
                ).finish(limit: 120)
            }
            assertDone(try run("\(name)-shared", othersIn: folder, "shared"))
            assertDone(try run("\(name)-scattered", othersIn: folder + "/elsewhere", "scatter"))
            XCTAssertEqual(try weights("\(name)-shared"), try weights("\(name)-scattered"))
        }
    }

    func testResumingIsExact() throws {
        for (name, recipe) in [
            ("bert", classifier()), ("gpt2", languageModel), ("answers", reader), ("masks", maskedModel),
        ] {
            try write(
                recipe.replacingOccurrences(of: "name: sgd", with: "name: adamw")
                    .replacingOccurrences(of: ", momentum: 0.9", with: ""))
            assertDone(try train("\(name)-whole", ranks: 2))
            let third = "\(folder)/\(name)-whole/checkpoints/step-00000003.h5"
            assertDone(try train("\(name)-resumed", ranks: 2, more: ["--resume", third]))
            XCTAssertEqual(try weights("\(name)-whole"), try weights("\(name)-resumed"))
        }
    }

    /// Another tokenizer is other data.
    func testAnotherTokenizerIsNotResumed() throws {
        try write(classifier())
        assertDone(try train("first"))
        let words = try String(contentsOfFile: "\(folder)/vocab.txt", encoding: .utf8)
        try save(words.replacingOccurrences(of: "film\nplot", with: "plot\nfilm"), "vocab.txt")
        let outcome = try train(
            "second", more: ["--resume", "\(folder)/first/checkpoints/step-00000003.h5"])
        XCTAssertEqual(outcome.code, 2, outcome.errors + outcome.output)
    }

    /// Frozen layers run without dropout, and what they give for each token is kept: the same training, compiled or not,
    /// cached or not, at any number of ranks.
    func testFrozenLayersAreCached() throws {
        for (name, recipe) in [("texts", classifier()), ("tags", tagger)] {
            try write(recipe)
            assertDone(try train("\(name)-base"))
            try write(frozen(recipe, base: "\(name)-base"))
            assertDone(try train("\(name)-cached"))
            let again = try train("\(name)-again", ranks: 2)
            assertDone(again)
            assertDone(try train("\(name)-compiled", "trunk.cache=off"))
            assertDone(try train("\(name)-whole", "trunk.compile=false"))
            assertDone(try train("\(name)-two", ranks: 2, "trunk.cache=\(folder)/\(name)-two"))

            let trunk = try XCTUnwrap(try trunks("\(name)-cached").first)
            XCTAssertEqual([trunk.path, "\(trunk.stages)"], ["cached", "2"], name)
            XCTAssertEqual(trunk.computed_samples, 31, name)
            XCTAssertEqual(try trunks("\(name)-again").map(\.reused_samples), [31], again.output)
            XCTAssertEqual(try trunks("\(name)-two").map(\.computed_samples), [31], name)
            XCTAssertEqual(try trunks("\(name)-compiled").map(\.path), ["compiled"])
            XCTAssertEqual(try trunks("\(name)-whole").count, 0)
            // Each token takes its vector of 16 numbers, and what fills texts up takes nothing.
            XCTAssertEqual(trunk.cache_bytes, 4 * 16 * (try tokenCount()), name)

            let cached = try losses("\(name)-cached")
            for other in ["again", "compiled", "whole", "two"] {
                try assertClose("\(name)-cached", "\(name)-\(other)")
                for (step, (a, b)) in zip(cached, try losses("\(name)-\(other)")).enumerated() {
                    XCTAssertEqual(a, b, accuracy: 1e-4 * a, "\(name), \(other), step \(step + 1)")
                }
                XCTAssertEqual(
                    try validation("\(name)-\(other)").loss, try validation("\(name)-cached").loss, accuracy: 1e-4)
            }
        }
    }

    /// Running text is cut or masked elsewhere in every epoch: kept are as many variants of it as are asked for, and as
    /// many as epochs train as if nothing were kept.
    func testFrozenLayersOfLanguageModels() throws {
        let gpt2 = "[\"transformer.w*\", transformer.h.0]"
        for (name, model, layers) in [("gpt2", languageModel, gpt2), ("masks", maskedModel, Self.lowerLayers)] {
            try write(model)
            assertDone(try train("\(name)-base"))
            // Four epochs.
            let recipe = frozen(model, base: "\(name)-base").replacingOccurrences(of: Self.lowerLayers, with: layers)
                .replacingOccurrences(of: "  steps: 12", with: "  epochs: 4")
                .replacingOccurrences(of: "  epochs: 3", with: "  epochs: 4")
                .replacingOccurrences(of: "batch: 5", with: "batch: 40")
            try write(recipe)
            let cache = "trunk.cache=\(folder)/\(name)-cache"
            let compiled = try train("\(name)-compiled")
            assertDone(compiled)
            assertDone(try train("\(name)-whole", ranks: 2, "trunk.compile=false"))
            assertDone(try train("\(name)-four", ranks: 2, "trunk.variants=4", cache))
            let two = try train("\(name)-two", "trunk.variants=2", cache)
            assertDone(two)
            XCTAssertEqual(try trunks("\(name)-compiled").map(\.path), ["compiled"])
            XCTAssertTrue(compiled.output.contains("every epoch cuts or masks running text anew"), compiled.output)
            XCTAssertEqual(try trunks("\(name)-four").map(\.path), ["cached"])
            let (more, fewer) = (try trunks("\(name)-four")[0], try trunks("\(name)-two")[0])
            let validated = 2 * fewer.reused_samples - more.computed_samples
            XCTAssertEqual(fewer.computed_samples, 0, two.output)
            XCTAssertTrue((1..<more.computed_samples / 4).contains(validated), "all four epochs hold the same number")
            try assertClose("\(name)-compiled", "\(name)-whole")
            try assertClose("\(name)-compiled", "\(name)-four")
            for (step, (a, b)) in zip(try losses("\(name)-four"), try losses("\(name)-compiled")).enumerated() {
                XCTAssertEqual(a, b, accuracy: 1e-4 * b, "\(name), step \(step + 1)")
            }
            XCTAssertEqual(
                try validation("\(name)-four").loss, try validation("\(name)-compiled").loss, accuracy: 1e-4)
            XCTAssertNotEqual(try weights("\(name)-two"), try weights("\(name)-four"))
            XCTAssertEqual(try train("\(name)-required", cache).code, 2)
            // All of the text in one step, and nothing learns: the third epoch sees the text of the first again.
            let still = ["model.dropout=0", "train.batch=200", "train.optimizer.learning-rate=1e-12"]
            assertDone(try train("\(name)-still", still + ["trunk.variants=2"]))
            let seen = try losses("\(name)-still")
            XCTAssertEqual(seen.count, 4)
            XCTAssertEqual(seen[2], seen[0], accuracy: 1e-6 * seen[0])
            XCTAssertNotEqual(seen[1], seen[0], accuracy: 1e-5 * seen[0])
        }
    }

    /// In order, and not masked, the blocks are the same in every epoch.
    func testSequentialTextIsCachedOnce() throws {
        let model = languageModel.replacingOccurrences(of: "held-out", with: "offsets: sequential, held-out")
        try write(model)
        assertDone(try train("base"))
        try write(
            frozen(model, base: "base").replacingOccurrences(
                of: Self.lowerLayers, with: "[\"transformer.w*\", transformer.h.0]"
            ).replacingOccurrences(of: "batch: 5", with: "batch: 40"))
        assertDone(try train("cached"))
        assertDone(try train("compiled", "trunk.cache=off"))
        XCTAssertEqual(try trunks("cached").map(\.path), ["cached"])
        try assertClose("cached", "compiled")
        let refused = try train("refused", "trunk.variants=2")
        XCTAssertEqual(refused.code, 2)
        XCTAssertTrue(
            refused.errors.contains(
                "'trunk.variants' is 2, but all variants of a text would be the same without running text that is cut or "
                    + "masked at random; remove it"), refused.errors)
    }

    /// The recipe with the weights of a run, of which the lower layers stay.
    private func frozen(_ recipe: String, base: String) -> String {
        let lines = recipe.split(separator: "\n", omittingEmptySubsequences: false).filter { line in
            !["  architecture:", "  sizes:"].contains { line.hasPrefix($0) }
        }
        return lines.joined(separator: "\n")
            .replacingOccurrences(of: "model:", with: "model:\n  weights: \(folder)/\(base)/weights.h5")
            .replacingOccurrences(
                of: "train:\n  ", with: "train:\n  transfer: fine-tuning\n  freeze: \(Self.lowerLayers)\n  ")
    }

    private static let lowerLayers = "[bert.embeddings, bert.encoder.layer.0]"

    /// Tokens of all sentences, [CLS] and [SEP] included, cut to 12.
    private func tokenCount() throws -> Int {
        try ["train", "test"].reduce(0) { sum, part in
            let rows = try String(contentsOfFile: "\(folder)/\(part).tsv", encoding: .utf8).split(separator: "\n")
            return sum + rows.reduce(0) { $0 + min(12, $1.prefix { $0 != "\t" }.split(separator: " ").count + 2) }
        }
    }

    /// Only the classifier learns, and the classes learn with weights that somebody made: the run before.
    func testFeatureExtractionFromOwnWeights() throws {
        try write(classifier())
        assertDone(try train("base"))
        try write(
            classifier("  transfer: feature-extraction").replacingOccurrences(
                of: """
                      architecture: bert
                      variant: sequence-classification
                      sizes: {layers: 2, width: 16, heads: 2, vocabulary: 18, positions: 16}
                    """,
                with: """
                      weights: \(folder)/base/weights.h5
                      head: new
                    """
            ).replacingOccurrences(of: "tokenizer: \(folder)/vocab.txt, ", with: ""))
        assertDone(try train("features", ranks: 2))
        let (before, after) = (try weights("base"), try weights("features"))
        XCTAssertEqual(before.keys.sorted(), after.keys.sorted())
        for (name, values) in before {
            XCTAssertEqual(values == after[name], !name.hasPrefix("classifier."), name)
        }
    }
}
