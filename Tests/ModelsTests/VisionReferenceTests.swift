import Archives
import Foundation
import Layers
import Models
import Tensors
import XCTest

/// What Reference/make_vision_reference.py and make_keras_reference.py found, in float64.
struct VisionReference: Decodable {
    struct Case: Decodable {
        /// By input size, the native one among them.
        let logits: [String: [Float]]
        /// Each at its own input size.
        let passes: [Pass]
    }

    /// Forward and back again.
    struct Pass: Decodable {
        /// What the formula calls the images, and their size; and that of the tile that they repeat.
        let input: String
        let size: Int
        let tile: Int?
        /// Of the auxiliary classifier, where its loss is added.
        let auxiliary: [Float]?
        let loss: Float
        /// Of each parameter: largest magnitude, sum, first, middle and last entry.
        let gradients: [[Float]]
    }

    /// By name and variant; after a space may follow whose network it is.
    let networks: [String: Case]
    /// Of MobileNetV2, by width: the outputs of the first convolution, of each group of blocks, and of the last.
    let channels: [String: [Int]]

    static func read(_ file: String) throws -> VisionReference {
        let path = ReferenceNumbers.folder.appendingPathComponent(file)
        return try JSONDecoder().decode(Self.self, from: Data(contentsOf: path))
    }

    /// The largest differences found, relative to the largest value: for a report.
    struct Errors {
        var logits: Float = 0
        var gradients: Float = 0
    }
}

/// Every vision architecture and variant, filled by a formula, gives what torchvision, timm and Keras give in evaluation:
/// logits and the gradient of every parameter, each at two input sizes.
///
/// Gradients at the native size are compared of VGG-16 and VGG-19 of Keras, which have no other size; ResNet-18; ResNet-50
/// v1, Keras's and v2; ResNeXt-50; the narrowest MobileNets; InceptionV3 with its auxiliary classifier; and of all whose native
/// size is 32. Of the others at two sizes that take less time, of timm's VGG at one.
final class VisionReferenceTests: XCTestCase {
    func testTorchvisionAndTimm() throws {
        let cases = try VisionReference.read("vision.json").networks
        XCTAssertEqual(cases.count, 42)
        for (key, expected) in cases.sorted(by: { $0.key < $1.key }) where !Self.isVGGOfTimm(key) {
            let network = try architecture(key).network()
            Formula.fill(network)
            let parameters = network.store.parameters.sorted { $0.path < $1.path }
            try check(network, parameters, expected, key) { gradient, _ in gradient }
        }
    }

    /// Their names and shapes are other than torchvision's.
    private static func isVGGOfTimm(_ key: String) -> Bool { key.hasPrefix("vgg") && key.hasSuffix(" of timm") }

    func testVGGOfTimm() throws {
        let others: [(own: String, timm: String, shape: [Int])] = [
            ("classifier.0.", "pre_logits.fc1.", [4096, 512, 7, 7]),
            ("classifier.3.", "pre_logits.fc2.", [4096, 4096, 1, 1]), ("classifier.6.", "head.fc.", [10, 4096]),
        ]
        func name(_ path: String) -> String {
            others.first { path.hasPrefix($0.own) }.map { $0.timm + path.dropFirst($0.own.count) } ?? path
        }
        let cases = try VisionReference.read("vision.json").networks.filter { Self.isVGGOfTimm($0.key) }
        XCTAssertEqual(cases.count, 2)
        for (key, expected) in cases {
            let store = try architecture(key).network().store
            let arrays =
                store.parameters.map { ($0.path, $0.shape) }
                + store.buffers.filter { !$0.isCounter }.map { ($0.path, $0.shape) }
            let tensors = arrays.map { path, own in
                let shape = own.count == 2 ? others.first { path.hasPrefix($0.own) }?.shape ?? own : own
                return StoredTensor(
                    name: name(path), shape: shape, scalars: Formula.tensor(name(path), shape).scalars)
            }
            let file = WeightFile(format: .safetensors, tensors: tensors, metadata: WeightMetadata())
            let (network, report) = try WeightLoader.network(from: file, path: "timm.safetensors")
            XCTAssertEqual("\(network.architecture)", "\(try architecture(key))")
            XCTAssertEqual(report.count(.reshaped), 2, report.description)
            let parameters = network.store.parameters.sorted { name($0.path) < name($1.path) }
            try check(network, parameters, expected, key) { gradient, _ in gradient }
        }
    }

