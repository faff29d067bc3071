import Archives
import Foundation
import Models
import Tensors
import XCTest

/// What Graft writes, read back by Graft and by others.
final class RoundTripTests: ArchiveTestCase {
    private let metadata = WeightMetadata(
        architecture: "resnet18", variant: "v1.5",
        preprocessing: Preprocessing(
            resize: 256, inputSize: 224, mean: [0.485, 0.456, 0.406],
            standardDeviation: [0.229, 0.224, 0.225]),
        classNames: ["ant", "Biene", "čmelák"], provenance: "fine-tuned on insects", license: "Apache-2.0",
        notes: ["epoch": "3"])

    private var tensors: [StoredTensor] {
        [
            StoredTensor(
                name: "layer1.0.conv1.weight", shape: [2, 1, 1, 3], scalars: [0, 1.5, -2, .infinity, 4, 5],
                sourceElementType: .float16, layout: "OIHW"),
            StoredTensor(name: "a.first.by.name", shape: [], scalars: [7]),
            StoredTensor(name: "empty", shape: [0, 4], scalars: []),
            StoredTensor(name: "half", shape: [2], elementType: .float16, bytes: Data([0, 0x3c, 0, 0x40])),
            StoredTensor(name: "brain", shape: [1], elementType: .bfloat16, bytes: Data([0x80, 0x3f])),
            StoredTensor(name: "bn.running_mean", shape: [2], scalars: [1, 2], role: .buffer),
            StoredTensor(
                name: "bn.num_batches_tracked", shape: [], elementType: .int64,
                bytes: Data([9, 0, 0, 0, 0, 0, 0, 0]),
                role: .buffer),
            StoredTensor(
                name: "mask", shape: [3], elementType: .bool, bytes: Data([1, 0, 1]), role: .buffer),
        ]
    }

