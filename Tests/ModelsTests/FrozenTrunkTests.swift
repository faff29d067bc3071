import Archives
import Datasets
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
        ("resnet50_v2", [64, 75]), ("resnext50_32x4d", [64, 75]), ("wide_resnet50_2", [64]), ("vgg16-keras", [64]),
        ("inception_v3", [107, 128]), ("inception_v3-keras", [107, 128]), ("inception_resnet_v2", [107]),
        ("inception_resnet_v2-keras", [128]),
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
        for (key, size) in [("resnet18", 64), ("resnet50_v2", 64), ("inception_v3", 107)] { try checkParts(key, size) }
    }

    private func checkParts(_ key: String, _ size: Int) throws {
        let network = try network(key)
        let images = Formula.tensor("input\(size)", [2, 3, size, size])
        let expected = try network(images)
        for cut in 1..<network.stages.count {
            let front = try FrozenTrunk(network, stages: 0..<cut)
            let back = try FrozenTrunk(network, stages: cut..<network.stages.count)
            let logits = try network(back(front(images)), .inference, startingAt: network.stages.count)
            assertClose(logits.scalars, expected.scalars, tolerance: 1e-5, "\(key) cut at \(cut)")
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

    // MARK: 8 bits

    private func published(_ path: String) throws -> Network {
        let full = try dataPath("weights/" + path)
        return try WeightLoader.network(from: WeightFile.read(full), path: full).network
    }

    /// Calibrated with and compared on photographs.
    private func checkInt8(_ network: Network, _ images: Tensor, cosine least: Double, error most: Double) throws {
        guard EightBit.isSupported else { throw XCTSkip("no AVX-512 VNNI") }
        let trunk = try FrozenTrunk(network, stages: 0..<network.stages.count, precision: .int8)
        XCTAssertThrowsError(try trunk(images), "before calibration")
        try trunk.calibrate(with: [images])
        let (expected, actual) = (try plain(network, images).scalars, try trunk(images).scalars)
        XCTAssertEqual(expected.count, actual.count)
        let (product, a, b, difference) = zip(expected, actual).reduce(into: (0.0, 0.0, 0.0, 0.0)) { sums, pair in
            let (x, y) = (Double(pair.0), Double(pair.1))
            sums = (sums.0 + x * y, sums.1 + x * x, sums.2 + y * y, sums.3 + (x - y) * (x - y))
        }
        let cosine = product / (a * b).squareRoot()
        let error = (difference / a).squareRoot()
        XCTAssertGreaterThan(cosine, least, network.architecture.name)
        XCTAssertLessThan(error, most, network.architecture.name)
        XCTAssertGreaterThan(error, 1e-5, "this was not computed in 8 bits")
        // A batch does not change its samples.
        let two = try trunk(images.sliced(axis: 0, 1..<3)).scalars
        let perSample = expected.count / images.shape[0]
        XCTAssertEqual(two, Array(actual[perSample..<3 * perSample]))
    }

    func testInt8OfCIFARResNets() throws {
        let images = ReferenceNumbers.normalised(try ReferenceNumbers.photographs(size: 32))
        for path in ["resnet20-12fca82f.th", "resnet32-d509ac18.th"] {
            try checkInt8(published("cifar10-resnet-pytorch/" + path), images, cosine: 0.998, error: 0.06)
        }
    }

    /// The hardest for 8 bits: depthwise, narrow, and leaky ReLU leaves it signed.
    func testInt8OfMobileNetV1() throws {
        let images = ReferenceNumbers.normalised(try ReferenceNumbers.photographs(size: 224))
        try checkInt8(
            published("imagenet-mobilenetv1-0.25-pytorch/mobilenetV1X0.25_pretrain.tar"), images, cosine: 0.94,
            error: 0.35)
    }

    /// Batch norms of random statistics, shortcuts with and without convolutions, pooling between convolutions.
    func testInt8OfOtherFamilies() throws {
        for key in ["resnet18", "resnet50", "resnet8", "vgg11", "mobilenet_v2"] {
            try checkInt8(network(key), Formula.tensor("input64", [3, 3, 64, 64]), cosine: 0.998, error: 0.06)
        }
        for key in ["resnet50_v2", "resnext50_32x4d", "inception_v3", "inception_resnet_v2-keras"] {
            try checkInt8(network(key), Formula.tensor("input107", [3, 3, 107, 107]), cosine: 0.998, error: 0.06)
        }
    }

    /// The published head on the int8 trunk, on all 600 test images; calibrated on training images.
    func testInt8KeepsTheAccuracyOfResNet20() throws {
        guard EightBit.isSupported else { throw XCTSkip("no AVX-512 VNNI") }
        let network = try published("cifar10-resnet-pytorch/resnet20-12fca82f.th")
        let folder = try dataPath("cifar10")
        func batch(_ split: DatasetSplit, every step: Int) throws -> Batch {
            let dataset = try openImageDataset(at: folder, split: split)
            let loader = try BatchLoader(
                dataset: dataset, transform: .evaluation(network.architecture.imagePreprocessing))
            let indices = Array(stride(from: 0, to: dataset.count, by: step))
            return try loader.load(BatchRequest(epoch: 0, step: 0, indices: indices))
        }
        let test = try batch(.test, every: 1)
        XCTAssertEqual(test.count, 600)
        let trunk = try FrozenTrunk(network, stages: 0..<network.stages.count, precision: .int8)
        try trunk.calibrate(with: [batch(.train, every: 50).images])
        func accuracy(_ logits: Tensor) -> Double {
            let (scores, labels) = (logits.scalars, test.labels.indices)
            let right = labels.indices.filter { row in
                let ten = scores[row * 10..<(row + 1) * 10]
                return ten.max() == ten[ten.startIndex + Int(labels[row])]
            }
            return Double(right.count) / Double(labels.count)
        }
        let plain = accuracy(try withoutTape { try network(test.images) })
        let int8 = accuracy(try network(trunk(test.images), .inference, startingAt: network.stages.count))
        XCTAssertGreaterThan(plain, 0.79)
        XCTAssertEqual(int8, plain, accuracy: 0.01)
    }
}
