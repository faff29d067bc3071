import Archives
import Foundation
import Models
import Tensors
import XCTest

/// What is in a file without its values, and what is made of that.
final class ListingTests: ArchiveTestCase {
    /// A file as it is listed.
    private func withoutValues(_ file: WeightFile) -> WeightFile {
        var file = file
        for index in file.tensors.indices { file.tensors[index].bytes = Data() }
        return file
    }

    func testAListingIsTheFileWithoutValues() throws {
        let folder = path("m")
        try WeightFile(format: .safetensors, tensors: [StoredTensor(name: "a", shape: [2], scalars: [1, 2])])
            .write(to: folder, as: .huggingFace)
        let files = [
            "checkpoint.pt", "checkpoint-deflated.pt", "checkpoint-zip64.pt", "checkpoint-legacy.pt",
            "small.safetensors", "tiny.keras", "keras.h5",
        ]
        for file in files.map(fixture) + [folder] {
            XCTAssertEqual(try WeightFile.list(file), withoutValues(try WeightFile.read(file)), file)
        }
    }

    /// A listing reads no values, but says whether they are those that were written where the format can tell.
    func testAListingComparesChecksums() throws {
        for name in ["checkpoint.pt", "checkpoint-deflated.pt"] {
            let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: fixture(name))))
            let zip = StoredZip.entries(bytes).first { $0.name.hasSuffix("/data/0") }
            guard let zip, let place = bytes.firstRange(of: zip.bytes)?.lowerBound else { continue }
            var damaged = bytes
            damaged[place] ^= 1
            try Data(damaged).write(to: URL(fileURLWithPath: path(name)))
            XCTAssertThrowsError(try WeightFile.list(path(name))) {
                XCTAssertTrue("\($0)".contains("/data/0"), "\($0)")
            }
        }
    }

    /// Tied weights are the only ones whose values decide whether a file fits.
    func testCopiesAreComparedThoughNothingElseIsRead() throws {
        let sizes = ["layers": 1, "width": 8, "heads": 2, "inner": 16, "vocabulary": 11, "positions": 6]
        let network = try Architecture(named: "gpt2", sizes: sizes).network()
        var file = WeightFile(network)
        let words = try XCTUnwrap(file["transformer.wte.weight"])
        for isSame in [true, false] {
            var copy = words.renamed("lm_head.weight")
            if !isSame { copy.bytes[0] ^= 1 }
            file.tensors.removeAll { $0.name == copy.name }
            file.tensors.append(copy)
            try file.write(to: path("w.safetensors"), as: .safetensors)
            let listed = try XCTUnwrap(Inspection.inspect(path("w.safetensors")).weights)
            XCTAssertTrue(listed.tensors.allSatisfy { $0.bytes.isEmpty })
            if isSame {
                XCTAssertEqual(try WeightLoader.match(listed, path: path("w.safetensors")).count(.refused), 1)
            } else {
                XCTAssertThrowsError(try WeightLoader.match(listed, path: path("w.safetensors"))) {
                    XCTAssertTrue("\($0)".hasSuffix("unexpected: lm_head.weight"), "\($0)")
                }
            }
        }
    }

    /// Shapes that multiply beyond what an integer holds, of tensors without values.
    func testHugeShapesOfNothing() throws {
        for shape in [[16, 1 << 57, 0, 0], [0, 1 << 61, 3, 3]] {
            var file = WeightFile(try Architecture(named: "resnet20").network())
            file.metadata = WeightMetadata()
            let index = try XCTUnwrap(file.tensors.firstIndex { $0.name == "conv1.weight" })
            file.tensors[index] = StoredTensor(
                name: "conv1.weight", shape: shape, elementType: .float32, bytes: Data())
            XCTAssertThrowsError(try WeightLoader.network(from: file, path: "w"))
        }
    }

    func testATensorMayBeCalledAsAnOptimizerIs() throws {
        let storage = "(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI2\ntQ"
        let tensor = "ctorch._utils\n_rebuild_tensor_v2\n(\(storage)I0\n(I2\nt(I1\ntI00\n}tR"
        let pickle = "}(S'optical.weight'\n\(tensor)S'optimal.weight'\n\(tensor)S'optimizer'\n}S'a'\n\(tensor)su."
        let zip = StoredZip.make([("a/data.pkl", Array(pickle.utf8)), ("a/data/0", [UInt8](repeating: 0, count: 8))])
        let file = try WeightFile.read(Data(zip), path: "w.pt")
        XCTAssertEqual(file.tensors.map(\.name), ["optical.weight", "optimal.weight"])
        XCTAssertEqual(file.metadata.notes, ["optimizer": "not read"])
    }
}
