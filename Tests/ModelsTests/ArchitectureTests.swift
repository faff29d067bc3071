import Layers
import Models
import Tensors
import XCTest

final class ArchitectureTests: XCTestCase {
    private let all = [
        "resnet18", "resnet34", "resnet50-v1", "resnet101", "resnet152-keras", "resnet20", "resnet32", "resnet44",
        "resnet56", "resnet8", "mobilenet_v1", "mobilenet_v1_0.25-pytorch", "mobilenet_v2_0.35", "mobilenet_v2-keras",
        "resnet50_v2", "resnext50_32x4d", "wide_resnet50_2", "inception_v3", "inception_v3-timm", "inception_v3-keras",
        "inception_resnet_v2", "inception_resnet_v2-keras", "vgg16-keras", "vgg13_bn",
    ]

    func testNamesAreParsed() throws {
        let cases: [(String, name: String, variant: String, size: Int, classes: Int)] = [
            ("resnet50", "resnet50", "v1.5", 224, 1000),
            ("resnet50-v1", "resnet50", "v1", 224, 1000),
            ("resnet20", "resnet20", "option-a", 32, 10),
            ("mobilenet_v1_0.25", "mobilenet_v1_0.25", "keras", 224, 1000),
            ("mobilenet_v1_1.0-pytorch", "mobilenet_v1", "pytorch", 224, 1000),
            ("mobilenet_v2_0.50", "mobilenet_v2_0.5", "torchvision", 224, 1000),
            ("mobilenet_v1_0.30078125", "mobilenet_v1_0.30078125", "keras", 224, 1000),
        ]
        for (given, name, variant, size, classes) in cases {
            let architecture = try Architecture(named: given)
            XCTAssertEqual(architecture.name, name)
            XCTAssertEqual(architecture.variant, variant)
            XCTAssertEqual(architecture.inputSize, size)
            XCTAssertEqual(architecture.classes, classes)
        }
    }

    func testWrongNamesAndNumbers() {
        func message(_ body: () throws -> Architecture) -> String {
            do { return "\(try body())" } catch { return String(describing: error) }
        }
        XCTAssertEqual(
            message { try Architecture(named: "resnet51") },
            "architecture \"resnet51\" is not known; did you mean resnet50, resnet56, resnet101?")
        XCTAssertEqual(
            message { try Architecture(named: "mobilenet_v2_wide") },
            "architecture \"mobilenet_v2_wide\" is not known; did you mean mobilenet_v2_0.35, mobilenet_v2_0.5, mobilenet_v2_0.75?"
        )
        XCTAssertEqual(
            message { try Architecture(named: "resnet18", variant: "keras") },
            "architecture resnet18 has no variant \"keras\"; it has v1.5, v1")
        XCTAssertEqual(
            message { try Architecture(named: "resnet50-v1", variant: "keras") },
            "architecture resnet50: the name says variant \"v1\", the variant is \"keras\"; give one of them")
        XCTAssertEqual(try Architecture(named: "resnet50-v1", variant: "V1").variant, "v1")
        XCTAssertEqual(
            message { try Architecture(named: "resnet18", classes: 0) },
            "architecture resnet18: classes is 0, expected 1 to 16777216")
        XCTAssertEqual(
            message { try Architecture(named: "resnet18", sizes: ["layers": 3]) },
            "architecture resnet18 has no size \"layers\"; its name says all")
        XCTAssertEqual(
            message { try Architecture(named: "mobilenet_v1_0") },
            "architecture mobilenet_v1: width is 0, expected 0.05 to 8")
    }

    func testEveryParameterBelongsToOneStageOrTheHead() throws {
        for name in all {
            let network = try Architecture(named: name).network()
            let paths = network.store.parameters.map(\.path) + network.store.buffers.map(\.path)
            for path in paths {
                let isAuxiliary = network.auxiliary.map { path.hasPrefix($0.prefix + ".") } ?? false
                let owners =
                    network.stages.filter { $0.owns(path) }.count + (isAuxiliary || network.isHead(path) ? 1 : 0)
                XCTAssertEqual(owners, 1, "\(name): \(path)")
            }
            XCTAssertEqual(Set(network.stages.map(\.name)).count, network.stages.count)
        }
    }

    func testShapePassAgreesWithRunning() throws {
        let names = [
            "resnet18", "resnet50-v1", "resnet20", "resnet8", "mobilenet_v1_0.25", "mobilenet_v2_0.35-keras",
            "resnet50_v2", "resnext50_32x4d", "inception_v3", "inception_resnet_v2-keras",
        ]
        for name in names {
            let network = try Architecture(named: name, classes: 7, inputChannels: 1).network()
            for size in name.hasPrefix("inception") ? [75, 107] : [33, 40] {
                let images = Tensor.zeros([1, 1, size, size])
                var input = images
                for (index, stage) in network.stages.enumerated() {
                    input = try network.run(input, stages: index..<index + 1, .inference)
                    XCTAssertEqual(
                        try network.outputShape(for: images.shape, ofStage: index), input.shape,
                        "\(name) at \(size): \(stage.name)")
                }
                let logits = try network(input, .inference, startingAt: network.stages.count)
                XCTAssertEqual(logits.shape, [1, 7])
                XCTAssertEqual(try network.outputShape(for: images.shape), [1, 7])
            }
        }
    }

    func testImpossibleInputsNameTheLayer() throws {
        let network = try Architecture(named: "resnet18").network()
        XCTAssertThrowsError(try network.outputShape(for: [1, 1, 64, 64])) {
            XCTAssertEqual("\($0)", "resnet18: takes images N×3×H×W, not 1×1×64×64")
        }
        let mobile = try Architecture(named: "mobilenet_v1_0.25").network()
        for throwing in [{ try mobile.outputShape(for: [1, 3, 2, 2]) }, { try mobile(.zeros([1, 3, 2, 2])).shape }] {
            XCTAssertThrowsError(try throwing()) {
                XCTAssertEqual(
                    "\($0)", "conv_dw_2: an input of 1×1 is smaller than the window of 3×3; use larger images")
            }
        }
    }

    func testMultiplications() throws {
        // 4.09 billion for ResNet-50 v1.5 at 224 px, 0.30 for MobileNetV2, as commonly stated.
        let resNet = try Architecture(named: "resnet50").network().shapes(for: [1, 3, 224, 224])
        XCTAssertEqual(Double(resNet.multiplications), 4.089e9, accuracy: 1e6)
        let mobile = try Architecture(named: "mobilenet_v2").network().shapes(for: [1, 3, 224, 224])
        XCTAssertEqual(Double(mobile.multiplications), 0.3008e9, accuracy: 1e6)
        // 5.71 billion for InceptionV3 at 299 px, as torchvision states.
        let inception = try Architecture(named: "inception_v3").network().shapes(for: [1, 3, 299, 299])
        XCTAssertEqual(Double(inception.multiplications), 5.713e9, accuracy: 5e6)
    }

    func testBuildingDrawsNothing() throws {
        let network = try Architecture(named: "resnet152").network()
        XCTAssertFalse(network.store.parameters.contains(where: \.isMaterialized))
    }
}
