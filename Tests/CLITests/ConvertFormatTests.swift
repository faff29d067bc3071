import Foundation
import XCTest

/// `graft convert` to every format that it writes, of published weights: what comes out computes the same.
final class ConvertFormatTests: CommandTestCase {
    private func top1(_ weights: String) throws -> Double? {
        try object(
            graft("evaluate", "--weights", weights, "--data", data("cifar10"), "--split", "test", "--json")
        )["top1"] as? Double
    }

    private func format(_ path: String) throws -> String? {
        try object(graft("inspect", path, "--json"))["format"] as? String
    }

    func testThroughAllFormats() throws {
        let source = try data("weights/cifar10-resnet8-keras/pretrainedResnet.h5")
        let expected = try top1(source)
        var last = source
        for (output, arguments, format) in [
            ("graft.h5", [], "graftHDF5"), ("w.safetensors", [], "safetensors"), ("k.weights.h5", [], "kerasWeights"),
            ("keras.h5", ["--format", "keras"], "kerasHDF5"), ("folder/", [], "huggingFace"),
            ("again.bin", ["--format", "graft"], "graftHDF5"), ("other", ["--format", "huggingface"], "huggingFace"),
        ] as [(String, [String], String)] {
            let outcome = try graft(["convert", last, output] + arguments)
            XCTAssertEqual(outcome.code, 0, outcome.errors)
            XCTAssertEqual(try self.format(output), format)
            XCTAssertEqual(try top1(output), expected, output)
            last = output
        }
    }

    func testAFolderWithAConfigurationAndATokenizer() throws {
        let source = try data("weights/cifar10-resnet8-keras/pretrainedResnet.h5")
        XCTAssertEqual(try graft("convert", source, "a/").code, 0)
        try write(Data(#"{"model_type": "own"}"#.utf8), "a/config.json")
        try write(Data("[PAD]".utf8), "a/vocab.txt")
        XCTAssertEqual(try graft("convert", "a", "b/").code, 0)
        XCTAssertEqual(
            try FileManager.default.contentsOfDirectory(atPath: "\(folder)/b").sorted(),
            ["config.json", "model.safetensors", "vocab.txt"])
        assertFails(
            try graft("convert", "a", "b/"), code: 3,
            "graft: b/: cannot be written: rename: there is such a folder and it is not empty; nothing was left behind")
    }

    func testANetworkThatKerasDoesNotHave() throws {
        let source = try data("weights/cifar10-resnet-pytorch/resnet20-12fca82f.th")
        assertFails(
            try graft("convert", source, "w.weights.h5"), code: 3,
            "graft: w.weights.h5: resnet20 (option-a) in Keras's formats, as Keras has no such network, is not supported"
        )
    }
}
