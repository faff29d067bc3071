import Foundation
import XCTest

/// A test case with a folder of its own and ways to find data and tools.
class ArchiveTestCase: XCTestCase {
    /// A fresh folder, removed after the test.
    private(set) var folder = ""

    override func setUpWithError() throws {
        folder = NSTemporaryDirectory() + "/graft-archives-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    override func tearDown() {
        try? FileManager.default.removeItem(atPath: folder)
    }

    func path(_ name: String) -> String { folder + "/" + name }

    /// Where this package lies.
    static let packageRoot = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// A small file committed beside the tests.
    func fixture(_ name: String) -> String {
        ArchiveTestCase.packageRoot.appendingPathComponent("Tests/ArchivesTests/Reference/\(name)").path
    }

    /// A real weight file; skips the test where the data are not there.
    func weights(_ name: String) throws -> String {
        let data =
            ProcessInfo.processInfo.environment["GRAFT_DATA"]
            ?? ArchiveTestCase.packageRoot.appendingPathComponent("../shared/data").path
        let path = data + "/weights/" + name
        guard FileManager.default.fileExists(atPath: path) else {
            throw XCTSkip("no \(path): set GRAFT_DATA to the folder of the given data")
        }
        return path
    }

    /// Runs a program and returns what it printed and its exit code; skips the test where it is not installed.
    func run(_ program: String, _ arguments: [String]) throws -> (output: String, status: Int32) {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
        let candidates = folders.map { "\($0)/\(program)" }
        guard let executable = candidates.first(where: FileManager.default.isExecutableFile) else {
            throw XCTSkip("\(program) is not installed")
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (String(decoding: output, as: UTF8.self), process.terminationStatus)
    }

    /// Asserts that `body` throws an error whose message is exactly `message`.
    func assertThrows(
        _ message: String, file: StaticString = #filePath, line: UInt = #line, _ body: () throws -> Void
    ) {
        XCTAssertThrowsError(try body(), file: file, line: line) {
            XCTAssertEqual("\($0)", message, file: file, line: line)
        }
    }
}

/// SplitMix64: seeded numbers for tests.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
