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
        let value = try CrossEntropyObjective(labelSmoothing: 0.1).evaluate(batch(rows)) { matmul($0, variable) }
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
        XCTAssertThrowsError(try CrossEntropyObjective().evaluate(batch(0..<3)) { matmul($0, narrow) }) {
            XCTAssertEqual($0 as? TrainingError, .labelOutOfRange(label: 2, classes: 2))
        }
        XCTAssertThrowsError(try CrossEntropyObjective(stream: "target").denominators(of: batch(0..<3))) {
            XCTAssertEqual(
                String(describing: $0),
                "objective cross-entropy: the batches of stream 'target' have no field 'labels'")
        }
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
