import Archives
import Foundation
import Models
import Tensors
import XCTest

/// Keras 3's files, and those of Keras 2.13 that look alike: names from the file, from the configuration, and from the
/// tables of known networks.
final class Keras3Tests: ArchiveTestCase {
    /// Writes arrays of the given shapes, all values 0.5, to `GROUP/vars/0`, `GROUP/vars/1`, ….
    private func write(_ name: String, _ groups: [(group: String, layer: String?, shapes: [[Int]])]) throws {
        let file = try HDF5File(creating: path(name))
        for (group, layer, shapes) in groups {
            let place = try (group + "/vars").split(separator: "/").reduce(file.root) {
                try $0.groupCreatingIfNeeded(String($1))
            }
            if let layer { try place.setAttribute("name", layer) }
            for (number, shape) in shapes.enumerated() {
                let dataset = try place.createDataset("\(number)", shape: shape, elementType: .float32)
                let values = [Float](repeating: 0.5, count: shape.reduce(1, *))
                try values.withUnsafeBytes { try dataset.write($0, as: .float32) }
            }
        }
        try file.close()
    }

    /// The groups of a network of Keras as it numbers them.
    private func groups(
        _ architecture: Architecture, dropping dropped: Int = 0, named: Bool = false, root: String = "layers",
        doubling: Bool = false
    ) throws -> [(group: String, layer: String?, shapes: [[Int]])] {
        let table = try XCTUnwrap(architecture.kerasLayers)
        let store = architecture.network().store
        return zip(table, KerasLayer.keras3Names(layers: table)).dropLast(dropped).map { layer, name in
            let shapes = layer.variables.map { variable -> [Int] in
                let shape = store[variable.path]?.shape ?? store[buffer: variable.path]?.shape ?? []
                switch (variable.name, shape.count) {
                case ("kernel", 4): return [shape[2], shape[3], shape[1], shape[0]]
                case ("kernel", _) where layer.className == "Conv2D": return [1, 1, shape[1], shape[0]]
                case ("kernel", _): return [shape[1], shape[0]]
                case ("depthwise_kernel", _): return [shape[2], shape[3], shape[0], 1]
                default: return shape
                }
            }
            var group = name
            if doubling {
                // Keras 2.13 counts every layer twice.
                let parts = name.split(separator: "_")
                let number = parts.last.flatMap { Int($0) }
                let kind = number == nil ? name : parts.dropLast().joined(separator: "_")
                group = number.map { "\(kind)_\(2 * $0)" } ?? name
            }
            return (group: "\(root)/\(group)", layer: named ? layer.name : nil, shapes: shapes)
        }
    }

    func testNamesInTheFile() throws {
        try write(
            "w.weights.h5",
            [
                ("layers/conv2d", "stem", [[3, 3, 1, 2], [2]]), ("layers/conv2d_1", "deeper", [[1, 1, 2, 2]]),
                ("layers/batch_normalization", "norm", [[2], [2], [2], [2]]),
                ("layers/batch_normalization_1", "scaleless", [[2], [2], [2]]),
                ("layers/depthwise_conv2d", "dw", [[3, 3, 2, 1]]), ("layers/my_layer", "mine", [[5], [6]]),
                ("layers/dropout/seed_generator", nil, [[2]]), ("optimizer", nil, [[1]]),
                ("metrics/mean", nil, [[1]]),
            ])
        let file = try WeightFile.read(path("w.weights.h5"))
        XCTAssertEqual(file.format, .kerasWeights)
        XCTAssertEqual(
            file.tensors.map(\.name),
            [
                "norm/gamma:0", "norm/beta:0", "norm/moving_mean:0", "norm/moving_variance:0", "scaleless/beta:0",
                "scaleless/moving_mean:0", "scaleless/moving_variance:0", "stem/kernel:0", "stem/bias:0",
                "deeper/kernel:0", "dw/depthwise_kernel:0", "mine/0:0", "mine/1:0",
            ])
        XCTAssertEqual(file["norm/moving_mean:0"]?.role, .buffer)
        XCTAssertEqual(file["stem/kernel:0"]?.scalars.first, 0.5)
        XCTAssertEqual(file.metadata.notes, ["metrics": "not read", "optimizer": "not read"])
    }

    func testNumbersAreSortedAsNumbers() throws {
        try write(
            "w.weights.h5", (0..<12).map { ("layers/dense\($0 == 0 ? "" : "_\($0)")", nil, [[1, $0 + 1], [$0 + 1]]) })
        let file = try WeightFile.read(path("w.weights.h5"))
        XCTAssertEqual(file["dense_11/kernel:0"]?.shape, [1, 12])
        XCTAssertEqual(file["dense_2/bias:0"]?.shape, [3])
        XCTAssertEqual(file.tensors.last?.name, "dense_11/bias:0")
    }

