import Datasets
import Tensors
import XCTest

/// Questions about passages, and the windows they are learned in.
final class QuestionTests: XCTestCase {
    /// What Reference/make_questions.py made.
    private struct Reference: Decodable {
        struct Window: Decodable {
            let id: String
            let window: Int
            let tokens, segments, labels, places: [Int32]
        }
        struct Case: Decodable {
            let length: Int
            let stride: Int
            let windows: [Window]
        }
        let cases: [Case]
    }

    private var folder = ""

    override func setUpWithError() throws { folder = try scratchFolder(self).path }

    private func write(_ text: String, _ name: String = "squad.json") throws -> String {
        let path = "\(folder)/\(name)"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    private func tokenizer() throws -> Tokenizer {
        try Tokenizer(file: Locations.reference.appendingPathComponent("tokenizers/uncased.json").path)
    }

    /// The questions of the reference file, and the cases.
    private func reference() throws -> (path: String, cases: [Reference.Case]) {
        let bytes = try Data(contentsOf: Locations.reference.appendingPathComponent("questions.json"))
        let file = try XCTUnwrap(JSONSerialization.jsonObject(with: bytes) as? [String: Any])
        let path = "\(folder)/hard.json"
        try JSONSerialization.data(withJSONObject: XCTUnwrap(file["squad"])).write(to: URL(fileURLWithPath: path))
        return (path, try JSONDecoder().decode(Reference.self, from: bytes).cases)
    }

    private func input(_ length: Int, _ stride: Int? = nil) throws -> TextInput {
        TextInput(tokenizer: try tokenizer(), length: length, stride: stride, labels: .spans)
    }

    func testWindowsAndLabelsAreThoseOfTransformers() throws {
        let (path, cases) = try reference()
        XCTAssertEqual(cases.count, 4)
        for item in cases {
            let input = try input(item.length, item.stride)
            let data = try AnsweredQuestions(at: path, input)
            XCTAssertTrue(data.hasUnanswerable)
            XCTAssertEqual(data.count, item.windows.count, "\(item.length), \(item.stride)")
            let loader = BatchLoader(dataset: data, input: .texts(input))
            for (index, window) in item.windows.enumerated() where index < data.count {
                let what = "\(item.length), \(item.stride): \(window.id), window \(window.window)"
                let batch = try loader.load(BatchRequest(epoch: 0, step: 0, indices: [index]))
                XCTAssertEqual(batch.input.indices, window.tokens, what)
                XCTAssertEqual(batch["segments"]?.indices, window.segments, what)
                XCTAssertEqual(batch.labels.indices, window.labels, what)
                XCTAssertEqual(batch["places"]?.indices, window.places, what)
                let suffix = window.window > 0 ? ", window \(window.window + 1)" : ""
                XCTAssertEqual(data.name(at: index), "\(path): question '\(window.id)'\(suffix)")
            }
        }
        XCTAssertEqual(try input(384).stride, 128)
    }

    func testBatchesAreFilledUp() throws {
        let (path, _) = try reference()
        let input = try input(384)
        let data = try AnsweredQuestions(at: path, input)
        let batch = try BatchLoader(dataset: data, input: .texts(input))
            .load(BatchRequest(epoch: 0, step: 0, indices: [0, 14]))
        let length = batch.input.shape[1]
        XCTAssertEqual(batch.labels.shape, [2, 2])
        XCTAssertEqual(batch["places"]?.shape, [2, 2 * length])
        XCTAssertEqual(batch["places"]?.indices.suffix(10), [Int32](repeating: -1, count: 10)[...])
        let longer = batch.padded(to: length + 3, with: 0)
        XCTAssertEqual(longer.labels.indices, batch.labels.indices)
        XCTAssertEqual(longer["segments"]?.shape, [2, length + 3])
    }

    func testSelectionChoosesQuestions() throws {
        let (path, _) = try reference()
        let input = try input(32, 8)
        let all = try AnsweredQuestions(at: path, input)
        let first = try AnsweredQuestions(at: path, input, selection: Selection(firstPerClass: 1))
        XCTAssertEqual(first.count, 5)
        XCTAssertFalse(first.hasUnanswerable)
        let rest = try AnsweredQuestions(at: path, input, selection: Selection(skipFirstPerClass: 1))
        XCTAssertEqual(rest.count, all.count - 5)
        XCTAssertNotEqual(try first.fingerprint(), try all.fingerprint())
        XCTAssertNotEqual(
            try AnsweredQuestions(at: path, try self.input(32, 9)).fingerprint(), try all.fingerprint())
        XCTAssertEqual(
            message(try AnsweredQuestions(at: path, input, selection: Selection(classes: ["a", "b"]))),
            "\(path): no class 'a'")
    }

    func testQuestionsTravel() throws {
        let (path, _) = try reference()
        let data = try AnsweredQuestions(at: path, input(32, 8))
        for chunk in [7, 1 << 20] {
            var encoder = try SampleShardEncoder(data, indices: [0, 7, 30], chunkBytes: chunk)
            let received = ReceivedSamples()
            while let bytes = try encoder.next() { try received.append(bytes) }
            try received.finish()
            for index in [0, 7, 30] {
                XCTAssertEqual(try received.storedSample(at: index), try data.storedSample(at: index))
            }
        }
    }

    func testWhatIsWrongIsNamed() throws {
        func file(_ question: String) -> String {
            #"{"data": [{"paragraphs": [{"context": "Jane wrote it.", "qas": ["# + question + "]}]}]}"
        }
        func message(_ text: String, length: Int = 64, stride: Int? = nil) throws -> String {
            let path = try write(text)
            do {
                _ = try AnsweredQuestions(at: path, input(length, stride))
                return "no error"
            } catch {
                return "\(error)".replacingOccurrences(of: path, with: "F")
            }
        }
        XCTAssertEqual(
            try message(file(#"{"id": "a", "question": "Who?", "answers": [{"text": "Jane", "answer_start": 1}]}"#)),
            "F: question 'a': the passage does not have 'Jane' at 1; 'answer_start' counts Unicode scalars from 0")
        XCTAssertEqual(
            try message(file(#"{"id": "a", "question": "Who?", "answers": [{"text": "it.", "answer_start": 12}]}"#)),
            "F: question 'a': the passage does not have 'it.' at 12; 'answer_start' counts Unicode scalars from 0")
        XCTAssertEqual(
            try message(file(#"{"id": "a", "question": "Who?"}"#)),
            "F: question 'a': has no answers; where the passage holds none, 'answers' is an empty list")
        XCTAssertEqual(
            try message(file(#"{"id": "a", "answers": []}"#)),
            "F: damaged or not in the expected format (as SQuAD's JSON: no 'question' in data.0.paragraphs.0.qas.0)")
        XCTAssertEqual(
            try message(file(#"{"id": 3, "question": "", "answers": []}"#)),
            "F: damaged or not in the expected format (as SQuAD's JSON: a value of another type in "
                + "data.0.paragraphs.0.qas.0.id)")
        XCTAssertEqual(
            try message("[1"), "F: damaged or not in the expected format (as SQuAD's JSON: not JSON)")
        XCTAssertEqual(try message(#"{"data": []}"#), "F: no samples in it; the file is empty, or has a header alone")
        let asked = file(#"{"id": "a", "question": "Who, who, who?", "answers": []}"#)
        XCTAssertEqual(try message(asked, length: 9), "F: question 'a': " + tooLong(0, 9, 3))
        XCTAssertEqual(try message(asked, length: 12, stride: 4), "F: question 'a': " + tooLong(3, 12, 4))
        XCTAssertEqual(try message(asked, length: 64, stride: 63), "no error")
    }

    private func tooLong(_ room: Int, _ length: Int, _ stride: Int) -> String {
        "is so long that \(room) of \(length) tokens are left for the passage, of which windows share \(stride); raise "
            + "data.text.length or lower data.text.stride"
    }

    func testRealQuestions() throws {
        let path = try Locations.real("squad").path + "/xquad.en.first32.json"
        let data = try AnsweredQuestions(at: path, input(384))
        XCTAssertFalse(data.hasUnanswerable)
        let numbers = try data.labels.indices.map { index -> Int in
            guard case .question(let question) = try data.storedSample(at: index) else { return -1 }
            return question.number
        }
        XCTAssertEqual(Set(numbers).count, 826)
        XCTAssertGreaterThan(data.count, 826)
    }
}