    func testKeras() throws {
        let cases = try VisionReference.read("keras.json").networks
        XCTAssertEqual(cases.count, 21)
        for (key, expected) in cases.sorted(by: { $0.key < $1.key }) {
            let architecture = try architecture(key)
            let network = architecture.network()
            let layers = try XCTUnwrap(architecture.kerasLayers, key)
            var learned: [(parameter: Parameter, array: KerasArray)] = []
            for layer in layers {
                for variable in layer.variables {
                    let parameter = network.store[variable.path]
                    let own = try XCTUnwrap(
                        parameter?.shape ?? network.store[buffer: variable.path]?.shape, "\(key): \(variable.path)")
                    let array = KerasArray(layer.kind, variable, canonical: own)
                    let value = array.canonical(Formula.keras(variable.name, of: layer.name, array.shape))
                    if let parameter {
                        parameter.value = value
                        learned.append((parameter, array))
                    } else {
                        network.store[buffer: variable.path]?.value = value
                    }
                }
            }
            XCTAssertEqual(Set(learned.map(\.parameter.path)), Set(network.store.parameters.map(\.path)), key)
            try check(network, learned.map(\.parameter), expected, key) { learned[$1].array.keras($0) }
        }
    }

    /// MobileNetV2's widths, between which torchvision and Keras round differently, and what the channels tell of them.
    func testChannelsOfWidths() throws {
        let outputs = ["0.0", "1.conv.1"] + [2, 4, 7, 11, 14, 17].map { "\($0).conv.2" } + ["18.0"]
        for (file, variant) in [("vision.json", "torchvision"), ("keras.json", "keras")] {
            let channels = try VisionReference.read(file).channels
            XCTAssertEqual(channels.count, 28)
            for (width, expected) in channels {
                let store = try Architecture(named: "mobilenet_v2_\(width)-\(variant)").network().store
                XCTAssertEqual(
                    outputs.map { store["features.\($0).weight"]?.shape[0] }, expected, "\(variant) \(width)")
                let weights = WeightShapes(
                    Dictionary(uniqueKeysWithValues: store.parameters.map { ($0.path, $0.shape) }),
                    isKeras: variant == "keras")
                let told = try XCTUnwrap(
                    Family.all.compactMap { $0.recognises(weights) }.first, "\(variant) \(width)")
                let copy = try Architecture(named: told.name, variant: told.variant).network().store
                XCTAssertEqual(copy.parameters.map(\.shape), store.parameters.map(\.shape), "\(variant) \(width)")
            }
        }
    }

    private func architecture(_ key: String) throws -> Architecture {
        try Architecture(named: String(key.prefix { $0 != " " }), classes: 10)
    }

    /// - Parameters:
    ///   - parameters: in the order of the reference's gradients.
    ///   - arranged: a gradient in the layout of the reference.
    private func check(
        _ network: Network, _ parameters: [Parameter], _ expected: VisionReference.Case, _ key: String,
        arranged: (Tensor, _ index: Int) -> Tensor
    ) throws {
        var errors = VisionReference.Errors()
        for (size, numbers) in expected.logits {
            let side = try XCTUnwrap(Int(size))
            let images = Formula.tensor("input\(size)", [2, 3, side, side])
            let logits = try withoutTape { try network(images) }.scalars
            assertClose(logits, numbers, tolerance: 1e-4, "\(key) at \(size)")
            errors.logits = max(errors.logits, difference(logits, numbers, (numbers.map(abs).max() ?? 1)))
        }
        func isOfAuxiliaryHead(_ parameter: Parameter) -> Bool {
            network.auxiliary.map { parameter.path.hasPrefix($0.prefix + ".") } ?? false
        }
        XCTAssertEqual(network.auxiliary != nil, expected.passes.contains { $0.auxiliary != nil }, key)
        let hasOneSize = key.hasPrefix("vgg") && (key.hasSuffix("-keras") || Self.isVGGOfTimm(key))
        XCTAssertEqual(expected.passes.count, hasOneSize ? 1 : 2, key)
        for pass in expected.passes {
            // What only the auxiliary classifier has gets no gradient where its loss is not added.
            let reached = pass.auxiliary == nil ? parameters.filter { !isOfAuxiliaryHead($0) } : parameters
            let gradients = try self.gradients(network, reached, pass, key)
            XCTAssertEqual(gradients.count, pass.gradients.count, key)
            for (index, (parameter, numbers)) in zip(reached, pass.gradients).enumerated() {
                let error = check(
                    arranged(gradients[index], index), numbers, "\(key) at \(pass.size): \(parameter.path)")
                errors.gradients = max(errors.gradients, error)
            }
        }
        if ProcessInfo.processInfo.environment["GRAFT_PRINT_ERRORS"] != nil {
            print("\(key): logits \(errors.logits), gradients \(errors.gradients)")
        }
    }