    func testNetworksAreFoundByTheClassesOfTheirLayers() throws {
        for name in ["mobilenet_v1_0.25-keras", "mobilenet_v2-keras", "resnet8"] {
            let architecture = try Architecture(named: name)
            for (root, doubling) in [("layers", false), ("_layer_checkpoint_dependencies", true)] {
                try write("n.weights.h5", try groups(architecture, root: root, doubling: doubling))
                let file = try WeightFile.read(path("n.weights.h5"))
                let found = try WeightLoader.architecture(of: file, path: name)
                XCTAssertEqual("\(found)", "\(architecture)")
                let report = try WeightLoader.network(from: file, path: name).report
                XCTAssertEqual(report.count(.refused), 0)
                let table = try XCTUnwrap(architecture.kerasLayers)
                XCTAssertEqual(
                    Set(file.tensors.map(\.name)),
                    Set(table.flatMap { layer in layer.variables.map { "\(layer.name)/\($0.name):0" } }))
            }
            // With the names in the file the result is the same.
            try write("named.weights.h5", try groups(architecture, named: true))
            XCTAssertEqual(
                Set(try WeightFile.read(path("named.weights.h5")).tensors.map(\.name)),
                Set(try WeightFile.read(path("n.weights.h5")).tensors.map(\.name)))
        }
    }

    func testANetworkWithoutItsClassifierInAnotherModel() throws {
        let architecture = try Architecture(named: "mobilenet_v1_0.25-keras")
        let trunk = try groups(architecture, dropping: 1, root: "layers/functional/layers")
        try write("t.weights.h5", trunk + [("layers/dense", nil, [[256, 3], [3]])])
        let file = try WeightFile.read(path("t.weights.h5"))
        XCTAssertNotNil(file["conv_pw_13_bn/gamma:0"])
        XCTAssertEqual(file["dense/kernel:0"]?.shape, [256, 3])
        let network = try WeightLoader.network(from: file, path: "t", classes: 3, head: .new).network
        XCTAssertEqual(network.architecture.name, "mobilenet_v1_0.25")
    }

    func testGroupNamesOfAModel() throws {
        let table = try XCTUnwrap(try Architecture(named: "mobilenet_v1-keras").kerasLayers)
        XCTAssertEqual(
            Array(KerasLayer.keras3Names(layers: table).prefix(6)),
            [
                "conv2d", "batch_normalization", "depthwise_conv2d", "batch_normalization_1", "conv2d_1",
                "batch_normalization_2",
            ])
    }

    // MARK: What Keras wrote (Reference/make_keras_reference.py)

    private struct Expected: Decodable {
        let name: String
        let shape: [Int]
        let first: Float
    }

    private func check(_ name: String, _ format: WeightFormat) throws {
        let data = try Data(contentsOf: URL(fileURLWithPath: fixture("keras3.json")))
        let expected = try JSONDecoder().decode([String: [Expected]].self, from: data)
        let file = try WeightFile.read(fixture(name))
        XCTAssertEqual(file.format, format)
        let wanted = try XCTUnwrap(expected[name])
        XCTAssertEqual(Set(file.tensors.map(\.name)), Set(wanted.map(\.name)))
        for tensor in wanted {
            XCTAssertEqual(file[tensor.name]?.shape, tensor.shape, tensor.name)
            XCTAssertEqual(file[tensor.name]?.scalars.first, tensor.first, tensor.name)
        }
    }

    func testFilesOfKeras3() throws {
        try check("tiny.weights.h5", .kerasWeights)
        try check("tiny.keras", .kerasArchive)
        try check("tiny-keras3.h5", .kerasHDF5)
        let notes = try WeightFile.read(fixture("tiny.keras")).metadata.notes
        XCTAssertEqual(notes["model"], "tiny")
        XCTAssertEqual(notes["optimizer"], "not read")
        XCTAssertEqual(try Inspection.inspect(fixture("tiny.keras")).format, .kerasArchive)
    }

    func testCodeIsRefused() throws {
        for name in ["lambda.keras", "lambda.h5"] {
            assertThrows(
                "\(fixture(name)): refused: the layer double is a Lambda, which is code that only Python can run; "
                    + "save the weights alone (model.save_weights)"
            ) { _ = try WeightFile.read(self.fixture(name)) }
        }
        let cases = [
            (#"{"class_name": "__lambda__", "config": {"value": "4wE"}}"#, "a Python function"),
            (#"{"class_name": "function", "config": "system", "module": "os"}"#, "os.system"),
        ]
        for (inner, kind) in cases {
            let text =
                #"{"class_name": "Functional", "config": {"name": "m", "layers": [{"class_name": "Dense", "config": {"name": "d", "activation": \#(inner)}}]}}"#
            assertThrows(
                "x: refused: the layer d is \(kind), which is code that only Python can run; save the weights alone "
                    + "(model.save_weights)"
            ) { try KerasConfiguration(text, path: "x").refuseCode() }
        }
    }

    func testNamesFromAConfiguration() throws {
        let text = #"""
            {"class_name": "Sequential", "config": {"name": "outer", "layers": [
              {"class_name": "InputLayer", "config": {"name": "in"}},
              {"class_name": "Functional", "config": {"name": "base", "layers": [
                {"class_name": "Conv2D", "config": {"name": "one"}},
                {"class_name": "BatchNormalization", "config": {"name": "n"}},
                {"class_name": "Conv2D", "config": {"name": "two"}}]}},
              {"class_name": "Dense", "config": {"name": "top"}}]}}
            """#
        let names = try KerasConfiguration(text, path: "x").layerNames
        XCTAssertEqual(
            names,
            [
                "layers/input_layer": "in", "layers/functional": "base", "layers/functional/layers/conv2d": "one",
                "layers/functional/layers/batch_normalization": "n", "layers/functional/layers/conv2d_1": "two",
                "layers/dense": "top",
            ])
        assertThrows("x: damaged Keras 3 archive file: its configuration is not JSON") {
            _ = try KerasConfiguration("[", path: "x")
        }
    }
}
