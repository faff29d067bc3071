import Foundation

/// Questions about passages in SQuAD's JSON (1.1, and 2.0 with questions that the passage does not answer); a sample is a
/// question with one window of its passage. Held in memory, tokenised when they are loaded.
///
/// - Paper: Rajpurkar, Zhang, Lopyrev, Liang, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016,
///   https://arxiv.org/abs/1606.05250; 2.0: Rajpurkar, Jia, Liang 2018, https://arxiv.org/abs/1806.03822
public final class AnsweredQuestions: Dataset, @unchecked Sendable {
    private struct Question {
        let id: String
        let text: String
        /// The number of its passage.
        let context: Int
        let answers: [QuestionWindow.Answer]
    }

    public let source: String
    public let classNames: [String] = []
    public let labels: [Int32]
    private let contexts: [String]
    private let questions: [Question]
    private let windows: [(question: Int, window: Int)]
    private let cut: (length: Int, stride: Int)

    /// Reads a file.
    ///
    /// - Parameters:
    ///   - input: what cuts passages into windows.
    ///   - selection: which questions, not windows, to take.
    ///   - keys: as in `Selection.validate`.
    /// - Throws: `DatasetError` naming the file, and the question that is wrong.
    public init(at path: String, _ input: TextInput, selection: Selection = Selection(), keys: String = "") throws {
        (contexts, questions) = try Self.read(path, selection, keys)
        source = path
        cut = (input.length, input.stride)
        windows = try Self.windows(of: questions, contexts, input, path)
        labels = [Int32](repeating: 0, count: windows.count)
    }

    /// Whether some of the questions have no answer.
    public var hasUnanswerable: Bool { questions.contains { $0.answers.isEmpty } }

    public func name(at index: Int) -> String {
        let (question, window) = windows[index]
        return "\(source): question '\(questions[question].id)'" + (window > 0 ? ", window \(window + 1)" : "")
    }

    public func storedSample(at index: Int) throws -> StoredSample {
        let (number, window) = windows[index]
        let question = questions[number]
        return .question(
            QuestionWindow(
                number: number, question: question.text, context: contexts[question.context],
                answers: question.answers, window: window))
    }

    public func fingerprint() throws -> String {
        var fingerprint = Fingerprint()
        fingerprint.add(URL(fileURLWithPath: source).lastPathComponent)
        for number in [cut.length, cut.stride, windows.count] { fingerprint.add(number) }
        for context in contexts { fingerprint.add(context) }
        for question in questions {
            for text in [question.id, question.text] { fingerprint.add(text) }
            for number in [question.context, question.answers.count] { fingerprint.add(number) }
            for answer in question.answers {
                fingerprint.add(answer.start)
                fingerprint.add(answer.text)
            }
        }
        return fingerprint.hexadecimal()
    }

    // MARK: The file

    private struct File: Decodable {
        struct Article: Decodable {
            let paragraphs: [Paragraph]
        }
        struct Paragraph: Decodable {
            let context: String
            let qas: [Asked]
        }
        struct Asked: Decodable {
            let id: String
            let question: String
            let answers: [Answer]?
            let isImpossible: Bool?
        }
        struct Answer: Decodable {
            let text: String
            let answerStart: Int
        }
        let data: [Article]
    }

    private static func read(
        _ path: String, _ selection: Selection, _ keys: String
    ) throws -> (contexts: [String], questions: [Question]) {
        let text = try TextFile.read(path)
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let paragraphs: [File.Paragraph]
        do {
            paragraphs = try decoder.decode(File.self, from: Data(text.utf8)).data.flatMap(\.paragraphs)
        } catch let error as DecodingError {
            throw DatasetError.damaged(path: path, reason: "as SQuAD's JSON: \(problem(error))")
        }
        try selection.validate(keys: keys)
        if let name = selection.classes?.first {
            throw DatasetError.unknownClass(name: name, nearest: [], source: path)
        }
        let all = paragraphs.enumerated().flatMap { number, paragraph in paragraph.qas.map { (number, $0) } }
        guard !all.isEmpty else { throw DatasetError.noRows(path: path) }
        let chosen = try selection.choose(from: Array(all.indices), className: "", source: path, keys: keys)
        guard !chosen.isEmpty else { throw DatasetError.nothingSelected(source: path) }
        let scalars = paragraphs.map { Array($0.context.unicodeScalars) }
        let questions = try chosen.map { index in
            let (number, asked) = all[index]
            let answers = try answers(asked, scalars[number], path)
            return Question(id: asked.id, text: asked.question, context: number, answers: answers)
        }
        return (paragraphs.map(\.context), questions)
    }

    /// The answers of a question, each of which must stand where it says.
    private static func answers(
        _ asked: File.Asked, _ context: [Unicode.Scalar], _ path: String
    ) throws -> [QuestionWindow.Answer] {
        if asked.isImpossible == true { return [] }
        guard let answers = asked.answers else {
            throw DatasetError.badQuestion(
                path: path, question: asked.id,
                problem: "has no answers; where the passage holds none, 'answers' is an empty list")
        }
        return try answers.map { answer in
            let text = Array(answer.text.unicodeScalars)
            let (end, overflows) = answer.answerStart.addingReportingOverflow(text.count)
            guard !overflows, answer.answerStart >= 0, !text.isEmpty, end <= context.count,
                context[answer.answerStart..<end].elementsEqual(text)
            else {
                throw DatasetError.badQuestion(
                    path: path, question: asked.id,
                    problem: "the passage does not have '\(answer.text.prefix(40))' at \(answer.answerStart); "
                        + "'answer_start' counts Unicode scalars from 0")
            }
            return QuestionWindow.Answer(answer.text, start: answer.answerStart)
        }
    }

    private static func problem(_ error: DecodingError) -> String {
        func place(_ context: DecodingError.Context) -> String {
            context.codingPath.isEmpty
                ? ""
                : " in "
                    + context.codingPath.map { $0.intValue.map { "\($0)" } ?? $0.stringValue }.joined(separator: ".")
        }
        switch error {
        case .keyNotFound(let key, let context): return "no '\(key.stringValue)'\(place(context))"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return "a value of another type\(place(context))"
        case .dataCorrupted(let context): return "not JSON\(place(context))"
        @unknown default: return "\(error)"
        }
    }

    // MARK: Windows

    /// How many windows every question has, found with each passage and question tokenised once.
    private static func windows(
        of questions: [Question], _ contexts: [String], _ input: TextInput, _ path: String
    ) throws -> [(question: Int, window: Int)] {
        let special = try input.tokenizer.encode("", pair: "").count
        var lengths: [Int: Int] = [:]
        var windows: [(question: Int, window: Int)] = []
        for (number, question) in questions.enumerated() {
            func tokens(_ text: String) throws -> Int {
                try input.tokenizer.encode(text, addingSpecialTokens: false).count
            }
            let passage = try lengths[question.context] ?? tokens(contexts[question.context])
            lengths[question.context] = passage
            let room = input.length - special - (try tokens(question.text))
            guard room > 0, room >= passage || input.stride < room else {
                throw DatasetError.badQuestion(
                    path: path, question: question.id,
                    problem:
                        "is so long that \(max(0, room)) of \(input.length) tokens are left for the passage, of which "
                        + "windows share \(input.stride); raise data.text.length or lower data.text.stride")
            }
            let count = Tokenizer.Truncation.windows(of: passage, length: room, stride: input.stride).count
            windows += (0..<count).map { (number, $0) }
        }
        return windows
    }
}
