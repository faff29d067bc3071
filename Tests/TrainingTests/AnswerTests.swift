import Datasets
import Foundation
import Training
import XCTest

/// Answers to questions: which stretch is chosen, and how it is judged.
final class AnswerTests: XCTestCase {
    private let passage = "The cat sat on a mat, the end"

    /// [CLS] question [SEP] and the words of the passage, one token each, [SEP].
    private var places: [Int32] {
        var places: [Int32] = [-1, -1, -1, -1, -1, -1]
        var start = 0
        for word in passage.split(separator: " ") {
            places += [Int32(start), Int32(start + word.count)]
            start += word.count + 1
        }
        return places + [-1, -1]
    }

    /// Logits of 12 tokens, 0 but for some.
    private func answer(_ begin: [Int: Float], _ end: [Int: Float]) -> WindowAnswer {
        func logits(_ some: [Int: Float]) -> [Float] { (0..<12).map { some[$0] ?? 0 } }
        return WindowAnswer(begin: logits(begin), end: logits(end), places: places)
    }

    func testTheLikeliestStretchIsChosen() throws {
        let found = answer([3: -5, 4: 5, 6: 4], [5: 3, 3: 9, 1: 20])
        // "cat sat": the end at 3 would lie before the begin, and the end at 1 is the question's.
        XCTAssertEqual(found.score, 8)
        XCTAssertEqual(found.text(in: passage), "cat sat")
        XCTAssertEqual(found.characters, 4..<11)
        XCTAssertEqual(answer([10: 7, 0: 3], [10: 7, 0: 2]).text(in: passage), "end")
        XCTAssertEqual(answer([0: 3], [0: 2]).nullScore, 5)
        // Of eight words and [CLS].
        let (e5, e3, e9) = (exp(5.0), exp(3.0), exp(9.0))
        let expected = e5 / (e5 + exp(4.0) + exp(-5.0) + 6) * (e3 / (e3 + e9 + 7))
        XCTAssertEqual(Double(found.probability), expected, accuracy: 1e-6)
        let none = WindowAnswer(
            begin: [Float](repeating: 1, count: 3), end: [1, 2, 3], places: [-1, -1, -1, -1, -1, -1])
        XCTAssertNil(none.score)
        XCTAssertEqual(none.text(in: passage), "")
    }

    func testLongStretchesAreNotChosen() {
        let count = 80
        var (begin, end) = ([Float](repeating: 0, count: count), [Float](repeating: 0, count: count))
        (begin[10], end[40], end[39]) = (9, 9, 5)
        let places = (0..<Int32(count)).flatMap { [$0, $0 + 1] }
        let found = WindowAnswer(begin: begin, end: end, places: places)
        XCTAssertEqual(found.characters, 10..<40, "thirty tokens, not thirty-one")
        XCTAssertEqual(found.score, 14)
    }

    private func question(_ number: Int, _ answers: [String]) -> QuestionWindow {
        QuestionWindow(
            number: number, question: "?", context: passage,
            answers: answers.map { QuestionWindow.Answer($0, start: 0) }, window: 0)
    }

    /// The window that is surest decides, in whatever parts they are counted.
    func testWindowsOfAQuestion() {
        let (sure, unsure) = (answer([5: 6], [5: 6]), answer([4: 5], [5: 6]))
        var (first, second) = (AnswerCounts(), AnswerCounts())
        first.add(unsure, to: question(7, ["sat"]))
        second.add(sure, to: question(7, ["sat"]))
        second.add(unsure, to: question(9, ["A cat!", "a dog"]))
        var whole = first
        whole.merge(second)
        XCTAssertEqual(whole.count, 2)
        XCTAssertEqual(whole.exactMatch, 0.5)
        // "cat sat" for "cat": two words said, one right, one in common.
        XCTAssertEqual(whole.f1, (1 + 2.0 / 3) / 2, accuracy: 1e-12)
        second.merge(first)
        XCTAssertEqual(second, whole)
    }

    /// Where some questions have no answer, the first token may say so: in every window.
    func testNoAnswer() {
        let (none, some) = (answer([0: 9, 5: 6], [0: 9, 5: 6]), answer([5: 6], [5: 6]))
        var counts = AnswerCounts()
        counts.add(none, to: question(0, ["sat"]))
        XCTAssertEqual(counts.exactMatch, 1, "all questions have an answer")
        counts.add(none, to: question(1, []))
        XCTAssertEqual(counts.exactMatch, 0.5)
        XCTAssertEqual(counts.f1, 0.5)
        counts.add(some, to: question(0, ["sat"]))
        XCTAssertEqual(counts.exactMatch, 1, "one window is sure that there is an answer")
        counts.add(some, to: question(2, []))
        XCTAssertEqual(counts.exactMatch, 2.0 / 3, accuracy: 1e-12)
    }

    /// By hand, after SQuAD's script: lower case, then no punctuation, then no articles.
    func testScores() {
        func scores(_ said: String, _ right: [String]) -> (exact: Bool, f1: Double) {
            var counts = AnswerCounts()
            let window = WindowAnswer(
                begin: [0, 1], end: [0, 1], places: [-1, -1, 0, Int32(said.unicodeScalars.count)])
            counts.add(
                window,
                to: QuestionWindow(
                    number: 0, question: "?", context: said,
                    answers: right.map { QuestionWindow.Answer($0, start: 0) }, window: 0))
            return (counts.exactMatch == 1, counts.f1)
        }
        let equal = [
            ("The Cat.", "cat"), ("an  U.S.\u{A0}army", "us army"), ("a-b", "ab"), ("the—end", "—end"),
            ("Theatre", "theatre"), ("x\u{1F}y", "x y"), ("“a”", "“ ”"), ("ÉCOLE", "école"), ("1/2_3", "123"),
        ]
        for (said, right) in equal {
            XCTAssertTrue(scores(said, [right]).exact, "\(said) = \(right)")
            XCTAssertEqual(scores(said, [right]).f1, 1, "\(said) = \(right)")
        }
        XCTAssertFalse(scores("theatre", ["atre"]).exact)
        XCTAssertEqual(scores("in 1813 and 1814", ["1813"]).f1, 2 / 5.0, accuracy: 1e-12)
        XCTAssertEqual(scores("to be or to be", ["to be"]).f1, 4 / 7.0, accuracy: 1e-12)
        XCTAssertEqual(scores("dog", ["cat", "the big dog"]).f1, 2 / 3.0, accuracy: 1e-12)
        XCTAssertEqual(scores("dog", ["cat"]).f1, 0)
        XCTAssertTrue(scores("the", ["a"]).exact, "no words of either")
        XCTAssertEqual(scores("dog", ["the"]).f1, 0)
    }

    /// The counts of ranks travel as JSON.
    func testCountsTravel() throws {
        var metrics = ClassificationMetrics(classes: 0, areSpans: true)
        try [Float](arrayLiteral: 1, 2, 3, 3, 2, 1).withUnsafeBufferPointer {
            try metrics.add(logits: $0, labels: [2, 2], lossSum: 3)
        }
        XCTAssertEqual(metrics.summary.top1, 0.5)
        XCTAssertEqual(metrics.summary.samples, 2)
        XCTAssertEqual(metrics.summary.exactMatch, 0)
        let copy = try JSONDecoder().decode(ClassificationMetrics.self, from: JSONEncoder().encode(metrics))
        XCTAssertEqual(copy, metrics)
    }
}