    /// - Returns: the largest difference of an entry, in units of the gradient's largest.
    private func check(_ gradient: Tensor, _ numbers: [Float], _ name: String) -> Float {
        let tolerance: Float = 1e-3
        let values = gradient.scalars
        let picks = [0, (values.count - 1) / 2, values.count - 1].map { values[$0] }
        let found = [values.reduce(0) { max($0, abs($1)) }] + picks
        let wanted = [numbers[0]] + numbers[2...]
        assertClose(found, wanted, tolerance: tolerance, "gradient of \(name)")
        let (sum, magnitude) = values.reduce(into: (0.0, 0.0)) { $0 = ($0.0 + Double($1), $0.1 + Double(abs($1))) }
        XCTAssertEqual(sum, Double(numbers[1]), accuracy: Double(tolerance) * magnitude, "sum of \(name)")
        return difference(found, wanted, numbers[0])
    }

    private func difference(_ a: [Float], _ b: [Float], _ largest: Float) -> Float {
        zip(a, b).map { abs($0 - $1) / largest }.max() ?? 0
    }

    /// Of the mean loss, that of the auxiliary classifier added where the reference has it.
    private func gradients(
        _ network: Network, _ parameters: [Parameter], _ expected: VisionReference.Pass, _ key: String
    ) throws -> [Tensor] {
        let images = Formula.images(expected.input, size: expected.size, tile: expected.tile)
        let labels = Tensor(indices: [1, 3], shape: [2])
        var loss = try network.crossEntropy(images, labels: labels, .inference) * 0.5
        if let numbers = expected.auxiliary {
            let training = ForwardContext(isTraining: true, batchNorm: .frozen)
            let output = try network.output(images, training)
            let auxiliary = try XCTUnwrap(output.auxiliary, key)
            assertClose(auxiliary.logits.scalars, numbers, tolerance: 1e-4, "\(key): auxiliary classifier")
            XCTAssertEqual(auxiliary.weight, 0.4)
            let share = crossEntropy(auxiliary.logits, labels: labels) * (0.5 * auxiliary.weight)
            // What training minimises is the sum; dropout before the classifier draws the same in both passes.
            let whole = try network.crossEntropy(images, labels: labels, training) * 0.5
            let own = crossEntropy(output.logits, labels: labels) * 0.5
            XCTAssertEqual(whole.scalar, own.scalar + share.scalar, accuracy: 1e-5 * whole.scalar)
            loss = loss + share
        }
        XCTAssertEqual(loss.scalar, expected.loss, accuracy: 1e-4 * expected.loss, key)
        return try gradient(of: loss, wrt: parameters.map(\.value))
    }
}

/// One array of a Keras layer, and its layout.
private struct KerasArray {
    private enum Layout { case same, convolution, depthwise, dense, flattened(channels: Int) }
    private let layout: Layout
    private let canonicalShape: [Int]

    init(_ kind: KerasLayer.Kind, _ variable: KerasLayer.Variable, canonical shape: [Int]) {
        canonicalShape = shape
        switch (variable.name, kind) {
        case ("kernel", .convolution): layout = .convolution
        case ("depthwise_kernel", .depthwiseConvolution): layout = .depthwise
        case ("kernel", .dense): layout = .dense
        case ("kernel", .denseAfterFlatten(let channels)): layout = .flattened(channels: channels)
        default: layout = .same
        }
    }

    /// O×I×H×W; where the canonical path holds a linear map or a flattened one, as what it stands for.
    private var image: [Int] {
        let s = canonicalShape
        switch layout {
        case .flattened(let channels):
            let side = Int(Double(s[1] / channels).squareRoot())
            return [s[0], channels, side, side]
        case .convolution where s.count == 2: return s + [1, 1]
        default: return s
        }
    }

    var shape: [Int] {
        let s = image
        switch layout {
        case .same: return s
        case .convolution: return [s[2], s[3], s[1], s[0]]
        case .depthwise: return [s[2], s[3], s[0], 1]
        case .dense: return [s[1], s[0]]
        case .flattened: return [s[1] * s[2] * s[3], s[0]]
        }
    }

    /// From Keras's layout.
    func canonical(_ array: Tensor) -> Tensor {
        let s = image
        switch layout {
        case .same: return array
        case .convolution: return array.transposed([3, 2, 0, 1]).reshaped(canonicalShape)
        case .depthwise: return array.transposed([2, 3, 0, 1])
        case .dense: return array.transposed()
        case .flattened:
            return array.reshaped([s[2], s[3], s[1], s[0]]).transposed([3, 2, 0, 1]).reshaped(canonicalShape)
        }
    }

    /// To Keras's layout.
    func keras(_ array: Tensor) -> Tensor {
        switch layout {
        case .same: return array
        case .convolution, .flattened: return array.reshaped(image).transposed([2, 3, 1, 0]).reshaped(shape)
        case .depthwise: return array.transposed([2, 3, 0, 1])
        case .dense: return array.transposed()
        }
    }
}
