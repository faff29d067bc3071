import Datasets
import Foundation

/// What a network says about one window of a passage: where the answer to a question is, or that it is not there.
///
/// As transformers' `run_qa` chooses: of the 20 likeliest tokens to begin and to end with, the two whose logits sum up to
/// most, among those that are of the passage, stand in order and span at most 30 tokens.
public struct WindowAnswer: Equatable, Sendable {
    /// The sum of the logits of both ends; nil where no two go together.
    public private(set) var score: Float?
    /// The product of both ends' probabilities among the tokens of the passage and the first one, [CLS].
    public private(set) var probability: Float = 0
    /// Where in the passage the answer is, in Unicode scalars.
    public private(set) var characters = 0..<0
    /// The sum of the logits of [CLS], which stands for "no answer", and the product of its probabilities.
    public let nullScore: Float
    public let nullProbability: Float

    static let choices = 20
    static let mostTokens = 30

    /// - Parameters:
    ///   - begin, end: logits of the T tokens.
    ///   - places: as in a batch: where each token begins and ends, 2T numbers, -1 where it is not of the passage.
    /// - Precondition: T is at least 1, and the three fit together.
    public init(
        begin: some RandomAccessCollection<Float>, end: some RandomAccessCollection<Float>,
        places: some RandomAccessCollection<Int32>
    ) {
        let (begin, end, places) = (Array(begin), Array(end), Array(places))
        precondition(
            !begin.isEmpty && begin.count == end.count && places.count == 2 * begin.count, "answers: T differs")
        let passage = begin.indices.filter { places[2 * $0] >= 0 }
        func share(_ logits: [Float], _ index: Int) -> Float {
            let all = [0] + passage
            let largest = all.map { logits[$0] }.max() ?? 0
            return exp(logits[index] - largest) / all.reduce(0) { $0 + exp(logits[$1] - largest) }
        }
        nullScore = begin[0] + end[0]
        nullProbability = share(begin, 0) * share(end, 0)
        func likeliest(_ logits: [Float]) -> [Int] {
            logits.indices.sorted { (logits[$1], $0) < (logits[$0], $1) }.prefix(Self.choices).filter {
                places[2 * $0] >= 0
            }
        }
        var best: (begin: Int, end: Int, score: Float)?
        let ends = likeliest(end)
        for first in likeliest(begin) {
            for last in ends where last >= first && last - first < Self.mostTokens {
                let score = begin[first] + end[last]
                if score > best?.score ?? -.infinity { best = (first, last, score) }
            }
        }
        guard let best else { return }
        score = best.score
        probability = share(begin, best.begin) * share(end, best.end)
        characters = Int(places[2 * best.begin])..<Int(max(places[2 * best.begin], places[2 * best.end + 1]))
    }

    /// The answer in a passage: its scalars `characters`.
    public func text(in passage: String) -> String {
        let scalars = passage.unicodeScalars
        var text = String.UnicodeScalarView()
        text.append(contentsOf: scalars.dropFirst(characters.lowerBound).prefix(characters.count))
        return String(text)
    }
}

/// How questions are answered: exact match and F1 as SQuAD's official script counts them, where some have no answer that of
/// 2.0, with the answer of that window that is surest, and none where [CLS] is surer in all windows.
public struct AnswerCounts: Codable, Equatable, Sendable {
    private struct Question: Codable, Equatable {
        var score: Float?
        var isExact = false
        var f1 = 0.0
        var nullScore: Float
        let isAnswerable: Bool
    }

    /// By their number in the data.
    private var questions: [Int: Question] = [:]

    public init() {}

    public var count: Int { questions.count }
    /// The fraction whose answer is one of the right ones, but for case, punctuation, articles and spaces.
    public var exactMatch: Double { mean { $0.isExact ? 1 : 0 } }
    /// The mean over questions of the F1 of their answer's words; with several right answers, of the nearest.
    public var f1: Double { mean(\.f1) }

