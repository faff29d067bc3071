import Archives
import Models
import XCTest

/// Names and shapes alone tell every vision network, and no two families claim the same.
final class RecognitionTests: XCTestCase {
    /// What cannot be told apart by names and shapes is told as the first of its variants.
    private static let keys: [(key: String, told: String)] = [
        ("resnet18", "resnet18-v1.5"), ("resnet50-v1", "resnet50-v1.5"), ("resnet101-keras", "resnet101-keras"),
        ("resnet152", "resnet152-v1.5"), ("resnext50_32x4d", "resnext50_32x4d-torchvision"),
        ("resnext101_32x8d", "resnext101_32x8d-torchvision"), ("resnext101_64x4d", "resnext101_64x4d-torchvision"),
        ("wide_resnet50_2", "wide_resnet50_2-torchvision"), ("wide_resnet101_2", "wide_resnet101_2-torchvision"),
        ("resnet50_v2", "resnet50_v2-keras"), ("resnet152_v2", "resnet152_v2-keras"),
        ("resnet32", "resnet32-option-a"), ("resnet8", "resnet8-keras"), ("vgg11", "vgg11-torchvision"),
        ("vgg13_bn", "vgg13_bn-torchvision"), ("vgg16-keras", "vgg16-torchvision"), ("vgg19", "vgg19-torchvision"),
        ("inception_v3", "inception_v3-torchvision"), ("inception_v3-timm", "inception_v3-timm"),
        ("inception_v3-keras", "inception_v3-keras"), ("inception_resnet_v2", "inception_resnet_v2-timm"),
        ("inception_resnet_v2-keras", "inception_resnet_v2-keras"), ("mobilenet_v1_0.5", "mobilenet_v1_0.5-keras"),
        ("mobilenet_v1_0.3", "mobilenet_v1_0.3-keras"), ("mobilenet_v1_2.5-pytorch", "mobilenet_v1_2.5-pytorch"),
        ("mobilenet_v1_0.30078125", "mobilenet_v1_0.30078125-keras"),
        ("mobilenet_v2_0.35", "mobilenet_v2_0.35-torchvision"),
        ("mobilenet_v2_0.56-keras", "mobilenet_v2_0.56-keras"), ("mobilenet_v2_1.3", "mobilenet_v2_1.3-torchvision"),
        ("mobilenet_v1-pytorch", "mobilenet_v1-pytorch"), ("mobilenet_v2_1.4", "mobilenet_v2_1.4-torchvision"),
    ]

    func testShapesTellTheNetwork() throws {
        for (key, told) in Self.keys {
            let store = try Architecture(named: key, classes: 7, inputChannels: 1).network().store
            let parameters = store.parameters.map { ($0.path, $0.shape) }
            let buffers = store.buffers.map { ($0.path, $0.shape) }
            let weights = WeightShapes(Dictionary(parameters + buffers) { first, _ in first }, isKeras: false)
            let recognitions = Family.all.compactMap { $0.recognises(weights) }
            XCTAssertEqual(recognitions.map { "\($0.name)-\($0.variant)" }, [told], key)
        }
    }
}
