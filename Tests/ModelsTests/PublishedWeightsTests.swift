import Archives
import Layers
import Models
import Tensors
import XCTest

/// Published weight files, read, recognised and loaded, give the logits that PyTorch gives with them.
final class PublishedWeightsTests: XCTestCase {
    private let tolerance: Float = 1e-4

    private func check(
        _ path: String, _ key: String, architecture: String, variant: String, images: Tensor, reshaped: Int,
        file: StaticString = #filePath, line: UInt = #line
    ) throws {
        let full = try dataPath("weights/" + path)
        let (network, report) = try WeightLoader.network(from: WeightFile.read(full), path: full)
        XCTAssertEqual(network.architecture.name, architecture, file: file, line: line)
        XCTAssertEqual(network.architecture.variant, variant, file: file, line: line)
        XCTAssertEqual(report.count(.reshaped), reshaped, file: file, line: line)
        XCTAssertEqual(report.count(.refused), 0, report.description, file: file, line: line)
        let expected = try XCTUnwrap(ReferenceNumbers.read().published[key])
        let logits = try network(images)
        XCTAssertEqual(logits.shape, [5, network.architecture.classes], file: file, line: line)
        assertClose(logits.scalars, expected, tolerance: tolerance, key, file: file, line: line)
        XCTAssertEqual(try network.outputShape(for: images.shape), logits.shape, file: file, line: line)
    }

    func testKerasMobileNetV1() throws {
        let pixels = try ReferenceNumbers.photographs(size: 224)
        try check(
            "imagenet-mobilenetv1-0.25-keras/mobilenet_v1_0.25_224.h5", "mobilenet_v1_0.25-keras",
            architecture: "mobilenet_v1_0.25", variant: "keras",
            images: Tensor(pixels.scalars.map { $0 / 127.5 - 1 }, shape: pixels.shape), reshaped: 28)
    }

    func testPyTorchMobileNetV1() throws {
        try check(
            "imagenet-mobilenetv1-0.25-pytorch/mobilenetV1X0.25_pretrain.tar", "mobilenet_v1_0.25-pytorch",
            architecture: "mobilenet_v1_0.25", variant: "pytorch",
            images: ReferenceNumbers.normalised(try ReferenceNumbers.photographs(size: 224)), reshaped: 0)
    }

    func testCIFARResNets() throws {
        let images = ReferenceNumbers.normalised(try ReferenceNumbers.photographs(size: 32))
        try check(
            "cifar10-resnet-pytorch/resnet20-12fca82f.th", "resnet20", architecture: "resnet20",
            variant: "option-a", images: images, reshaped: 0)
        try check(
            "cifar10-resnet-pytorch/resnet32-d509ac18.th", "resnet32", architecture: "resnet32",
            variant: "option-a", images: images, reshaped: 0)
    }

    func testKerasResNet8() throws {
        try check(
            "cifar10-resnet8-keras/pretrainedResnet.h5", "resnet8", architecture: "resnet8", variant: "keras",
            images: try ReferenceNumbers.photographs(size: 32), reshaped: 10)
    }

    func testWithoutTopNeedsANewHead() throws {
        let path = try dataPath("weights/imagenet-mobilenetv1-0.25-keras/mobilenet_2_5_224_tf_no_top.h5")
        let file = try WeightFile.read(path)
        XCTAssertThrowsError(try WeightLoader.network(from: file, path: "no_top.h5")) { error in
            XCTAssertEqual(
                String(describing: error),
                """
                no_top.h5: does not fit mobilenet_v1_0.25 (keras)
                  missing: conv_preds.weight
                  missing: conv_preds.bias
                  only the classifier does not fit: head: new replaces it
                """)
        }
        let (network, report) = try WeightLoader.network(from: file, path: path, classes: 10, head: .new)
        XCTAssertEqual(network.architecture.classes, 10)
        XCTAssertEqual(
            report.entries.filter { $0.outcome == .newlyInitialised }.map(\.path),
            ["conv_preds.weight", "conv_preds.bias"])
        XCTAssertEqual(report.count(.loaded) + report.count(.reshaped), 135)
    }
}
