import Archives
import Layers
import Models
import Tensors
import XCTest

/// The auxiliary classifier of InceptionV3; what it computes is in VisionReferenceTests.
final class AuxiliaryHeadTests: XCTestCase {
    private let training = ForwardContext(isTraining: true, batchNorm: .frozen)

    private func network(classes: Int = 3) throws -> Network {
        let network = try Architecture(named: "inception_v3", classes: classes).network()
        Formula.fill(network)
        return network
    }

    func testItTakesPartInTrainingOnly() throws {
        let network = try network()
        let images = Formula.tensor("input299", [1, 3, 299, 299])
        XCTAssertNil(try withoutTape { try network.output(images, .inference) }.auxiliary)
        let output = try network.output(images, training)
        XCTAssertEqual(output.auxiliary?.logits.shape, [1, 3])
        XCTAssertNil(try Architecture(named: "inception_v3-keras").network().auxiliary)

        let labels = Tensor(indices: [2], shape: [1])
        let loss = output.crossEntropy(labels: labels)
        let path = "AuxLogits.conv1.conv.weight"
        let weight = try XCTUnwrap(network.store[path]?.value)
        XCTAssertGreaterThan(try gradient(of: loss, wrt: [weight])[0].scalars.map(abs).max() ?? 0, 0)
    }

    /// Its 5×5 window needs 17×17 positions; and what nothing learns from is not computed.
    func testWhereNothingCouldLearnItIsLeftOut() throws {
        let network = try network()
        XCTAssertNil(try network.output(Formula.tensor("input107", [1, 3, 107, 107]), training).auxiliary)
        for parameter in network.store.parameters { parameter.isTrainable = parameter.path.hasPrefix("fc.") }
        let images = Formula.tensor("input299", [1, 3, 299, 299])
        XCTAssertNil(try network.output(images, training).auxiliary)
        // Behind its stage there is nothing to take.
        let stage = try XCTUnwrap(network.auxiliary?.stage)
        let features = try network.run(images, stages: 0..<stage + 1, training)
        for parameter in network.store.parameters { parameter.isTrainable = true }
        XCTAssertNil(try network.output(features, training, startingAt: stage + 1).auxiliary)
    }

    func testANewHeadReplacesBothClassifiers() throws {
        let file = WeightFile(try network())
        let (copy, report) = try WeightLoader.network(from: file, path: "w.h5", classes: 5, head: .new)
        XCTAssertEqual(copy.store["AuxLogits.fc.weight"]?.shape, [5, 768])
        XCTAssertEqual(copy.store["fc.weight"]?.shape, [5, 2048])
        XCTAssertEqual(report.count(.newlyInitialised), 4)
        let path = "AuxLogits.conv0.conv.weight"
        XCTAssertEqual(copy.store[path]?.value.scalars, file[path]?.scalars)
    }
}
