import Archives
import Foundation
import Models
import Tensors
import XCTest

/// From one format through others and back: bit by bit what it was.
final class ConvertingTests: ArchiveTestCase {
    private func canonical(_ path: String, head: HeadPolicy = .keep) throws -> WeightFile {
        try WeightLoader.canonical(try WeightFile.read(path), path: path, head: head).file
    }

    /// Names, shapes, types and bytes, in alphabetical order.
    private func content(_ file: WeightFile) -> [String] {
        file.tensors.sorted { $0.name < $1.name }.map {
            "\($0.name) \($0.shape) \($0.elementType) \($0.bytes.base64EncodedString())"
        }
    }

    // MARK: Keras → Graft → Keras

    private let keras: [(file: String, head: HeadPolicy)] = [
        ("imagenet-mobilenetv1-0.25-keras/mobilenet_v1_0.25_224.h5", .keep),
        ("imagenet-mobilenetv1-0.25-keras/mobilenet_2_5_224_tf_no_top.h5", .new),
        ("cifar10-resnet8-keras/pretrainedResnet.h5", .keep),
    ]

    func testKerasThroughGraft() throws {
        for (name, head) in keras {
            let source = try WeightFile.read(try weights(name))
            try canonical(try weights(name), head: head).write(to: path("g.h5"), as: .graftHDF5)
            let graft = try WeightFile.read(path("g.h5"))
            for format in [WeightFormat.kerasHDF5, .kerasWeights] {
                try graft.write(to: path("k.h5"), as: format)
                let back = try WeightFile.read(path("k.h5"))
                XCTAssertEqual(back.format, format)
                let numbers = lowestNumbers(source)
                XCTAssertEqual(
                    content(back),
                    content(
                        WeightFile(
                            format: format,
                            tensors: source.tensors.map { $0.renamed(fromNone($0.name, numbers)) })), name)
            }
            // Without Graft's file between them.
            try source.write(to: path("d.h5"), as: .kerasHDF5)
            try graft.write(to: path("k.h5"), as: .kerasHDF5)
            XCTAssertEqual(content(try WeightFile.read(path("d.h5"))), content(try WeightFile.read(path("k.h5"))))
        }
    }

    /// The lowest number of each class that Keras counts while a program runs (`conv2d_7`).
    private func lowestNumbers(_ file: WeightFile) -> [String: Int] {
        var lowest: [String: Int] = [:]
        for tensor in file.tensors {
            guard let (kind, number) = numbered(tensor.name) else { continue }
            lowest[kind] = min(lowest[kind] ?? number, number)
        }
        return lowest
    }

    private func numbered(_ name: String) -> (kind: String, number: Int)? {
        let layer = name.split(separator: "/")[0]
        for kind in ["conv2d", "batch_normalization", "dense"] {
            if layer == kind { return (kind, 0) }
            if layer.hasPrefix(kind + "_"), let number = Int(layer.dropFirst(kind.count + 1)) { return (kind, number) }
        }
        return nil
    }

    private func fromNone(_ name: String, _ lowest: [String: Int]) -> String {
        guard let (kind, number) = numbered(name), let least = lowest[kind] else { return name }
        let rest = name.split(separator: "/").dropFirst().joined(separator: "/")
        return "\(number == least ? kind : "\(kind)_\(number - least)")/\(rest)"
    }

