import Archives
import Layers
import Models
import Tensors
import XCTest

/// The compiled stages against the plain ones, with statistics, scales and shifts that are not those of a new network.
final class FrozenTrunkTests: XCTestCase {
    private func network(_ key: String) throws -> Network {
        let network = try Architecture(named: key, classes: 10).network()
        Formula.fill(network)
        return network
    }

    private func plain(_ network: Network, _ images: Tensor) throws -> Tensor {
        try withoutTape { try network.run(images, stages: 0..<network.stages.count, .inference) }
    }

    /// Every family, variants that differ in padding, biases or activation, at two sizes.
    private static let architectures: [(key: String, sizes: [Int])] = [
        ("resnet18", [64, 96]), ("resnet34-v1", [64, 75]), ("resnet50", [64, 96]), ("resnet50-v1", [64, 75]),
        ("resnet50-keras", [64, 75]), ("resnet20", [32, 40]), ("resnet32", [32, 37]), ("resnet8", [32, 40]),
        ("vgg11", [32, 64]), ("vgg13_bn", [32, 64]), ("mobilenet_v1", [64, 96]), ("mobilenet_v1_0.25", [64, 75]),
        ("mobilenet_v1_0.25-pytorch", [64, 75]), ("mobilenet_v2", [64, 96]), ("mobilenet_v2_0.5-keras", [64, 75]),
    ]

    func testFoldedStagesGiveWhatPlainOnesGive() throws {
        for (key, sizes) in Self.architectures {
            let network = try network(key)
            let trunk = try FrozenTrunk(network, stages: 0..<network.stages.count)
            for size in sizes {
                let images = Formula.tensor("input\(size)", [3, 3, size, size])
                let expected = try plain(network, images)
                let actual = try trunk(images)
                XCTAssertEqual(actual.shape, expected.shape)
                assertClose(actual.scalars, expected.scalars, tolerance: 1e-5, "\(key) at \(size)")
                let logits = try network(actual, .inference, startingAt: network.stages.count)
                assertClose(logits.scalars, try network(images).scalars, tolerance: 1e-5, "\(key) at \(size): logits")
            }
        }
    }

    func testPartsOfTheNetwork() throws {
        let network = try network("resnet18")
        let images = Formula.tensor("input64", [2, 3, 64, 64])
        let expected = try network(images)
        for cut in 1..<network.stages.count {
            let front = try FrozenTrunk(network, stages: 0..<cut)
            let back = try FrozenTrunk(network, stages: cut..<network.stages.count)
            let logits = try network(back(front(images)), .inference, startingAt: network.stages.count)
            assertClose(logits.scalars, expected.scalars, tolerance: 1e-5, "cut at \(cut)")
        }
    }

    func testResultsDoNotDependOnTheBatch() throws {
        for key in ["resnet18", "mobilenet_v2"] {
            let network = try network(key)
            let trunk = try FrozenTrunk(network, stages: 0..<network.stages.count)
            let images = Formula.tensor("input64", [5, 3, 64, 64])
            let whole = try trunk(images).scalars
            let parts = try [0..<1, 1..<5].flatMap { try trunk(images.sliced(axis: 0, $0)).scalars }
            XCTAssertEqual(whole, parts, key)
        }
    }

    func testNothingIsRecorded() throws {
        let network = try network("resnet20")
        let images = Tensor.variable(Formula.tensor("input32", [1, 3, 32, 32]))
        let trunk = try FrozenTrunk(network, stages: 0..<network.stages.count)
        XCTAssertFalse(try trunk(images).requiresGradient)
    }

    func testWrongImagesAreRefused() throws {
        let trunk = try FrozenTrunk(network("resnet20"), stages: 0..<4)
        XCTAssertThrowsError(try trunk(Tensor.zeros([1, 1, 32, 32]))) { error in
            XCTAssertEqual(String(describing: error), "resnet20: takes images N×3×H×W, not 1×1×32×32")
        }
        XCTAssertEqual(try trunk(Tensor.zeros([0, 3, 32, 32])).shape, [0, 64, 8, 8])
    }
}
