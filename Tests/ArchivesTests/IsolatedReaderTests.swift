import Archives
import Foundation
import XCTest

/// The process that HDF5 files from outside are read in: what happens when it goes wrong.
final class IsolatedReaderTests: ArchiveTestCase {
    /// Puts a shell script in the place of the graft command.
    private func readWith(_ script: String) throws {
        let command = path("graft")
        try "#!/bin/sh\n\(script)\n".write(toFile: command, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: command)
        setenv("GRAFT_EXECUTABLE", command, 1)
        defer { unsetenv("GRAFT_EXECUTABLE") }
        _ = try WeightFile.read(fixture("keras.h5"))
    }

    func testACrashIsADamagedFile() {
        let file = fixture("keras.h5")
        assertThrows("\(file): damaged HDF5 file: reading it crashed (signal 11)") {
            try readWith("kill -SEGV $$")
        }
        assertThrows("\(file): damaged HDF5 file: reading it failed (status 7)") { try readWith("exit 7") }
        assertThrows("\(file): damaged HDF5 file: reading it gave no answer") { try readWith("echo hello") }
        assertThrows("\(file): damaged HDF5 file: reading it gave no answer") { try readWith("exec cat /dev/zero") }
        // A header of two bytes, "{}", that names no tensors, and more after it.
        let empty = #"printf 'GRAFTRP1\002\000\000\000\000\000\000\000{}'"#
        assertThrows("\(file): damaged HDF5 file: reading it gave a broken answer") { try readWith(empty) }
        let huge = #"printf 'GRAFTRP1\377\377\377\377\377\377\377\177'"#
        assertThrows("\(file): damaged HDF5 file: reading it gave a broken answer") { try readWith(huge) }
        let reply = #"{"format":"kerasHDF5","metadata":{},"tensors":[]}"#
        let length = String(format: "%03o", reply.utf8.count)
        assertThrows("\(file): damaged HDF5 file: reading it gave more than 268825344 bytes") {
            try readWith(
                "printf 'GRAFTRP1\\\(length)\\000\\000\\000\\000\\000\\000\\000'; printf '%s' '\(reply)'; exec cat /dev/zero"
            )
        }
    }

    func testAMissingCommandIsNamed() {
        setenv("GRAFT_EXECUTABLE", "/nowhere/graft", 1)
        defer { unsetenv("GRAFT_EXECUTABLE") }
        let file = fixture("keras.h5")
        assertThrows(
            "\(file): cannot be read: /nowhere/graft read-hdf5 does not start: No such file or directory"
        ) {
            _ = try WeightFile.read(file)
        }
    }

    func testErrorsOfTheChildArriveAsTheyAre() throws {
        let file = path("cut.h5")
        let whole = try Data(contentsOf: URL(fileURLWithPath: fixture("keras.h5")))
        try whole.prefix(9_000).write(to: URL(fileURLWithPath: file))
        XCTAssertThrowsError(try WeightFile.read(file)) {
            XCTAssertTrue("\($0)".hasPrefix("\(file): H5Fopen failed: truncated file: "), "\($0)")
        }
        XCTAssertThrowsError(try IsolatedReader.check(file))
        XCTAssertNoThrow(try IsolatedReader.check(fixture("keras.h5")))
    }
}
