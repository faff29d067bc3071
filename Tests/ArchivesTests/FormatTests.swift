import Archives
import Foundation
import Tensors
import XCTest

/// Small committed files that hold what the formats allow and the real files do not have.
final class FormatTests: ArchiveTestCase {
    private func quarters(_ count: Int, plus offset: Float = 0) -> [Float] {
        (0..<count).map { Float($0) / 4 + offset }
    }

    func testKerasCorners() throws {
        let file = try WeightFile.read(fixture("keras.h5"))
        XCTAssertEqual(file.format, .kerasHDF5)
        XCTAssertEqual(
            file.tensors.map(\.name),
            [
                "conv1/kernel:0", "bn/gamma:0", "bn/moving_mean:0", "twin/bn/gamma:0", "dense/kernel:0",
                "dense/bias:0",
            ])
        XCTAssertEqual(file.tensors.map(\.shape), [[3, 3, 2, 4], [4], [4], [4], [4, 3], [3]])
        XCTAssertEqual(
            file.tensors.map(\.elementType), [.float32, .float32, .float32, .float32, .float64, .float16])
        XCTAssertEqual(file["conv1/kernel:0"]?.scalars, quarters(72))
        XCTAssertEqual(file["twin/bn/gamma:0"]?.scalars, quarters(4, plus: 2))
        XCTAssertEqual(file["dense/kernel:0"]?.scalars, quarters(12))
        XCTAssertEqual(file["dense/bias:0"]?.scalars, quarters(3))
        XCTAssertEqual(file["bn/moving_mean:0"]?.role, .buffer)
        XCTAssertEqual(file.metadata.notes, ["keras_version": "2.15.0", "backend": "tensorflow"])
    }

    func testWideningKeepsTheSourceType() throws {
        let file = try WeightFile.read(fixture("keras.h5"), widening: true)
        XCTAssertEqual(file["dense/kernel:0"]?.elementType, .float32)
        XCTAssertEqual(file["dense/kernel:0"]?.sourceElementType, .float64)
        XCTAssertEqual(file["dense/bias:0"]?.sourceElementType, .float16)
        XCTAssertEqual(file["dense/bias:0"]?.scalars, quarters(3))
    }

    func testHalfPrecisionWidensExactly() {
        let bits: [UInt16] = [0x0000, 0x8000, 0x0001, 0x03ff, 0x0400, 0x3c00, 0xc000, 0x7bff, 0x7c00, 0xfc00]
        let tensor = StoredTensor(
            name: "x", shape: [bits.count], elementType: .float16, bytes: bits.withUnsafeBytes { Data($0) })
        XCTAssertEqual(
            tensor.scalars,
            [0, -0.0, 0x1p-24, 0x3ffp-24, 0x1p-14, 1, -2, 65_504, .infinity, -.infinity])
        let nan = StoredTensor(name: "x", shape: [1], elementType: .float16, bytes: Data([0x01, 0x7e]))
        XCTAssertEqual(nan.scalars.first?.isNaN, true)
    }

    func testCheckpointsOfBothPyTorchFormats() throws {
        for (name, format) in [
            ("checkpoint.pt", WeightFormat.pytorchZip), ("checkpoint-legacy.pt", .pytorchLegacy),
        ] {
            let file = try WeightFile.read(fixture(name))
            XCTAssertEqual(file.format, format)
            XCTAssertEqual(
                file.tensors.map(\.name),
                [
                    "transposed", "part", "expanded", "half", "brain", "double", "steps", "mask", "small",
                    "empty",
                    "parameter",
                ])
            XCTAssertEqual(file["transposed"]?.shape, [6, 4])
            XCTAssertEqual(
                file["transposed"]?.scalars,
                (0..<6).flatMap { column in (0..<4).map { Float($0 * 6 + column) } })
            XCTAssertEqual(file["part"]?.scalars, [8, 9, 10, 14, 15, 16])
            XCTAssertEqual(file["expanded"]?.scalars, [0, 0, 1, 1, 2, 2])
            XCTAssertEqual(file["half"]?.elementType, .float16)
            XCTAssertEqual(file["half"]?.scalars, [0, 1, 2, 3])
            XCTAssertEqual(file["brain"]?.elementType, .bfloat16)
            XCTAssertEqual(file["brain"]?.scalars, [0, 1, 2, 3])
            XCTAssertEqual(file["double"]?.scalars, [0, 1])
            XCTAssertEqual(file["steps"]?.integers, [7])
            XCTAssertEqual(file["steps"]?.shape, [])
            XCTAssertEqual(file["mask"]?.elementType, .bool)
            XCTAssertEqual(file["small"]?.integers, [1, 255])
            XCTAssertEqual(file["empty"]?.shape, [0, 3])
            XCTAssertEqual(file["parameter"]?.scalars, [0, 1])
            XCTAssertEqual(
                file.metadata.notes,
                ["epoch": "3", "arch": "tiny", "best": "0.5", "ema": "true", "optimizer": "not read"])
        }
    }