    /// torchvision's VGG has the layers of Keras's, whatever its images are prepared like.
    func testTorchvisionsVGGForKeras() throws {
        let network = try Architecture(named: "vgg16").network()
        XCTAssertEqual(network.architecture.variant, "torchvision")
        var generator = SeededGenerator(state: 16)
        let tensors = network.store.parameters.filter { $0.path.hasPrefix("features.") }.map { parameter in
            // Random bits without the highest ones of the exponent: all finite.
            let words = (0..<parameter.count).map { _ in UInt32(truncatingIfNeeded: generator.next()) & 0x8fff_ffff }
            return StoredTensor(
                name: parameter.path, shape: parameter.shape, elementType: .float32,
                bytes: words.withUnsafeBytes { Data($0) }, layout: parameter.shape.count == 4 ? "OIHW" : nil)
        }
        let file = WeightFile(
            format: .graftHDF5, tensors: tensors,
            metadata: WeightMetadata(architecture: "vgg16", variant: "torchvision"))
        for format in [WeightFormat.kerasHDF5, .kerasWeights] {
            try file.write(to: path("k.h5"), as: format)
            let keras = try WeightFile.read(path("k.h5"))
            XCTAssertEqual(keras.tensors.map(\.name).prefix(2), ["block1_conv1/kernel:0", "block1_conv1/bias:0"])
            XCTAssertEqual(keras["block2_conv1/kernel:0"]?.shape, [3, 3, 64, 128])
            for (mine, theirs) in zip(tensors, keras.tensors) {
                guard mine.shape.count == 4 else {
                    XCTAssertEqual(mine.bytes, theirs.bytes, mine.name)
                    continue
                }
                // O×I×H×W and H×W×I×O.
                let (o, i) = (mine.shape[0], mine.shape[1])
                let (a, b) = (mine.scalars, theirs.scalars)
                let isSame = (0..<a.count).allSatisfy { index in
                    let (output, input, place) = (index / (9 * i), index / 9 % i, index % 9)
                    return a[index].bitPattern == b[(place * i + input) * o + output].bitPattern
                }
                XCTAssertTrue(isSame, mine.name)
            }
        }
    }

    func testKerasWritesWhatH5pyWrites() throws {
        try canonical(try weights("cifar10-resnet8-keras/pretrainedResnet.h5")).write(to: path("k.h5"), as: .kerasHDF5)
        let dump = try run("h5dump", ["-A", path("k.h5")])
        XCTAssertEqual(dump.status, 0, dump.output)
        for text in ["ATTRIBUTE \"layer_names\"", "H5T_STR_NULLPAD", "\"tensorflow\"", "ATTRIBUTE \"weight_names\""] {
            XCTAssertTrue(dump.output.contains(text), "\(text) in \(dump.output.prefix(2_000))")
        }
    }

    func testWhatKerasDoesNotHave() throws {
        let other = WeightFile(try Architecture(named: "resnet20").network())
        assertThrows(
            "\(path("k.h5")): resnet20 (option-a) in Keras's formats, as Keras has no such network, is not supported"
        ) { try other.write(to: self.path("k.h5"), as: .kerasHDF5) }
        var missing = WeightFile(try Architecture(named: "resnet8").network())
        missing.tensors.removeAll { $0.name == "layer2.0.conv1.bias" }
        assertThrows("\(path("k.h5")): has no layer2.0.conv1.bias") {
            try missing.write(to: self.path("k.h5"), as: .kerasWeights)
        }
        var more = WeightFile(try Architecture(named: "resnet8").network())
        more.tensors.append(StoredTensor(name: "layer9.weight", shape: [1], scalars: [1]))
        assertThrows("\(path("k.h5")): layer9.weight, which Keras's network does not have, is not supported") {
            try more.write(to: self.path("k.h5"), as: .kerasHDF5)
        }
    }

    /// Keras itself loads what Graft writes: into a model of keras.applications, array by array what the source holds.
    func testKerasLoadsIt() throws {
        let name = "imagenet-mobilenetv1-0.25-keras/mobilenet_v1_0.25_224.h5"
        let file = try canonical(try weights(name))
        try file.write(to: path("legacy.h5"), as: .kerasHDF5)
        try file.write(to: path("new.weights.h5"), as: .kerasWeights)
        let script = """
            import os, sys
            os.environ.setdefault("KERAS_BACKEND", "torch")
            try:
                import keras, numpy
            except ImportError:
                sys.exit(77)
            def model():
                return keras.applications.MobileNet(alpha=0.25, weights=None, classifier_activation="softmax")
            models = [model() for _ in sys.argv[1:]]
            for m, path in zip(models, sys.argv[1:]):
                m.load_weights(path)
            arrays = [m.get_weights() for m in models]
            print(len(arrays[0]), all(len(a) == len(arrays[0]) and
                all(x.tobytes() == y.tobytes() for x, y in zip(a, arrays[0])) for a in arrays))
            """
        let result = try run("python3", ["-c", script, try weights(name), path("legacy.h5"), path("new.weights.h5")])
        if result.status == 77 { throw XCTSkip("Keras is not installed") }
        XCTAssertEqual(result.status, 0, result.output)
        XCTAssertTrue(result.output.hasSuffix("137 True\n"), result.output)
    }

