import Archives
import Foundation
import Tensors
import XCTest

final class HDF5Tests: ArchiveTestCase {
    func testSlicesOfALargeArray() throws {
        let file = try HDF5File(creating: path("images.h5"))
        let images = try file.root.createDataset("images", shape: [4, 2, 3], elementType: .uint8)
        for index in 0..<4 {
            let values = (0..<6).map { UInt8(index * 10 + $0) }
            try values.withUnsafeBytes {
                try images.write($0, as: .uint8, offset: [index, 0, 0], extent: [1, 2, 3])
            }
        }
        try file.root.setAttribute("title", "schöne Bilder")
        try file.close()

        let reopened = try HDF5File(reading: path("images.h5"))
        let dataset = try reopened.root.dataset("images")
        XCTAssertEqual(dataset.shape, [4, 2, 3])
        XCTAssertEqual(dataset.elementType, .uint8)
        XCTAssertEqual(try dataset.bytes(offset: [2, 0, 1], extent: [2, 1, 2]), [21, 22, 31, 32])
        XCTAssertEqual(try dataset.floats(offset: [3, 1, 0], extent: [1, 1, 3]), [33, 34, 35])
        XCTAssertEqual(try reopened.root.attributeText("title"), "schöne Bilder")
        XCTAssertNil(try reopened.root.attributeText("author"))
        XCTAssertEqual(try reopened.root.names(), ["images"])
    }

    func testEveryElementTypeKeepsItsBytes() throws {
        let file = try HDF5File(creating: path("types.h5"))
        for type in ElementType.allCases {
            let bytes = Data((0..<type.byteCount * 2).map { UInt8($0 % 2) })
            let dataset = try file.root.createDataset(type.rawValue, shape: [2], elementType: type)
            try bytes.withUnsafeBytes { try dataset.write($0, as: type) }
            XCTAssertEqual(dataset.elementType, type)
            XCTAssertEqual(try dataset.read(), bytes, "\(type)")
        }
        // HDF5 itself knows how to widen Google's 16-bit float.
        let values: [Float] = [1.5, -3]
        let dataset = try file.root.createDataset("widened", shape: [2], elementType: .bfloat16)
        try values.withUnsafeBytes { try dataset.write($0, as: .float32) }
        XCTAssertEqual(try dataset.floats(), values)
        XCTAssertEqual(try dataset.read().map { $0 }, [0xc0, 0x3f, 0x40, 0xc0])
    }

    func testGroupsAndTexts() throws {
        let file = try HDF5File(creating: path("groups.h5"))
        let group = try file.root.createGroup("zebra")
        try file.root.createGroup("ant")
        try group.createText("text", "line 1\nline 2")
        XCTAssertEqual(file.root.kind(of: "zebra/text"), .dataset)
        XCTAssertEqual(file.root.kind(of: "zebra"), .group)
        XCTAssertNil(file.root.kind(of: "zebra/none/deeper"))
        XCTAssertEqual(try file.root.dataset("zebra/text").texts(), ["line 1\nline 2"])
        XCTAssertEqual(try file.root.dataset("zebra/text").name, "/zebra/text")
    }

    func testWhatIsWrongIsNamed() throws {
        let name = path("wrong.h5")
        assertThrows("\(name): cannot be read: No such file or directory") { _ = try HDF5File(reading: name) }
        assertThrows("\(folder): is a folder; name a weight file") { _ = try HDF5File(reading: self.folder) }
        _ = FileManager.default.createFile(atPath: name, contents: Data())
        assertThrows("\(name): is empty") { _ = try HDF5File(reading: name) }
        _ = FileManager.default.createFile(atPath: name, contents: Data("not HDF5".utf8))
        assertThrows("\(name): H5Fopen failed: file signature not found") { _ = try HDF5File(reading: name) }

        let file = try HDF5File(creating: path("ok.h5"))
        let dataset = try file.root.createDataset("labels", shape: [3], elementType: .int32)
        assertThrows("\(path("ok.h5")): has no data set /images") { _ = try file.root.dataset("images") }
        assertThrows("\(path("ok.h5")): /labels is [3], expected at least [2] from [2]") {
            _ = try dataset.int32s(offset: [2], extent: [2])
        }
    }

    /// Shapes without values: no memory is taken on their word.
    func testClaimsWithoutValuesAreRefused() throws {
        let name = path("claims.h5")
        let file = try HDF5File(creating: name)
        let images = try file.root.createDataset("images", shape: [1 << 40, 3], elementType: .float32)
        let refusal = "\(name): damaged HDF5 file: /images has the shape [1099511627776, 3] but hardly any values"
        assertThrows(refusal) { _ = try images.floats() }
        assertThrows(refusal) { _ = try images.bytes(offset: [5, 0], extent: [1 << 39, 3]) }
        assertThrows(refusal) { _ = try images.read() }
        assertThrows(refusal) { _ = try images.texts() }
    }

    func testWhatAFileClaimsInAllIsCountedWithoutOverflow() throws {
        let file = try HDF5File(creating: path("huge.h5"))
        for name in ["a", "b"] { _ = try file.root.createDataset(name, shape: [1 << 62], elementType: .uint8) }
        try file.close()
        XCTAssertEqual(try Inspection.inspect(path("huge.h5")).valueCount, .max)
    }

    func testThreadsTakeTurns() throws {
        let file = try HDF5File(creating: path("threads.h5"))
        let dataset = try file.root.createDataset("values", shape: [64, 128], elementType: .int32)
        let values = (0..<64 * 128).map { Int32($0) }
        try values.withUnsafeBytes { try dataset.write($0, as: .int32) }
        DispatchQueue.concurrentPerform(iterations: 256) { index in
            let row = try? dataset.int32s(offset: [index % 64, 0], extent: [1, 128])
            XCTAssertEqual(row?.first, Int32(index % 64 * 128))
        }
    }
}