    func testSafetensorsOfTheReferenceImplementation() throws {
        let file = try WeightFile.read(fixture("small.safetensors"))
        XCTAssertEqual(Set(file.tensors.map(\.name)), ["a", "b", "flags"])
        XCTAssertEqual(file["a"]?.integers, [1, 2, 3])
        XCTAssertEqual(file["b"]?.shape, [2, 3])
        XCTAssertEqual(file["b"]?.scalars, quarters(6))
        XCTAssertEqual(file["flags"]?.scalars, [1, 0, 1])
        XCTAssertEqual(file.metadata.notes, ["made_by": "safetensors"])
    }

    func testTheSuffixDoesNotMatter() throws {
        for name in ["keras.h5", "checkpoint.pt", "checkpoint-legacy.pt", "small.safetensors"] {
            let copy = path("weights.bin")
            try? FileManager.default.removeItem(atPath: copy)
            try FileManager.default.copyItem(atPath: fixture(name), toPath: copy)
            XCTAssertEqual(try WeightFile.read(copy), try WeightFile.read(fixture(name)))
        }
    }

    func testWhatIsNoWeightFile() throws {
        let name = path("x.pth")
        assertThrows("\(name): cannot be read: No such file or directory") { _ = try WeightFile.read(name) }
        assertThrows("\(folder): is a folder; name a weight file") { _ = try WeightFile.read(self.folder) }
        try Data().write(to: URL(fileURLWithPath: name))
        assertThrows("\(name): is empty") { _ = try WeightFile.read(name) }
        try Data("hello, this is text".utf8).write(to: URL(fileURLWithPath: name))
        assertThrows("\(name): is neither HDF5 (Graft or Keras), nor a PyTorch archive, nor safetensors") {
            _ = try WeightFile.read(name)
        }
        assertThrows("/dev/null: cannot be read: not a regular file") { _ = try WeightFile.read("/dev/null") }
    }

    /// A file is put in place of a file only.
    func testNoDeviceIsReplaced() throws {
        let pipe = path("pipe")
        XCTAssertEqual(mkfifo(pipe, 0o600), 0)
        assertThrows("\(pipe): cannot be written: rename: it is a device or a pipe; nothing was left behind") {
            try AtomicFile.write(Data([1]), to: pipe)
        }
        var status = stat()
        XCTAssertEqual(stat(pipe, &status), 0)
        XCTAssertEqual(status.st_mode & S_IFMT, S_IFIFO)
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder), ["pipe"])
    }

    func testKeras3Weights() throws {
        let file = try WeightFile.read(fixture("keras3.weights.h5"))
        XCTAssertEqual(file.format, .kerasWeights)
        XCTAssertEqual(file.tensors.map(\.name), ["dense/kernel:0", "dense/bias:0"])
        XCTAssertEqual(file.tensors.map(\.shape), [[4, 3], [3]])
        XCTAssertEqual(file.metadata.notes, ["optimizer": "not read"])
        XCTAssertEqual(file.tensors.first?.scalars, quarters(12))
    }

    func testOtherZipArchives() throws {
        let plain = try WeightFile.read(fixture("checkpoint.pt"))
        XCTAssertEqual(try WeightFile.read(fixture("checkpoint-deflated.pt")), plain)
        XCTAssertEqual(try WeightFile.read(fixture("checkpoint-zip64.pt")), plain)
        assertThrows("\(fixture("checkpoint-big.pt")): the byte order big is not supported") {
            _ = try WeightFile.read(self.fixture("checkpoint-big.pt"))
        }
        assertThrows(
            "\(fixture("no-pickle.zip")): a zip archive without a data.pkl (is it a PyTorch file?) is not supported"
        ) { _ = try WeightFile.read(self.fixture("no-pickle.zip")) }
    }

    func testInspection() throws {
        let pytorch = try Inspection.inspect(fixture("checkpoint.pt"))
        XCTAssertEqual(pytorch.format, .pytorchZip)
        XCTAssertEqual(pytorch.digest, .absent)
        XCTAssertEqual(pytorch.tensors.first?.name, "transposed")
        XCTAssertEqual(pytorch.valueCount, 24 + 6 + 6 + 4 + 4 + 2 + 1 + 2 + 2 + 0 + 2)
        let keras = try Inspection.inspect(fixture("keras.h5"))
        XCTAssertEqual(keras.tensors.map(\.shape), [[3, 3, 2, 4], [4], [4], [4], [4, 3], [3]])
        XCTAssertEqual(keras.fileSize, 24_368)
        let back = try JSONDecoder().decode(Inspection.self, from: try JSONEncoder().encode(keras))
        XCTAssertEqual(back, keras)

        let file = try HDF5File(creating: path("data.h5"))
        _ = try file.root.createDataset("images", shape: [5, 3, 2, 2], elementType: .uint8)
        try file.close()
        let data = try Inspection.inspect(path("data.h5"))
        XCTAssertEqual(data.format, .hdf5)
        XCTAssertEqual(data.tensors.map(\.shape), [[5, 3, 2, 2]])
    }

    func testHDF5OfSomethingElse() throws {
        let file = try HDF5File(creating: path("data.h5"))
        _ = try file.root.createDataset("images", shape: [1], elementType: .uint8)
        try file.close()
        assertThrows(
            "\(path("data.h5")): an HDF5 file that is neither Graft's nor Keras's weights is not supported"
        ) { _ = try WeightFile.read(self.path("data.h5")) }
    }
}
