import Datasets
import Foundation
import Training
import XCTest

final class MetricsTests: XCTestCase {
    private func metrics(_ rows: [[Float]], _ labels: [Int32], loss: Double = 0) throws -> ClassificationMetrics {
        var metrics = ClassificationMetrics(classes: rows.first?.count ?? 0)
        try rows.flatMap { $0 }.withUnsafeBufferPointer {
            try metrics.add(logits: $0, labels: labels, lossSum: loss)
        }
        return metrics
    }

    func testCountsAndConfusion() throws {
        let rows: [[Float]] = [
            [9, 1, 2, 3, 4, 5, 6], [1, 9, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5, 6],
        ]
        let result = try metrics(rows, [0, 6, 4, 0], loss: 2)
        XCTAssertEqual(result.summary, MetricsSummary(top1: 0.25, top5: 0.75, loss: 0.5, samples: 4))
        XCTAssertEqual(result.confusion.reduce(0, +), 4)
        XCTAssertEqual(result.confusion[6 * 7 + 1], 1)
        XCTAssertEqual(result.confusion[4 * 7 + 0], 1)
    }

    func testTiesGoToTheSmallerNumberAndNaNIsNeverRight() throws {
        XCTAssertEqual(try metrics([[1, 1, 0]], [0]).top1Count, 1)
        XCTAssertEqual(try metrics([[1, 1, 0]], [1]).top1Count, 0)
        XCTAssertEqual(try metrics([[.nan, 1, 0]], [0]).top5Count, 0)
        XCTAssertEqual(try metrics([[.nan, 1, 0]], [1]).top1Count, 0)
    }

    func testPartsAddUpToTheWhole() throws {
        let rows: [[Float]] = (0..<10).map { row in (0..<6).map { Float((row * 5 + $0 * 7) % 11) } }
        let labels = (0..<10).map { Int32($0 % 6) }
        let whole = try metrics(rows, labels, loss: 3.5)
        var sum = ClassificationMetrics(classes: 6)
        sum.merge(try metrics(Array(rows[..<3]), Array(labels[..<3]), loss: 1.5))
        sum.merge(try metrics(Array(rows[3...]), Array(labels[3...]), loss: 2))
        XCTAssertEqual(sum, whole)
        XCTAssertEqual(ClassificationMetrics(classes: 2).summary.samples, 0)
    }

    func testLabelsOutsideTheClassesAreRefused() throws {
        XCTAssertThrowsError(try metrics([[1, 2]], [2])) {
            XCTAssertEqual(
                String(describing: $0),
                "label 2 does not fit a network with 2 classes; give the model a new head (model.head: new) "
                    + "or select the classes it knows")
        }
    }

    /// Tokens without a label count nothing; better is a lower loss; a vocabulary has no confusion matrix.
    func testTokens() throws {
        var metrics = ClassificationMetrics(classes: 3, areTokens: true)
        let rows: [Float] = [9, 1, 2, 1, 9, 2, 1, 2, 9]
        try rows.withUnsafeBufferPointer {
            try metrics.add(logits: $0, labels: [0, Batch.ignoredLabel, 1], lossSum: 2)
        }
        let summary = metrics.summary
        XCTAssertEqual(summary.samples, 2)
        XCTAssertEqual(summary.top1, 0.5)
        XCTAssertEqual(summary.perplexity ?? 0, exp(1), accuracy: 1e-12)
        let other = MetricsSummary(top1: 0.9, top5: 1, loss: 1.1, samples: 2, perplexity: exp(1.1))
        XCTAssertTrue(summary.isBetter(than: other))
        XCTAssertFalse(other.isBetter(than: summary))
        XCTAssertEqual(ClassificationMetrics(classes: 50_257, areTokens: true).confusion, [])
        XCTAssertThrowsError(
            try rows.withUnsafeBufferPointer { try metrics.add(logits: $0, labels: [0, 3, 1], lossSum: 0) })
    }

    func testEntities() {
        func entities(_ tags: String) -> [String] {
            Entity.all(in: tags.split(separator: " ").map(String.init)).map {
                "\($0.type) \($0.words.lowerBound)-\($0.words.upperBound)"
            }
        }
        XCTAssertEqual(entities("O B-a I-a O B-b"), ["a 1-3", "b 4-5"])
        XCTAssertEqual(entities("B-a B-a I-b I-b O I-a I-a"), ["a 0-1", "a 1-2", "b 2-4", "a 5-7"])
        XCTAssertEqual(entities("O O"), [])
        var counts = EntityCounts()
        counts.add(["B-a", "I-a", "O", "B-b"], ["B-a", "I-a", "B-b", "O"])
        counts.add(["B-b", "O"], ["B-b", "I-b"])
        XCTAssertEqual([counts.said, counts.meant, counts.correct], [3, 3, 1])
        XCTAssertEqual(counts.f1, 1.0 / 3, accuracy: 1e-12)
        XCTAssertEqual(EntityCounts().f1, 0)
    }

    func testSummaryKeys() throws {
        let json = try JSONEncoder().encode(MetricsSummary(top1: 1, top5: 1, loss: 0, samples: 1))
        let keys = try XCTUnwrap(JSONSerialization.jsonObject(with: json) as? [String: Any]).keys
        XCTAssertEqual(keys.sorted(), ["loss", "samples", "top1", "top5"])
    }
}