    // MARK: PyTorch → Graft → safetensors

    func testPyTorchThroughGraft() throws {
        for name in [
            "cifar10-resnet-pytorch/resnet20-12fca82f.th", "cifar10-resnet-pytorch/resnet32-d509ac18.th",
            "imagenet-mobilenetv1-0.25-pytorch/mobilenetV1X0.25_pretrain.tar",
        ] {
            let source = try WeightFile.read(try weights(name))
            try canonical(try weights(name)).write(to: path("g.h5"), as: .graftHDF5)
            try WeightFile.read(path("g.h5")).write(to: path("w.safetensors"), as: .safetensors)
            let back = try WeightFile.read(path("w.safetensors"))
            let names = source.tensors.map { tensor in
                tensor.renamed(tensor.name.hasPrefix("module.") ? String(tensor.name.dropFirst(7)) : tensor.name)
            }
            let counted = Set(names.map(\.name))
            // PyTorch before 0.4.1 did not count batches: the file then says 0.
            let kept = back.tensors.filter { counted.contains($0.name) }
            XCTAssertEqual(
                content(WeightFile(format: .safetensors, tensors: kept)),
                content(WeightFile(format: .safetensors, tensors: names)), name)
            for tensor in back.tensors where !counted.contains(tensor.name) {
                XCTAssertTrue(tensor.name.hasSuffix("num_batches_tracked"))
                XCTAssertEqual(tensor.integers, [0])
            }
        }
    }

    /// Every element type, and counters beyond what a float32 holds.
    func testElementTypesStay() throws {
        let network = try Architecture(named: "resnet20").network()
        var file = WeightFile(network)
        let large = Int64(1) << 53 + 1
        for index in file.tensors.indices {
            let tensor = file.tensors[index]
            if tensor.name.hasSuffix("num_batches_tracked") {
                file.tensors[index].bytes = withUnsafeBytes(of: large.littleEndian) { Data($0) }
                continue
            }
            let type = [ElementType.float16, .bfloat16, .float64, .float32][index % 4]
            // Finite in every type.
            let bytes = Data((0..<tensor.count * type.byteCount).map { UInt8(truncatingIfNeeded: $0 &* 37) & 0x3f })
            file.tensors[index] = StoredTensor(
                name: tensor.name, shape: tensor.shape, elementType: type, bytes: bytes, role: tensor.role)
        }
        file.metadata = WeightMetadata()
        try file.write(to: path("a.safetensors"), as: .safetensors)
        try canonical(path("a.safetensors")).write(to: path("b.h5"), as: .graftHDF5)
        try WeightFile.read(path("b.h5")).write(to: path("c.safetensors"), as: .safetensors)
        XCTAssertEqual(content(try WeightFile.read(path("c.safetensors"))), content(file))
    }

    func testWidenedTensorsLeaveAsTheyCame() throws {
        let half = StoredTensor(
            name: "half", shape: [6], elementType: .float16,
            bytes: Data([0, 0x3c, 1, 0, 0xff, 0x03, 0xff, 0x7b, 0, 0xfc, 0, 0x80]))
        let brain = StoredTensor(
            name: "brain", shape: [3], elementType: .bfloat16, bytes: Data([0x80, 0x3f, 1, 0, 0x80, 0xff]))
        for tensor in [half, brain] {
            XCTAssertEqual(tensor.widened.elementType, .float32)
            XCTAssertEqual(tensor.widened.narrowed, tensor)
            // Training leaves digits that the narrow type has no room for.
            var trained = tensor.widened
            trained.bytes[0] ^= 1
            XCTAssertEqual(trained.narrowed, trained)
        }
        let file = WeightFile(format: .safetensors, tensors: [half.widened, brain.widened])
        try file.write(to: path("n.safetensors"), as: .safetensors)
        XCTAssertEqual(
            Set(try WeightFile.read(path("n.safetensors")).tensors.map(\.elementType)), [.float16, .bfloat16])
    }
}
