import Archives
import Foundation
import XCTest

/// Texts through the command: train, evaluate, predict, generate, with nothing but the weights that a run has left.
final class TextTests: CommandTestCase {
    override func setUpWithError() throws {
        try super.setUpWithError()
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "plot", "cast", "good", "bad"]
        try write(Data((words.joined(separator: "\n") + "\n").utf8), "vocab.txt")
        func rows(_ numbers: Range<Int>) -> Data {
            Data(
                numbers.map { number in
                    let word = ["film", "plot", "cast"][number % 3]
                    let isGood = number * 13 % 5 < 2
                    return "a \(isGood ? "good" : "bad") \(word)\t\(isGood ? "pos" : "neg")\n"
                }.joined().utf8)
        }
        try write(rows(0..<40), "train.tsv")
        try write(rows(40..<60), "test.tsv")
        try write(Data(String(repeating: "to be or not to be. ", count: 60).utf8), "text.txt")
    }

    private let classifier = """
        model:
          architecture: bert
          variant: sequence-classification
          sizes: {layers: 1, width: 16, heads: 2, vocabulary: 11, positions: 16}
          dropout: 0
        data:
          train: train.tsv
          text: {tokenizer: vocab.txt, length: 8}
        train:
          epochs: 20
          batch: 8
          optimizer: {name: adamw, learning-rate: 0.01, decay-normalisation: false}
        """

    private let languageModel = """
        model:
          architecture: gpt2
          sizes: {layers: 1, width: 32, heads: 2, vocabulary: 256, positions: 24}
          dropout: 0
        data:
          train: text.txt
          text: {tokenizer: bytes, length: 24, held-out: 0.1}
        train:
          steps: 150
          batch: 8
          optimizer: {name: adamw, learning-rate: 0.01}
        """

    private func train(_ recipe: String, _ name: String) throws {
        try write(Data(recipe.utf8), "\(name).yaml")
        let outcome = try graft("train", "\(name).yaml", "--output", name)
        XCTAssertEqual(outcome.code, 0, outcome.errors)
    }

    func testClassifierFromTextsToAnswers() throws {
        try train(classifier, "run")
        // The weights are enough: the vocabulary goes with them.
        try FileManager.default.removeItem(atPath: "\(folder)/vocab.txt")
        let judged = try object(
            graft("evaluate", "--weights", "run/weights.h5", "--data", "test.tsv", "--json", "--confusion"))
        XCTAssertEqual(judged["top1"] as? Double, 1)
        XCTAssertEqual(judged["samples"] as? Int, 20)
        XCTAssertEqual(judged["class_names"] as? [String], ["neg", "pos"])
        XCTAssertNil(judged["perplexity"])

        let said = try graft("predict", "--weights", "run/weights.h5", "a good plot", "bad cast", "--top", "1")
        XCTAssertEqual(said.code, 0, said.errors)
        let lines = said.output.components(separatedBy: "\n")
        XCTAssertEqual(lines[0], "a good plot")
        XCTAssertTrue(lines[1].hasSuffix("  pos"), said.output)
        XCTAssertTrue(lines[3].hasSuffix("  neg"), said.output)

        try write(Data("a bad film\r\n\na good cast\n".utf8), "texts.txt")
        let file = try graft(
            "predict", "--weights", "run/weights.h5", "--file", "texts.txt", "--json", "--logits", "logits.h5")
        XCTAssertEqual(file.code, 0, file.errors)
        let answers = try XCTUnwrap(
            JSONSerialization.jsonObject(with: Data(file.output.utf8)) as? [[String: Any]])
        XCTAssertEqual(answers.map { $0["input"] as? String }, ["a bad film", "a good cast"])
        let first = answers.map { ($0["predictions"] as? [[String: Any]])?.first?["name"] as? String }
        XCTAssertEqual(first, ["neg", "pos"])

        let long = try graft("predict", "--weights", "run/weights.h5", "a good film", "a good plot, a good cast")
        XCTAssertEqual(long.errors, "graft: 1 of 2 texts cut to 8 tokens, special ones included\n")

        try write(Data("\n".utf8), "empty.txt")
        assertFails(
            try graft("predict", "--weights", "run/weights.h5", "--file", "empty.txt"), code: 3,
            "graft: empty.txt: no samples in it; the file is empty, or has a header alone")
        assertFails(
            try graft("predict", "--weights", "run/weights.h5", "a film", "--logits", "vocabulary/l.h5"), code: 3,
            "graft: vocabulary/l.h5: cannot be written: open: No such file or directory; nothing was left behind")

        let nothing = try graft("predict", "--weights", "run/weights.h5")
        XCTAssertEqual(nothing.code, 2)
        XCTAssertTrue(nothing.errors.hasPrefix("graft: Missing expected argument '<inputs> ...'"), nothing.errors)
        assertFails(
            try graft("generate", "--weights", "run/weights.h5", "--prompt", "a"), code: 2,
            "graft: run/weights.h5: a network that gives classes, not the next token; generate wants a language model")
    }

    /// Columns that a recipe names are those that evaluate takes; others can be named.
    func testColumnsGoWithTheWeights() throws {
        let rows = try String(contentsOfFile: "\(folder)/train.tsv", encoding: .utf8).split(separator: "\n")
            .enumerated().map { "\($0)\t" + $1 }.joined(separator: "\n")
        try write(Data(rows.utf8), "numbered.tsv")
        try train(
            classifier.replacingOccurrences(of: "train.tsv", with: "numbered.tsv")
                .replacingOccurrences(of: "length: 8", with: "length: 8, columns: {text: 2, label: 3}"), "run")
        let same = try object(
            graft("evaluate", "--weights", "run/weights.h5", "--data", "numbered.tsv", "--json"))
        XCTAssertEqual(same["top1"] as? Double, 1)
        let other = try object(
            graft(
                "evaluate", "--weights", "run/weights.h5", "--data", "test.tsv", "--text-column", "1",
                "--label-column", "2", "--json"))
        XCTAssertEqual(other["top1"] as? Double, 1)
    }

    /// Words with tags: what is good or bad is a verdict of two words.
    func testTagsFromWordsToEntities() throws {
        let sentences = (0..<40).map { number -> String in
            let verdict = number % 3 == 0 ? "good\tB-praise\n" : "bad\tB-blame\n"
            let noun = ["film", "plot", "cast"][number % 3]
            return
                "a\tO\n\(verdict)\(noun)\tI-\(number % 3 == 0 ? "praise" : "blame")\n\(number % 2 == 0 ? "a\tO\n" : "")\n"
        }
        try write(Data(sentences.joined().utf8), "train.conll")
        try train(
            classifier.replacingOccurrences(of: "sequence-classification", with: "token-classification")
                .replacingOccurrences(
                    of: "train.tsv", with: "train.conll\n  validation: {path: train.conll, first-per-class: 9}"
                )
                .replacingOccurrences(of: "train.conll\n  v", with: "{path: train.conll, skip-per-class: 9}\n  v"),
            "run")
        let judged = try object(graft("evaluate", "--weights", "run/weights.h5", "--data", "train.conll", "--json"))
        XCTAssertEqual(judged["f1"] as? Double, 1)
        XCTAssertEqual(judged["samples"] as? Int, 140)
        let said = try graft("predict", "--weights", "run/weights.h5", "a BAD plot, a", "a good film", "--json")
        XCTAssertEqual(said.code, 0, said.errors)
        let answers = try XCTUnwrap(JSONSerialization.jsonObject(with: Data(said.output.utf8)) as? [[String: Any]])
        let found = answers.map { ($0["entities"] as? [[String: Any]])?.first }
        XCTAssertEqual(found[0]?["type"] as? String, "blame")
        XCTAssertEqual(found[0]?["text"] as? String, "BAD plot")
        XCTAssertEqual(found[0]?["start"] as? Int, 2)
        XCTAssertEqual(found[1]?["type"] as? String, "praise")
        XCTAssertEqual(found[1]?["text"] as? String, "good film")
    }

    /// Questions whose answer is the word behind the one that is asked for; some passages do not have it.
    private func squad(_ numbers: Range<Int>) -> String {
        let paragraphs = numbers.map { number -> String in
            let (asked, other) = number % 2 == 0 ? ("good", "bad") : ("bad", "good")
            let words = ["film", "plot", "cast", "film"]
            let (word, decoy) = (words[number % 3], words[number % 3 + 1])
            let passage = "a \(asked) \(word) a \(other) \(decoy)"
            let answer = #"{"text": "\#(word)", "answer_start": \#(3 + asked.count)}"#
            let none = "a \(other) \(decoy)"
            return
                #"{"context": "\#(number % 4 > 1 ? none : passage)", "qas": [{"id": "\#(number)", "question": "\#(asked)", "#
                + #""answers": [\#(number % 4 > 1 ? "" : answer)]}]}"#
        }
        return #"{"data": [{"paragraphs": [\#(paragraphs.joined(separator: ", "))]}]}"#
    }

    func testQuestionsFromPassagesToAnswers() throws {
        try write(Data(squad(0..<60).utf8), "train.json")
        try write(Data(squad(60..<84).utf8), "test.json")
        try train(
            classifier.replacingOccurrences(of: "sequence-classification", with: "question-answering")
                .replacingOccurrences(of: "layers: 1", with: "layers: 2")
                .replacingOccurrences(of: "train.tsv", with: "train.json\n  validation: test.json")
                .replacingOccurrences(of: "length: 8", with: "length: 12")
                .replacingOccurrences(of: "0.01", with: "0.003").replacingOccurrences(of: "20", with: "40"),
            "run")
        let judged = try object(graft("evaluate", "--weights", "run/weights.h5", "--data", "test.json", "--json"))
        XCTAssertEqual(judged["exact_match"] as? Double, 1)
        XCTAssertEqual(judged["f1"] as? Double, 1)
        XCTAssertEqual(judged["questions"] as? Int, 24)
        XCTAssertEqual(judged["samples"] as? Int, 48)
        let few = try graft(
            "evaluate", "--weights", "run/weights.h5", "--data", "test.json", "--first-per-class", "3")
        XCTAssertTrue(few.output.contains("exact    100.0 %\nF1       100.0 %\nquestions 3\n"), few.output)

        try write(Data("a BAD film a good plot".utf8), "page.txt")
        let said = try graft("predict", "--weights", "run/weights.h5", "--context", "page.txt", "bad", "--json")
        XCTAssertEqual(said.code, 0, said.errors)
        let answer = try XCTUnwrap(JSONSerialization.jsonObject(with: Data(said.output.utf8)) as? [[String: Any]])[0]
        XCTAssertEqual(answer["answer"] as? String, "film")
        XCTAssertEqual([answer["start"], answer["end"]].map { $0 as? Int }, [6, 10])
        XCTAssertGreaterThan(try XCTUnwrap(answer["score"] as? Double), 0.3)
        let none = try graft("predict", "--weights", "run/weights.h5", "good\ta bad film")
        XCTAssertEqual(none.code, 0, none.errors)
        XCTAssertTrue(none.output.hasPrefix("good\n  ") && none.output.hasSuffix(" %  no answer\n"), none.output)
        assertFails(
            try graft("predict", "--weights", "run/weights.h5", "good"), code: 2,
            "graft: 'good': asks nothing; give --context FILE, or the passage behind the question and a tab")
    }

    func testMaskedTextFromWordsToWords() throws {
        try write(Data(String(repeating: "a good film a bad plot ", count: 120).utf8), "words.txt")
        try train(
            languageModel.replacingOccurrences(of: "gpt2", with: "distilbert\n  variant: masked-language-model")
                .replacingOccurrences(of: "vocabulary: 256", with: "vocabulary: 11")
                .replacingOccurrences(of: "text.txt", with: "words.txt")
                .replacingOccurrences(of: "steps: 150", with: "steps: 300").replacingOccurrences(
                    of: "0.01", with: "0.003"
                )
                .replacingOccurrences(
                    of: "tokenizer: bytes, length: 24", with: "tokenizer: vocab.txt, length: 14, offsets: sequential"),
            "run")
        let judged = try object(graft("evaluate", "--weights", "run/weights.h5", "--data", "words.txt", "--json"))
        XCTAssertEqual(judged["top1"] as? Double, 1)
        XCTAssertEqual(try XCTUnwrap(judged["samples"] as? Double), 0.15 * 720, accuracy: 40)
        XCTAssertNotNil(judged["perplexity"])
        let same = try object(graft("evaluate", "--weights", "run/weights.h5", "--data", "words.txt", "--json"))
        XCTAssertEqual(same["loss"] as? Double, judged["loss"] as? Double)

        let text = "a good [MASK] a [MASK] plot a good film"
        let said = try graft("predict", "--weights", "run/weights.h5", text, "--top", "2", "--json")
        XCTAssertEqual(said.code, 0, said.errors)
        let answers = try XCTUnwrap(JSONSerialization.jsonObject(with: Data(said.output.utf8)) as? [[String: Any]])
        let masks = try XCTUnwrap(answers[0]["masks"] as? [[[String: Any]]])
        XCTAssertEqual(masks.map { $0.first?["token"] as? String }, ["film", "bad"])
        XCTAssertEqual(masks.map(\.count), [2, 2])
        let plain = try graft("predict", "--weights", "run/weights.h5", "a good film a [MASK]", "--top", "1")
        XCTAssertTrue(plain.output.hasSuffix(" %  bad\n"), plain.output)
        assertFails(
            try graft("predict", "--weights", "run/weights.h5", "a good film"), code: 2,
            "graft: 'a good film': asks nothing; write [MASK] where a word is wanted, within the first 14 tokens")
        let other = try graft("predict", "--weights", "run/weights.h5", "--context", "words.txt", "a [MASK]")
        XCTAssertEqual(other.code, 2, other.errors)
    }

    func testLanguageModelFromTextToText() throws {
        try train(languageModel, "run")
        let judged = try object(graft("evaluate", "--weights", "run/weights.h5", "--data", "text.txt", "--json"))
        XCTAssertEqual(judged["samples"] as? Int, 1_199)
        let (loss, perplexity) = (judged["loss"] as? Double ?? 9, judged["perplexity"] as? Double ?? 0)
        XCTAssertLessThan(loss, 1.5)
        XCTAssertEqual(perplexity, exp(loss), accuracy: 1e-6)

        let command = ["generate", "--weights", "run/weights.h5", "--prompt", "to be", "--tokens", "30"]
        let greedy = try graft(command + ["--temperature", "0"])
        XCTAssertEqual(greedy.code, 0, greedy.errors)
        XCTAssertTrue(greedy.output.hasPrefix("to be"), greedy.output)
        XCTAssertEqual(greedy.output.utf8.count, 36, greedy.output)
        let drawn = try (0..<3).map { try graft(command + ["--seed", "\($0 % 2)", "--temperature", "3"]).output }
        XCTAssertEqual(drawn[0], drawn[2])
        XCTAssertNotEqual(drawn[0], drawn[1])

        let refused = try graft("predict", "--weights", "run/weights.h5", "to be")
        assertFails(
            refused, code: 2,
            "graft: run/weights.h5: a network that gives the next token; let it go on with graft generate")
    }

    func testDryRunSaysWhatTextsThereAre() throws {
        try write(Data(classifier.utf8), "classifier.yaml")
        let texts = try graft("train", "classifier.yaml", "--dry-run")
        XCTAssertEqual(texts.code, 0, texts.errors)
        XCTAssertTrue(
            texts.output.contains(
                "texts        a vocabulary of 11; of the first 40: 5.0 tokens on average, at most 5\n"), texts.output)
        XCTAssertTrue(texts.output.contains("2 classes, 8 tokens a text, "), texts.output)
        let cut = try graft("train", "classifier.yaml", "--dry-run", "--set", "data.text.length=4")
        XCTAssertTrue(cut.output.contains("4.0 tokens on average, at most 5, 40 cut\n"), cut.output)
        try write(Data(languageModel.utf8), "model.yaml")
        let blocks = try graft("train", "model.yaml", "--dry-run")
        XCTAssertTrue(blocks.output.contains("of the first 45: blocks of up to 24 tokens\n"), blocks.output)
        XCTAssertFalse(FileManager.default.fileExists(atPath: "\(folder)/runs"))
    }

    func testWhatDoesNotGoTogether() throws {
        try write(Data(classifier.utf8), "a.yaml")
        func refusal(_ settings: String..., code: Int32 = 2) throws -> String {
            let outcome = try graft(["train", "a.yaml"] + settings.flatMap { ["--set", $0] })
            XCTAssertEqual(outcome.code, code, outcome.errors)
            return outcome.errors
        }
        XCTAssertEqual(
            try refusal("data.text.length=17"),
            "graft: recipe: 'data.text.length' is 17, but bert takes at most 16 tokens; give at most that\n")
        XCTAssertEqual(
            try refusal("data.text.length=2"),
            "graft: recipe: 'data.text.length' is 2, but 2 of them are special tokens around the text; give more\n")
        XCTAssertEqual(
            try refusal("data.text=null", "data.image.size=32"),
            "graft: recipe: 'data.image' is given, but bert is a network over text; remove it\n")
        XCTAssertEqual(
            try refusal("data.text.tokenizer=null"),
            "graft: recipe: 'data.text.tokenizer' is missing; give a tokenizer.json, a folder with vocab.txt or "
                + "vocab.json and merges.txt, or bytes\n")
        XCTAssertEqual(
            try refusal("data.text.tokenizer=bytes", code: 3),
            "graft: bytes: a tokenizer with tokens up to 255, and bert knows 11 of them; give the tokenizer that "
                + "belongs to the weights (data.text.tokenizer, --tokenizer)\n")
        XCTAssertEqual(
            try refusal("model={architecture: resnet20}"),
            "graft: recipe: 'data.text' is given, but resnet20 is a network over images; remove it\n")
        XCTAssertEqual(
            try refusal("data.text.held-out=0.1"),
            "graft: recipe: 'data.text.held-out' is given, but it is for running text, and bert "
                + "(sequence-classification) learns from labels of texts; remove it\n")
        assertFails(
            try graft("train", "a.yaml", "--output", "a.yaml/run"), code: 2,
            "graft: a.yaml/run: cannot be written: Not a directory; give a --output that can")
        let table = try graft("train", "train.tsv")
        XCTAssertTrue(table.errors.hasSuffix("…'\n"), table.errors)
        try write(Data("a\tx\nb\tx\n".utf8), "one.tsv")
        XCTAssertTrue(try refusal("data.train=one.tsv", code: 3).contains("only one class ('x')"))
    }
}
