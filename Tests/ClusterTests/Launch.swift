import Foundation
import XCTest

/// What a started command did.
struct Outcome {
    let code: Int32
    let output: String
    let errors: String
    let seconds: Double
}

/// A command under test, started without waiting for it.
final class Launch {
    static let packageRoot = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    static let launcher = packageRoot.appendingPathComponent("launch/mpirun").path
    /// The test executable, next to the one that runs these tests.
    static let check = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        .deletingLastPathComponent().appendingPathComponent("graft-cluster-check").path

    private let process = Process()
    private let folder: URL
    private let begin = Date()

    init(_ arguments: [String], environment: [String: String] = [:]) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        process.executableURL = URL(fileURLWithPath: arguments[0])
        process.arguments = Array(arguments.dropFirst())
        // The variables of an outer mpirun would make a lone process look for its job.
        process.environment = ProcessInfo.processInfo.environment
            .filter { !$0.key.hasPrefix("OMPI_") && !$0.key.hasPrefix("PMIX_") && !$0.key.hasPrefix("OMP_") }
            .merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try file("output")
        process.standardError = try file("errors")
        try process.run()
    }

    var output: String { text("output") }

    func send(_ signal: Int32) { kill(process.processIdentifier, signal) }

    /// Waits until `text` is in the output; at most 20 seconds.
    func waitForOutput(_ text: String) -> Bool {
        for _ in 0..<400 {
            if output.contains(text) { return true }
            usleep(50_000)
        }
        return false
    }

    /// Waits for the end; a job that hangs is ended and reported after `limit` seconds.
    func finish(limit: Double = 60) -> Outcome {
        while process.isRunning && Date().timeIntervalSince(begin) < limit { usleep(20_000) }
        let seconds = Date().timeIntervalSince(begin)
        if process.isRunning {
            XCTFail("still running after \(limit) s: \(process.arguments ?? [])")
            process.terminate()
            usleep(200_000)
            process.terminate()
        }
        process.waitUntilExit()
        let outcome = Outcome(
            code: process.terminationStatus, output: output, errors: text("errors"), seconds: seconds)
        try? FileManager.default.removeItem(at: folder)
        return outcome
    }

    private func file(_ name: String) throws -> FileHandle {
        let url = folder.appendingPathComponent(name)
        _ = FileManager.default.createFile(atPath: url.path, contents: nil)
        return try FileHandle(forWritingTo: url)
    }

    private func text(_ name: String) -> String {
        let data = FileManager.default.contents(atPath: folder.appendingPathComponent(name).path) ?? Data()
        return String(decoding: data, as: UTF8.self).replacingOccurrences(of: "\r\n", with: "\n")
    }
}

/// Runs the test executable on `ranks` ranks under `launch/mpirun` and waits for it.
func onRanks(_ ranks: Int, _ arguments: String..., launcher: [String] = []) throws -> Outcome {
    try Launch(["/bin/bash", Launch.launcher, "-np", "\(ranks)"] + launcher + [Launch.check] + arguments).finish()
}
