import Archives
import Foundation
import Models
import Tensors
import XCTest

/// Folders as Hugging Face's libraries keep weights: one file or several, and what can be wrong with them.
final class HuggingFaceTests: ArchiveTestCase {
    private func tensor(_ name: String, _ values: [Float]) -> StoredTensor {
        StoredTensor(name: name, shape: [values.count], scalars: values)
    }

    private func write(_ tensors: [StoredTensor], _ name: String) throws {
        try WeightFile(format: .safetensors, tensors: tensors).write(to: path("m/\(name)"), as: .safetensors)
    }

    private func write(_ text: String, _ name: String) throws {
        try text.write(toFile: path("m/\(name)"), atomically: true, encoding: .utf8)
    }

    private func index(_ places: [String: String]) throws {
        let data = try JSONSerialization.data(withJSONObject: ["metadata": ["total_size": 12], "weight_map": places])
        try data.write(to: URL(fileURLWithPath: path("m/model.safetensors.index.json")))
    }

    override func setUpWithError() throws {
        try super.setUpWithError()
        try FileManager.default.createDirectory(atPath: path("m"), withIntermediateDirectories: true)
    }

    func testOneFile() throws {
        try write([tensor("a", [1, 2])], "model.safetensors")
        try write(#"{"model_type": "bert"}"#, "config.json")
        let file = try WeightFile.read(path("m"))
        XCTAssertEqual(file.format, .huggingFace)
        XCTAssertEqual(file.tensors, [tensor("a", [1, 2])])
        XCTAssertEqual(file.metadata.notes["config.json"], #"{"model_type": "bert"}"#)
        let inspection = try Inspection.inspect(path("m"))
        XCTAssertEqual(inspection.format, .huggingFace)
        XCTAssertGreaterThan(inspection.fileSize, 16)
    }

    /// A timm folder says how its weights want their pictures.
    func testTimm() throws {
        try write([tensor("a", [1, 2])], "model.safetensors")
        let pictures = #""input_size": [3, 299, 299], "crop_pct": 0.95, "interpolation": "bicubic""#
        func configure(_ more: String) throws {
            let pretrained = #"{\#(pictures), "mean": [0.5, 0.5, 0.5]\#(more)}"#
            try write(#"{"architecture": "inception_v3", "pretrained_cfg": \#(pretrained)}"#, "config.json")
        }
        try configure(#", "std": [0.25, 0.5, 0.5], "label_names": ["x", "y"], "crop_mode": "center", "tag": null"#)
        let metadata = try WeightFile.read(path("m")).metadata
        XCTAssertEqual(
            metadata.preprocessing,
            Preprocessing(
                resize: 314, inputSize: 299, interpolation: .bicubic, mean: [0.5, 0.5, 0.5],
                standardDeviation: [0.25, 0.5, 0.5]))
        XCTAssertEqual(metadata.classNames, ["x", "y"])
        XCTAssertNotNil(metadata.notes["config.json"])

        let prefix = "\(path("m/config.json")): "
        for (more, message) in [
            (#", "crop_mode": "squash""#, "pretrained_cfg.crop_mode squash (where center is read) is not supported"),
            (#", "std": [0, 1, 1]"#, "damaged timm configuration file: standardDeviation is [0.0, 1.0, 1.0]"),
            (#", "std": "wide""#, "damaged timm configuration file: pretrained_cfg.std has no such value"),
        ] {
            try configure(more)
            assertThrows(prefix + message) { _ = try WeightFile.read(self.path("m")) }
        }
        try write(#"{"architecture": "resnet18", "pretrained_cfg": {}}"#, "config.json")
        XCTAssertEqual(
            try WeightFile.read(path("m")).metadata.preprocessing,
            Preprocessing(
                resize: 256, inputSize: 224, mean: [0.485, 0.456, 0.406], standardDeviation: [0.229, 0.224, 0.225]))
    }

    func testPyTorchFile() throws {
        try FileManager.default.copyItem(atPath: fixture("checkpoint.pt"), toPath: path("m/pytorch_model.bin"))
        XCTAssertEqual(try WeightFile.read(path("m")).tensors.count, 11)
        // safetensors come first.
        try write([tensor("a", [1])], "model.safetensors")
        XCTAssertEqual(try WeightFile.read(path("m")).tensors.map(\.name), ["a"])
    }

    private func writeShards() throws {
        try write([tensor("a", [1]), tensor("b", [2, 3])], "model-00001-of-00002.safetensors")
        try write([tensor("c", [4])], "model-00002-of-00002.safetensors")
        try index([
            "a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors",
            "c": "model-00002-of-00002.safetensors",
        ])
    }

    func testShards() throws {
        try writeShards()
        for name in ["m", "m/model.safetensors.index.json"] {
            let file = try WeightFile.read(path(name))
            XCTAssertEqual(file.format, .huggingFace)
            XCTAssertEqual(file.tensors.map(\.name), ["a", "b", "c"])
            XCTAssertEqual(file["b"]?.scalars, [2, 3])
            XCTAssertEqual(try Inspection.inspect(path(name)).tensors.count, 3)
        }
    }

    func testShardsThatLie() throws {
        try writeShards()
        let list = path("m/model.safetensors.index.json")
        let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
        func fails(_ message: String) { assertThrows(message) { _ = try WeightFile.read(self.path("m")) } }
        try index(["a": first, "b": first, "c": second, "d": second])
        fails("\(path("m/\(second)")): has no tensor d, which \(list) lists there")
        try index(["a": first, "c": second])
        fails("\(path("m/\(first)")): damaged Hugging Face file: it holds b, which \(list) does not list")
        // Twice: in the file that the list names, and in another.
        try write([tensor("c", [4]), tensor("a", [9])], second)
        try index(["a": first, "b": first, "c": second])
        fails("\(path("m/\(second)")): damaged Hugging Face file: it holds a, which \(list) lists in \(first)")
        try FileManager.default.removeItem(atPath: path("m/\(second)"))
        fails("\(list): has no file \(second) beside it, which it lists")
        for name in ["../x", "/etc/passwd", "", ".hidden", "a/b"] {
            try index(["a": name])
            fails(
                "\(list): damaged Hugging Face file: it lists a in \"\(name)\", which is not the name of a file beside it"
            )
        }
        try index([:])
        fails("\(list): holds no tensors")
        try write("{\"weight_map\": 7}", "model.safetensors.index.json")
        fails("\(list): is neither HDF5 (Graft or Keras), nor a PyTorch archive, nor safetensors")
    }

    func testAFolderOfSomethingElse() throws {
        assertThrows("\(path("m")): is a folder; name a weight file") { _ = try WeightFile.read(self.path("m")) }
        try write("{}", "config.json")
        assertThrows(
            "\(path("m")): has no model.safetensors, nor model.safetensors.index.json, nor pytorch_model.bin, nor "
                + "pytorch_model.bin.index.json"
        ) { _ = try WeightFile.read(self.path("m")) }
        try write([tensor("a", [1])], "model.safetensors")
        try write("not JSON", "config.json")
        assertThrows("\(path("m/config.json")): damaged Hugging Face file: it is not JSON") {
            _ = try WeightFile.read(self.path("m"))
        }
        try FileManager.default.removeItem(atPath: path("m/model.safetensors"))
        try FileManager.default.copyItem(atPath: fixture("keras.h5"), toPath: path("m/model.safetensors"))
        assertThrows(
            "\(path("m/model.safetensors")): damaged Hugging Face file: it is HDF5, neither safetensors nor PyTorch"
        ) { _ = try WeightFile.read(self.path("m")) }
    }

    func testAFolderIsWrittenAsAWhole() throws {
        let half = StoredTensor(name: "half", shape: [2], elementType: .bfloat16, bytes: Data([0x80, 0x3f, 1, 2]))
        let count = StoredTensor(
            name: "bn.num_batches_tracked", shape: [], elementType: .int64, bytes: Data([9, 0, 0, 0, 0, 0, 0, 1]),
            role: .buffer)
        let file = WeightFile(
            format: .huggingFace, tensors: [count, half, tensor("a", [1])],
            metadata: WeightMetadata(notes: ["config.json": #"{"model_type": "bert"}"#]))
        try file.write(to: path("out"), as: .huggingFace)
        XCTAssertEqual(
            try FileManager.default.contentsOfDirectory(atPath: path("out")).sorted(),
            ["config.json", "model.safetensors"])
        let back = try WeightFile.read(path("out"))
        XCTAssertEqual(back.metadata, file.metadata)
        XCTAssertEqual(back.tensors.sorted { $0.name < $1.name }, file.tensors.sorted { $0.name < $1.name })
        assertThrows(
            "\(path("out")): cannot be written: rename: there is such a folder and it is not empty; nothing was left behind"
        ) { try file.write(to: self.path("out"), as: .huggingFace) }
        // What says how text becomes tokens goes along.
        try write("[UNK]", "vocab.txt")
        try write("secret", "notes.txt")
        try file.writeHuggingFace(to: path("again"), tokenizerFolder: path("m"))
        XCTAssertEqual(
            try FileManager.default.contentsOfDirectory(atPath: path("again")).sorted(),
            ["config.json", "model.safetensors", "vocab.txt"])
        XCTAssertEqual(
            try FileManager.default.contentsOfDirectory(atPath: folder).sorted(), ["again", "m", "out"])
    }
}
