import Archives
import Foundation
import Tensors
import XCTest

/// A disk that is full and one that cannot be written, as small tmpfs mounts (needs root).
final class FullDiskTests: ArchiveTestCase {
    private func mount(_ options: String) throws -> String {
        let disk = path("disk")
        try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
        let result = try run("mount", ["-t", "tmpfs", "-o", options, "tmpfs", disk])
        guard result.status == 0 else { throw XCTSkip("cannot mount a tmpfs here: \(result.output)") }
        addTeardownBlock { _ = try? self.run("umount", [disk]) }
        return disk
    }

    private func weights(values: Int) -> WeightFile {
        let tensor = StoredTensor(name: "w", shape: [values], scalars: Array(repeating: 1, count: values))
        return WeightFile(format: .graftHDF5, tensors: [tensor])
    }

    func testAFullDiskLeavesTheOldFile() throws {
        let disk = try mount("size=128k")
        let file = disk + "/last.h5"
        try weights(values: 10).write(to: file, as: .graftHDF5)
        assertThrows("\(file): cannot be written: write: No space left on device; nothing was left behind") {
            try self.weights(values: 100_000).write(to: file, as: .graftHDF5)
        }
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: disk), ["last.h5"])
        XCTAssertTrue(GraftArchive.isValid(file))
        XCTAssertEqual(try WeightFile.read(file).tensors.first?.count, 10)
    }

    func testAnHDF5FileOnAFullDiskFailsAndTheProcessLives() throws {
        let disk = try mount("size=128k")
        let values = [Float](repeating: 1, count: 100_000)
        XCTAssertThrowsError(
            try AtomicFile.replace(disk + "/data.h5") { temporary in
                let file = try HDF5File(creating: temporary)
                let dataset = try file.root.createDataset(
                    "images", shape: [values.count], elementType: .float32)
                try values.withUnsafeBytes { try dataset.write($0, as: .float32) }
                try file.close()
            }
        ) { XCTAssertTrue($0 is ArchiveError, "\($0)") }
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: disk), [])
    }

    func testAReadOnlyFolder() throws {
        let disk = try mount("size=128k,ro")
        let file = disk + "/w.h5"
        assertThrows("\(file): cannot be written: open: Read-only file system; nothing was left behind") {
            try self.weights(values: 10).write(to: file, as: .graftHDF5)
        }
    }
}
