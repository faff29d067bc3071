import Archives
import Foundation
import Layers
import Models
import Tensors
import XCTest

final class LoadingTests: XCTestCase {
    func testWhatIsWrittenIsReadBackAndRecognised() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let names = [
            "resnet18", "resnet50", "resnet50-keras", "resnet44", "resnet8", "mobilenet_v1_0.5",
            "mobilenet_v1_0.25-pytorch",
            "mobilenet_v2_0.35",
        ]
        for name in names {
            let network = try Architecture(named: name, classes: 4, inputChannels: 1).network(seed: 3)
            network.store.buffers.last?.update { $0[0] = 7 }
            let path = folder.appendingPathComponent(name).path
            for format in [WeightFormat.graftHDF5, .safetensors] {
                var file = WeightFile(network)
                if format == .safetensors { file.metadata = WeightMetadata() }  // names and shapes must do
                try file.write(to: path, as: format)
                let (copy, report) = try WeightLoader.network(from: WeightFile.read(path), path: path)
                XCTAssertEqual(copy.architecture, network.architecture, "\(name) as \(format)")
                XCTAssertEqual(report.count(.loaded), report.entries.count, report.description)
                for (a, b) in zip(network.store.parameters, copy.store.parameters) {
                    XCTAssertEqual(a.value.scalars, b.value.scalars, a.path)
                }
                for (a, b) in zip(network.store.buffers, copy.store.buffers) {
                    XCTAssertEqual(a.value.scalars, b.value.scalars, a.path)
                }
            }
        }
    }

    /// timm names the layers of MobileNetV2 otherwise, in the same order.
    func testMobileNetV2OfTimm() throws {
        var layers = ["conv_stem", "bn1"]
        for (group, count) in [1, 2, 3, 4, 3, 3, 1].enumerated() {
            let parts =
                group == 0
                ? ["conv_dw", "bn1", "conv_pw", "bn2"] : ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
            layers += (0..<count).flatMap { block in parts.map { "blocks.\(group).\(block).\($0)" } }
        }
        layers += ["conv_head", "bn2", "classifier"]
        let network = try Architecture(named: "mobilenet_v2_0.5", classes: 4).network(seed: 3)
        var file = WeightFile(network)
        func layer(_ path: String) -> String { String(path[..<(path.lastIndex(of: ".") ?? path.endIndex)]) }
        let own = network.store.parameters.map { layer($0.path) }.reduce(into: [String]()) {
            if $0.last != $1 { $0.append($1) }
        }
        XCTAssertEqual(own.count, layers.count)
        let names = Dictionary(uniqueKeysWithValues: zip(own, layers))
        file.metadata = WeightMetadata()
        file.tensors = try file.tensors.map {
            try $0.renamed(XCTUnwrap(names[layer($0.name)]) + $0.name.dropFirst(layer($0.name).count))
        }
        XCTAssertNotNil(file["blocks.6.0.conv_pwl.weight"])
        let (copy, report) = try WeightLoader.network(from: file, path: "timm.safetensors")
        XCTAssertEqual(copy.architecture, network.architecture)
        XCTAssertEqual(report.count(.loaded), report.entries.count, report.description)
        for (a, b) in zip(network.store.parameters, copy.store.parameters) {
            XCTAssertEqual(a.value.scalars, b.value.scalars, a.path)
        }
    }

    func testTheLargestCounterCanBeWritten() throws {
        let network = try Architecture(named: "resnet20").network()
        let counter = try XCTUnwrap(network.store.buffers.first { $0.isCounter })
        // What Int64.max becomes as a Float.
        counter.update { $0[0] = 0x1p63 }
        XCTAssertEqual(WeightFile(network)[counter.path]?.integers, [.max])
    }

    func testEverythingThatDoesNotFitIsListed() throws {
        var file = WeightFile(try Architecture(named: "resnet20").network())
        file.tensors.removeAll { $0.name == "bn1.bias" }
        file.tensors.append(StoredTensor(name: "layer9.weight", shape: [2], scalars: [1, 2]))
        file.tensors[0] = StoredTensor(
            name: "conv1.weight", shape: [16, 3, 1, 1], scalars: [Float](repeating: 0, count: 48))
        let network = try Architecture(named: "resnet20", classes: 5).network()
        XCTAssertThrowsError(try WeightLoader.load(file, into: network, path: "weights.h5")) { error in
            XCTAssertEqual(
                String(describing: error),
                """
                weights.h5: does not fit resnet20 (option-a)
                  missing: bn1.bias
                  unexpected: layer9.weight
                  wrong shape: conv1.weight is 16×3×1×1, expected 16×3×3×3
                  wrong shape: linear.weight is 10×64, expected 5×64
                  wrong shape: linear.bias is 10, expected 5
                """)
        }
        XCTAssertFalse(network.store.parameters.contains(where: \.isMaterialized), "a failed load changes nothing")
    }

    func testWeightsThatAreNotNumbersAreRefused() throws {
        let network = try Architecture(named: "resnet20").network()
        for (value, name) in [(Float.nan, "bn1.weight"), (.infinity, "layer1.0.bn1.running_var")] {
            var file = WeightFile(try Architecture(named: "resnet20").network())
            let index = try XCTUnwrap(file.tensors.firstIndex { $0.name == name })
            file.tensors[index] = StoredTensor(
                name: name, shape: [16], scalars: [Float](repeating: 1, count: 15) + [value])
            XCTAssertThrowsError(try WeightLoader.load(file, into: network, path: "w.h5")) {
                XCTAssertEqual($0 as? LoadError, .notFinite(path: "w.h5", names: [name]))
            }
        }
        XCTAssertFalse(network.store.parameters.contains(where: \.isMaterialized), "a failed load changes nothing")
    }

    func testHeadNewSwapsTheClassifierOnly() throws {
        let source = try Architecture(named: "resnet20").network(seed: 1)
        let (network, report) = try WeightLoader.network(
            from: WeightFile(source), path: "w.h5", classes: 3, head: .new, seed: 2)
        XCTAssertEqual(network.store["linear.weight"]?.shape, [3, 64])
        XCTAssertEqual(network.store["conv1.weight"]?.value.scalars, source.store["conv1.weight"]?.value.scalars)
        XCTAssertEqual(report.count(.refused), 2)
        XCTAssertEqual(report.count(.newlyInitialised), 2)
        XCTAssertTrue(report.description.contains("refused: linear.weight (head: new)"), report.description)
    }

    func testTheVariantAloneMayBeSaid() throws {
        var file = WeightFile(try Architecture(named: "resnet18").network())
        file.metadata = WeightMetadata()
        let (found, said) = (
            try WeightLoader.architecture(of: file, path: "a.pt"),
            try WeightLoader.architecture(of: file, path: "a.pt", variant: "v1")
        )
        XCTAssertEqual([found.name, found.variant, said.name, said.variant], ["resnet18", "v1.5", "resnet18", "v1"])
        XCTAssertThrowsError(try WeightLoader.architecture(of: file, path: "a.pt", variant: "keras")) {
            XCTAssertEqual("\($0)", "architecture resnet18 has no variant \"keras\"; it has v1.5, v1")
        }
    }

    func testUnknownFilesAreNamed() throws {
        let file = WeightFile(
            format: .safetensors, tensors: [StoredTensor(name: "stft.weight", shape: [1], scalars: [0])])
        XCTAssertThrowsError(try WeightLoader.network(from: file, path: "vad.safetensors")) {
            XCTAssertEqual(
                "\($0)",
                "vad.safetensors: names and shapes of its tensors (stft.weight, …) are those of no known network; "
                    + "say which one with architecture")
        }
    }

    /// A file as keras.applications writes it, made from a network by spelling Keras's names.
    func testKerasNamesOfMobileNetV2AndResNet50() throws {
        var mobile: [(keras: String, path: String)] = [
            ("Conv1", "features.0.0"), ("bn_Conv1", "features.0.1"),
            ("expanded_conv_depthwise", "features.1.conv.0.0"), ("expanded_conv_depthwise_BN", "features.1.conv.0.1"),
            ("expanded_conv_project", "features.1.conv.1"), ("expanded_conv_project_BN", "features.1.conv.2"),
            ("Conv_1", "features.18.0"), ("Conv_1_bn", "features.18.1"), ("predictions", "classifier.1"),
        ]
        for block in 1...16 {
            let to = "features.\(block + 1).conv"
            mobile += [
                ("block_\(block)_expand", "\(to).0.0"), ("block_\(block)_expand_BN", "\(to).0.1"),
                ("block_\(block)_depthwise", "\(to).1.0"), ("block_\(block)_depthwise_BN", "\(to).1.1"),
                ("block_\(block)_project", "\(to).2"), ("block_\(block)_project_BN", "\(to).3"),
            ]
        }
        try checkKeras("mobilenet_v2_0.5-keras", mobile)

        var resNet = [("conv1_conv", "conv1"), ("conv1_bn", "bn1"), ("predictions", "fc")]
        for (stage, blocks) in zip(2..., [3, 4, 6, 3]) {
            for block in 1...blocks {
                let from = "conv\(stage)_block\(block)"
                let to = "layer\(stage - 1).\(block - 1)"
                for i in 1...3 {
                    resNet += [("\(from)_\(i)_conv", "\(to).conv\(i)"), ("\(from)_\(i)_bn", "\(to).bn\(i)")]
                }
                if block == 1 {
                    resNet += [("\(from)_0_conv", "\(to).downsample.0"), ("\(from)_0_bn", "\(to).downsample.1")]
                }
            }
        }
        try checkKeras("resnet50-keras", resNet)
    }

    private func checkKeras(_ name: String, _ layers: [(keras: String, path: String)]) throws {
        let network = try Architecture(named: name, classes: 3).network(seed: 5)
        var tensors: [StoredTensor] = []
        func add(_ name: String, _ shape: [Int], _ scalars: [Float]) {
            tensors.append(StoredTensor(name: name + ":0", shape: shape, scalars: scalars))
        }
        for (keras, path) in layers {
            let isNorm = network.store[buffer: path + ".running_mean"] != nil
            if let weight = network.store[path + ".weight"] {
                let (s, values) = (weight.shape, weight.value)
                if isNorm {
                    add("\(keras)/gamma", s, values.scalars)
                } else if s.count == 2 {
                    add("\(keras)/kernel", [s[1], s[0]], values.transposed([1, 0]).scalars)
                } else if s[1] == 1 {
                    add("\(keras)/depthwise_kernel", [s[2], s[3], s[0], 1], values.transposed([2, 3, 0, 1]).scalars)
                } else {
                    add("\(keras)/kernel", [s[2], s[3], s[1], s[0]], values.transposed([2, 3, 1, 0]).scalars)
                }
            }
            if let bias = network.store[path + ".bias"] {
                add(isNorm ? "\(keras)/beta" : "\(keras)/bias", bias.shape, bias.value.scalars)
            }
            for (variable, buffer) in [("moving_mean", "running_mean"), ("moving_variance", "running_var")] {
                guard let buffer = network.store[buffer: "\(path).\(buffer)"] else { continue }
                add("\(keras)/\(variable)", buffer.shape, buffer.value.scalars)
            }
        }
        let file = WeightFile(format: .kerasHDF5, tensors: tensors)
        let (copy, report) = try WeightLoader.network(from: file, path: "keras.h5")
        XCTAssertEqual(copy.architecture, network.architecture)
        XCTAssertEqual(report.count(.loaded) + report.count(.reshaped), tensors.count)
        for (a, b) in zip(network.store.parameters, copy.store.parameters) {
            XCTAssertEqual(a.value.scalars, b.value.scalars, a.path)
        }
    }
}