    private func mean(_ value: (Question) -> Double) -> Double {
        let mayHaveNone = questions.values.contains { !$0.isAnswerable }
        // In one order, so that sums are the same on all ranks.
        let sum = questions.sorted { $0.key < $1.key }.reduce(0.0) { sum, entry in
            let question = entry.value
            let saysNone = question.score.map { mayHaveNone && question.nullScore > $0 } ?? true
            return sum + (saysNone ? (question.isAnswerable ? 0 : 1) : value(question))
        }
        return sum / Double(max(1, questions.count))
    }

    /// Counts what one window of a question's passage gives.
    public mutating func add(_ window: WindowAnswer, to question: QuestionWindow) {
        var result = Question(nullScore: window.nullScore, isAnswerable: !question.answers.isEmpty)
        if let score = window.score {
            let said = window.text(in: question.context)
            let right = question.answers.map(\.text)
            (result.score, result.isExact, result.f1) = (
                score, AnswerScore.isExact(said, right), AnswerScore.f1(said, right)
            )
        }
        merge(result, question.number)
    }

    package mutating func merge(_ other: AnswerCounts) {
        for (number, question) in other.questions { merge(question, number) }
    }

    private mutating func merge(_ new: Question, _ number: Int) {
        guard var known = questions[number] else {
            questions[number] = new
            return
        }
        known.nullScore = min(known.nullScore, new.nullScore)
        if let score = new.score, score > known.score ?? -.infinity {
            (known.score, known.isExact, known.f1) = (score, new.isExact, new.f1)
        }
        questions[number] = known
    }
}

/// How near an answer comes to the right ones: SQuAD's official script, that of 2.0.
enum AnswerScore {
    /// The words that count: lower case, without punctuation, articles and what is no word of the rest.
    static func words(_ text: String) -> [String] {
        let punctuation = Set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".unicodeScalars)
        var words: [String] = []
        var (word, run) = (String.UnicodeScalarView(), String.UnicodeScalarView())
        // An article is one where letters and digits stand alone, as in "a-b": a run of them, of which a word may have several.
        func endRun() {
            if !["a", "an", "the"].contains(String(run)) {
                word.append(contentsOf: run)
            } else {
                endWord()
            }
            run = .init()
        }
        func endWord() {
            if !word.isEmpty { words.append(String(word)) }
            word = .init()
        }
        for scalar in text.lowercased().unicodeScalars where !punctuation.contains(scalar) {
            if isOfWord(scalar) {
                run.append(scalar)
                continue
            }
            endRun()
            isSpace(scalar) ? endWord() : word.append(scalar)
        }
        endRun()
        endWord()
        return words
    }

    static func isExact(_ said: String, _ right: [String]) -> Bool {
        let said = words(said)
        return references(right).contains(said)
    }

    static func f1(_ said: String, _ right: [String]) -> Double {
        let said = words(said)
        return references(right).map { f1(said, $0) }.max() ?? 0
    }

    /// The right answers that have words; that there is none where there are none.
    private static func references(_ right: [String]) -> [[String]] {
        let references = right.map(words).filter { !$0.isEmpty }
        return references.isEmpty ? [[]] : references
    }

    private static func f1(_ said: [String], _ right: [String]) -> Double {
        if said.isEmpty || right.isEmpty { return said == right ? 1 : 0 }
        var left: [String: Int] = [:]
        for word in right { left[word, default: 0] += 1 }
        var common = 0
        for word in said {
            guard let count = left[word], count > 0 else { continue }
            left[word] = count - 1
            common += 1
        }
        return 2 * Double(common) / Double(said.count + right.count)
    }

    /// Python's `\w`, but for the underscore, which is punctuation.
    private static func isOfWord(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
        default: scalar.properties.numericType != nil
        }
    }

    /// What Python's `split` divides at.
    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
    }
}
