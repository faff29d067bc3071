import Foundation
import XCTest

/// Runs the built command, which lies next to the tests, in a folder of its own.
class CommandTestCase: XCTestCase {
    /// What a run of the command gave.
    struct Outcome {
        let code: Int32
        let output: String
        let errors: String
    }

    static let packageRoot = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    static let command = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        .deletingLastPathComponent().appendingPathComponent("graft").path

    /// Removed when the test ends.
    private(set) var folder = ""

    override func setUpWithError() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    override func tearDownWithError() throws {
        try FileManager.default.removeItem(atPath: folder)
    }

    /// Runs `graft` in the test's folder, for at most `limit` seconds.
    func graft(_ arguments: String..., limit: Double = 120) throws -> Outcome {
        try graft(arguments, limit: limit)
    }

    func graft(
        _ arguments: [String], environment: [String: String] = [:], limit: Double = 120
    ) throws -> Outcome {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.command)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        // The variables of an outer mpirun would make a lone process look for its job.
        process.environment = ProcessInfo.processInfo.environment
            .filter { !$0.key.hasPrefix("OMPI_") && !$0.key.hasPrefix("PMIX_") && !$0.key.hasPrefix("OMP_") }
            .merging(["COLUMNS": "80"]) { $1 }.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        let streams = ["output", "errors"].map { "\(folder)/.\($0)" }
        for path in streams { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        process.standardOutput = FileHandle(forWritingAtPath: streams[0])
        process.standardError = FileHandle(forWritingAtPath: streams[1])
        let begin = Date()
        try process.run()
        while process.isRunning && Date().timeIntervalSince(begin) < limit { usleep(10_000) }
        if process.isRunning {
            XCTFail("still running after \(limit) s: graft \(arguments.joined(separator: " "))")
            kill(process.processIdentifier, SIGKILL)
        }
        process.waitUntilExit()
        return Outcome(code: process.terminationStatus, output: text(streams[0]), errors: text(streams[1]))
    }

    /// A file or folder of the given data.
    /// - Throws: `XCTSkip` where it is not there.
    func data(_ path: String) throws -> String {
        let given = ProcessInfo.processInfo.environment["GRAFT_DATA"]
        let root = given ?? Self.packageRoot.appendingPathComponent("../shared/data").standardized.path
        let whole = "\(root)/\(path)"
        guard FileManager.default.fileExists(atPath: whole) else {
            throw XCTSkip("\(whole) is not there; set GRAFT_DATA to the folder of the given data")
        }
        return whole
    }

    /// The folder of all-MiniLM-L6-v2, where there is one.
    static let miniLM = ProcessInfo.processInfo.environment["GRAFT_MINILM"].flatMap {
        FileManager.default.fileExists(atPath: $0 + "/model.safetensors") ? $0 : nil
    }

    /// - Throws: `XCTSkip` where it is not there.
    func miniLM() throws -> String {
        guard let folder = Self.miniLM else {
            throw XCTSkip("GRAFT_MINILM names no folder with all-MiniLM-L6-v2; .ci/run fetches it")
        }
        return folder
    }

    /// The object that a command printed with --json.
    func object(_ outcome: Outcome, file: StaticString = #filePath, line: UInt = #line) throws -> [String: Any] {
        XCTAssertEqual(outcome.code, 0, outcome.errors, file: file, line: line)
        let value = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
        return try XCTUnwrap(value as? [String: Any], file: file, line: line)
    }

    func write(_ bytes: Data, _ name: String) throws { try bytes.write(to: URL(fileURLWithPath: "\(folder)/\(name)")) }

    func assertFails(
        _ outcome: Outcome, code: Int32, _ message: String, file: StaticString = #filePath, line: UInt = #line
    ) {
        XCTAssertEqual(outcome.code, code, outcome.errors, file: file, line: line)
        XCTAssertEqual(outcome.errors, message + "\n", file: file, line: line)
        XCTAssertEqual(outcome.output, "", file: file, line: line)
    }

    private func text(_ path: String) -> String {
        String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    }
}