    func testGraftKeepsEverything() throws {
        let file = WeightFile(format: .graftHDF5, tensors: tensors, metadata: metadata)
        try file.write(to: path("w.h5"), as: .graftHDF5)
        XCTAssertEqual(try WeightFile.read(path("w.h5")), file)
        XCTAssertTrue(GraftArchive.isValid(path("w.h5")))
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder), ["w.h5"])
    }

    func testSafetensorsKeepsEverythingButTheOrder() throws {
        var file = WeightFile(format: .safetensors, tensors: tensors, metadata: metadata)
        try file.write(to: path("w.safetensors"), as: .safetensors)
        let back = try WeightFile.read(path("w.safetensors"))
        XCTAssertEqual(back.metadata, metadata)
        for index in file.tensors.indices {
            // What was widened leaves as it came.
            file.tensors[index] = file.tensors[index].narrowed
            file.tensors[index].layout = nil
            file.tensors[index].sourceElementType = file.tensors[index].elementType
            if file.tensors[index].name == "mask" { file.tensors[index].role = .parameter }
        }
        XCTAssertEqual(
            back.tensors.sorted { $0.name < $1.name }, file.tensors.sorted { $0.name < $1.name })
    }

    func testNamesWithSlashes() throws {
        let keras = try WeightFile.read(fixture("keras.h5"))
        try keras.write(to: path("k.h5"), as: .graftHDF5)
        let back = try WeightFile.read(path("k.h5"))
        XCTAssertEqual(back.metadata, keras.metadata)
        for tensor in keras.tensors { XCTAssertEqual(back[tensor.name], tensor) }
        XCTAssertEqual(back.tensors.count, keras.tensors.count)

        let wrong = WeightFile(
            format: .graftHDF5, tensors: [StoredTensor(name: "a//b", shape: [1], scalars: [1])])
        assertThrows("\(path("n.h5")): the name \"a//b\" in HDF5 is not supported") {
            try wrong.write(to: self.path("n.h5"), as: .graftHDF5)
        }
    }

    func testOnlyLeftoversOfTheDeadAreDeleted() throws {
        let names = [
            ".w.h5.999999999.partial", ".w.h5.\(getpid()).partial", ".w.h5.0.partial", "w.h5.999999999.partial",
            ".partial",
        ]
        for name in names { try Data().write(to: URL(fileURLWithPath: path(name))) }
        AtomicFile.removeLeftovers(in: folder)
        XCTAssertEqual(
            try FileManager.default.contentsOfDirectory(atPath: folder).sorted(), names.dropFirst().sorted())
    }

    func testFormatsThatAreOnlyRead() {
        assertThrows("\(path("w")): writing PyTorch is not supported") {
            try WeightFile(format: .safetensors, tensors: []).write(to: self.path("w"), as: .pytorchZip)
        }
    }

    func testCheckpointsHaveSectionsAndTexts() throws {
        var archive = GraftArchive(WeightFile(format: .graftHDF5, tensors: tensors, metadata: metadata))
        archive[section: "optimizer/momentum"] = [
            StoredTensor(name: "layer1.0.conv1.weight", shape: [3], scalars: [1, 2, 3])
        ]
        archive[section: "optimizer/steps"] = []
        archive.texts = [
            "recipe": "model:\n  name: resnet18\n", "progress/state": "{\"epoch\": 3}", "empty": "",
        ]
        try archive.write(to: path("c.h5"))
        let back = try GraftArchive.read(path("c.h5"))
        XCTAssertEqual(back.texts, archive.texts)
        XCTAssertEqual(back[section: "optimizer/momentum"], archive[section: "optimizer/momentum"])
        XCTAssertEqual(back.sections, archive.sections)
        XCTAssertEqual(back, archive)
        // The weights of a checkpoint are weights.
        XCTAssertEqual(try WeightFile.read(path("c.h5")).tensors, tensors)

        let inspection = try Inspection.inspect(path("c.h5"))
        XCTAssertEqual(inspection.digest, .valid)
        XCTAssertEqual(inspection.tensors.count, 9)
        XCTAssertEqual(inspection.tensors.last?.section, "optimizer/momentum")
        XCTAssertTrue(inspection.tensors.allSatisfy { $0.digest == .valid })
        XCTAssertEqual(inspection.texts["recipe"], "model:\n  name: resnet18\n")
        XCTAssertEqual(inspection.metadata, metadata)
    }

    func testOneFlippedBitIsFoundAnywhere() throws {
        try WeightFile(format: .graftHDF5, tensors: tensors, metadata: metadata).write(
            to: path("w.h5"), as: .graftHDF5)
        let good = try Data(contentsOf: URL(fileURLWithPath: path("w.h5")))
        let bad = path("bad.h5")
        for position in stride(from: 512, to: good.count, by: 97) {
            var bytes = good
            bytes[position] ^= 4
            try bytes.write(to: URL(fileURLWithPath: bad))
            XCTAssertFalse(GraftArchive.isValid(bad))
        }
        assertThrows(
            "\(bad): damaged Graft HDF5 file: its SHA-256 is not the one written in its first 512 bytes"
        ) {
            _ = try WeightFile.read(bad)
        }
        let inspection = try Inspection.inspect(bad)
        XCTAssertEqual(inspection.digest, .invalid)
        // Not compared, so none is said to be wrong.
        XCTAssertTrue(inspection.tensors.allSatisfy { $0.digest == .absent })
        try good.prefix(good.count - 1).write(to: URL(fileURLWithPath: bad))
        assertThrows(
            "\(bad): damaged Graft HDF5 file: it has \(good.count - 1) bytes, and had \(good.count) when it was written"
        ) {
            _ = try WeightFile.read(bad)
        }
        try good.prefix(100).write(to: URL(fileURLWithPath: bad))
        assertThrows("\(bad): damaged Graft HDF5 file: its first 512 bytes are broken") {
            _ = try WeightFile.read(bad)
        }
    }

    func testOthersReadIt() throws {
        try WeightFile(format: .graftHDF5, tensors: tensors, metadata: metadata).write(
            to: path("w.h5"), as: .graftHDF5)
        let dump = try run("h5dump", ["-d", "/parameters/layer1.0.conv1.weight", path("w.h5")])
        XCTAssertEqual(dump.status, 0, dump.output)
        for text in ["( 2, 1, 1, 3 )", "H5T_IEEE_F32LE", "1.5, -2", "\"OIHW", "\"float16", "\"parameter"] {
            XCTAssertTrue(dump.output.contains(text), "\(text) in \(dump.output)")
        }
        let header = try run("h5dump", ["-H", path("w.h5")])
        XCTAssertTrue(header.output.contains("DATASET \"bn.running_mean\""), header.output)
        XCTAssertTrue(header.output.contains("ATTRIBUTE \"architecture\""), header.output)
    }

    func testH5pyReadsIt() throws {
        try WeightFile(format: .graftHDF5, tensors: tensors, metadata: metadata).write(
            to: path("w.h5"), as: .graftHDF5)
        let script = """
            import sys
            try:
                import h5py, json
            except ImportError:
                sys.exit(77)
            f = h5py.File(sys.argv[1])
            print(f.attrs['architecture'], json.loads(f['metadata'][()])['classNames'][1])
            print(f['parameters/layer1.0.conv1.weight'][0].tolist(), f['parameters/brain'][()].tolist())
            print(f['buffers/mask'][()].tolist(), f['parameters/half'].dtype, f['buffers/bn.num_batches_tracked'][()])
            """
        let result = try run("python3", ["-c", script, path("w.h5")])
        if result.status == 77 { throw XCTSkip("h5py is not installed") }
        XCTAssertEqual(
            result.output,
            "resnet18 Biene\n[[[0.0, 1.5, -2.0]]] [1.0]\n[True, False, True] float16 9\n")
    }

    func testAFileIsReplacedAsAWhole() throws {
        try AtomicFile.write(Data("old".utf8), to: path("f"))
        try AtomicFile.write([Data("new ".utf8), Data("content".utf8)], to: path("f"))
        XCTAssertEqual(try String(contentsOfFile: path("f"), encoding: .utf8), "new content")
        struct Stop: Error {}
        XCTAssertThrowsError(
            try AtomicFile.replace(path("f")) {
                try Data("part".utf8).write(to: URL(fileURLWithPath: $0))
                throw Stop()
            })
        XCTAssertEqual(try String(contentsOfFile: path("f"), encoding: .utf8), "new content")
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder), ["f"])
        assertThrows(
            "\(path("no/f")): cannot be written: open: No such file or directory; nothing was left behind"
        ) {
            try AtomicFile.write(Data(), to: self.path("no/f"))
        }
    }
}
