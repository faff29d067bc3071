import Datasets
import Models
import Tensors
import Training
import XCTest

final class ObjectiveTests: XCTestCase {
    private let weight = Tensor((0..<12).map { (i: Int) -> Float in Float(i % 5) / 4 - 0.5 }, shape: [4, 3])

    private func batch(_ rows: Range<Int>) -> [String: [String: Tensor]] {
        let images: [Float] = rows.flatMap { row -> [Float] in
            (0..<4).map { column -> Float in Float((row * 3 + column * 5) % 7) / 3 - 1 }
        }
        let labels = rows.map { Int32($0 % 3) }
        return [
            "train": [
                "images": Tensor(images, shape: [rows.count, 4]),
                "labels": Tensor(indices: labels, shape: [rows.count]),
            ]
        ]
    }

    /// The gradient of the weight over some rows, their loss divided by `denominators`.
    private func weightGradient(_ rows: Range<Int>, denominators: [Double]) throws -> [Float] {
        let variable = Tensor.variable(weight)
        let value = try CrossEntropyObjective(labelSmoothing: 0.1)
            .evaluate(batch(rows), through: ForwardPass { matmul($0, variable) })
        return try gradient(of: value.loss(denominators: denominators), wrt: [variable])[0].scalars
    }

    func testPartsOfUnevenSizeAddUpToTheWhole() throws {
        let objective = ObjectiveConfiguration.crossEntropy(labelSmoothing: 0.1).objective()
        XCTAssertEqual(objective.terms, [ObjectiveTerm(name: "cross-entropy")])
        let parts = [0..<5, 5..<6, 6..<7]
        let denominator = try parts.map { try objective.denominators(of: batch($0))[0] }.reduce(0, +)
        XCTAssertEqual(denominator, 7)
        let whole = try weightGradient(0..<7, denominators: [7])
        var sum = [Float](repeating: 0, count: 12)
        for part in parts {
            for (index, value) in try weightGradient(part, denominators: [denominator]).enumerated() {
                sum[index] += value
            }
        }
        XCTAssertLessThan(relativeDifference(sum, whole), 1e-6)
        XCTAssertGreaterThan(whole.map { abs($0) }.max() ?? 0, 0.01)
    }

    func testLabelsAndFieldsAreChecked() {
        let narrow = Tensor([Float](repeating: 1, count: 8), shape: [4, 2])
        let pass = ForwardPass { matmul($0, narrow) }
        XCTAssertThrowsError(try CrossEntropyObjective().evaluate(batch(0..<3), through: pass)) {
            XCTAssertEqual($0 as? TrainingError, .labelOutOfRange(label: 2, classes: 2))
        }
        XCTAssertThrowsError(try CrossEntropyObjective(stream: "target").denominators(of: batch(0..<3))) {
            XCTAssertEqual(
                String(describing: $0),
                "objective cross-entropy: the batches of stream 'target' have no field 'labels'")
        }
    }

    /// Token labels: the mean is over those that count, however they fall to parts; a part without texts gives nothing.
    func testTokensAreCountedOverParts() throws {
        let (ignored, objective) = (Batch.ignoredLabel, CrossEntropyObjective())
        let labels: [[Int32]] = [[1, 2, 0], [2, ignored, ignored], [ignored, ignored, ignored]]
        func batch(_ rows: Range<Int>) -> [String: [String: Tensor]] {
            let tokens = rows.flatMap { row in (0..<3).map { Int32((row + $0) % 4) } }
            return [
                "train": [
                    "tokens": Tensor(indices: tokens, shape: [rows.count, 3]),
                    "labels": Tensor(indices: rows.flatMap { labels[$0] }, shape: [rows.count, 3]),
                ]
            ]
        }
        func run(_ rows: Range<Int>, _ denominator: Double) throws -> (loss: Float, gradient: [Float]) {
            let table = Tensor.variable(weight)
            let pass = ForwardPass { table.gathered(rows: $0) }
            let value = try objective.evaluate(batch(rows), through: pass)
            let loss = value.loss(denominators: [denominator])
            guard !rows.isEmpty else {
                XCTAssertEqual(value.count, 0)
                return (loss.scalar, [Float](repeating: 0, count: weight.count))
            }
            return (loss.scalar, try gradient(of: loss, wrt: [table])[0].scalars)
        }
        let parts = [0..<1, 1..<3, 3..<3]
        let denominators = try parts.map { try objective.denominators(of: batch($0))[0] }
        XCTAssertEqual(denominators, [3, 1, 0])
        let (whole, split) = (try run(0..<3, 4), try parts.map { try run($0, 4) })
        XCTAssertEqual(split.reduce(0) { $0 + $1.loss }, whole.loss, accuracy: 1e-6)
        for index in whole.gradient.indices {
            XCTAssertEqual(split.reduce(0) { $0 + $1.gradient[index] }, whole.gradient[index], accuracy: 1e-6)
        }
        XCTAssertGreaterThan(whole.loss, 0.5)
    }

    func testTrainableSetsReachNetworks() throws {
        let network = try Architecture(named: "resnet20").network()
        let resolved = try TrainableSet.headOnly.apply(to: network)
        XCTAssertEqual(network.store.parameters.filter(\.isTrainable).map(\.path), resolved.trainable)
        XCTAssertTrue(resolved.trainable.allSatisfy(network.isHead))
        XCTAssertEqual(resolved.frozenBatchNormPrefixes.count, 19)
        XCTAssertTrue(try TrainableSet.everything.apply(to: network).frozenBatchNormPrefixes.isEmpty)
        XCTAssertThrowsError(try TrainableSet(rules: [.freeze("layer4.*")]).apply(to: network)) {
            XCTAssertEqual(
                String(describing: $0),
                "freeze: the pattern 'layer4.*' matches no parameter; the nearest are layer1, layer2, layer3")
        }
    }
}
