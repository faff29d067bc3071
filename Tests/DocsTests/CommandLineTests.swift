import Foundation
import XCTest

/// The command lines in the documents, against the programs they call.
final class CommandLineTests: XCTestCase {
    private struct Line {
        let place: String
        /// Words up to the first `|`, `>` or `&&`.
        var words: [String]
    }

    private func lines() throws -> [Line] {
        try Documents.blocks("sh", "console").flatMap { block in
            Documents.commands(block).map { command in
                let words = command.split(separator: " ").map(String.init)
                return Line(place: block.place, words: Array(words.prefix { !["|", ">", "&&", "&"].contains($0) }))
            }
        }
    }

    /// The part of a line that calls `graft`, without what starts it.
    private func graftCalls() throws -> [(place: String, words: [String])] {
        try lines().compactMap { line in
            guard let index = line.words.firstIndex(where: { $0 == "graft" || $0.hasSuffix("/graft") }) else { return nil }
            return (line.place, Array(line.words[(index + 1)...]))
        }
    }

    private var help: [String: String] = [:]

    /// `graft SUBCOMMAND… --help`.
    private func help(_ subcommands: [String]) throws -> String {
        let key = subcommands.joined(separator: " ")
        if let text = help[key] { return text }
        let result = try runProgram(built("graft"), subcommands + ["--help"])
        XCTAssertEqual(result.code, 0, "graft \(key) --help: \(result.errors)")
        help[key] = result.output
        return result.output
    }

    func testOptionsOfGraftExist() throws {
        let calls = try graftCalls()
        XCTAssertGreaterThan(calls.count, 10)
        for (place, words) in calls {
            let subcommands = words.prefix { $0.allSatisfy { $0.isLetter || $0 == "-" } && !$0.hasPrefix("-") }
                .prefix(words.first == "bench" ? 2 : 1)
            XCTAssertFalse(subcommands.isEmpty, "\(place): graft without a command")
            let text = try help(Array(subcommands))
            for word in words where word.hasPrefix("--") {
                let option = String(word.split(separator: "=")[0])
                XCTAssertTrue(
                    text.contains("\(option) ") || text.contains("\(option)\n") || option == "--help",
                    "\(place): graft \(subcommands.joined(separator: " ")) has no option \(option)")
            }
        }
    }

    /// Scripts exist, can be run, answer `--help`, and know the options that are given to them.
    func testScriptsExist() throws {
        var helped: [String: String] = [:]
        var count = 0
        for line in try lines() {
            let words = line.words.first == "sudo" ? Array(line.words.dropFirst()) : line.words
            guard let script = words.first(where: { $0.hasPrefix("launch/") || $0.hasPrefix("cluster/") }),
                !script.hasPrefix("launch/recipes/")
            else { continue }
            count += 1
            let path = Documents.root.appendingPathComponent(script).path
            XCTAssertTrue(FileManager.default.fileExists(atPath: path), "\(line.place): there is no \(script)")
            guard ["launch/mpirun", "launch/quickstart", "launch/install"].contains(script) else { continue }
            if helped[script] == nil {
                let result = try runProgram(path, ["--help"])
                XCTAssertEqual(result.code, 0, "\(script) --help: \(result.errors)")
                helped[script] = result.output
            }
            let own = words.dropFirst().prefix { $0 != "graft" && !$0.hasSuffix("/graft") }
            for option in own where option.hasPrefix("--") {
                XCTAssertTrue(
                    helped[script]?.contains(option) == true, "\(line.place): \(script) --help does not name \(option)")
            }
        }
        XCTAssertGreaterThan(count, 5)
    }

    /// Files of the project that command lines name are there.
    func testRecipesNamedInCommandsExist() throws {
        for line in try lines() {
            for word in line.words where word.hasPrefix("launch/recipes/") || word.hasPrefix("docs/") {
                XCTAssertTrue(Documents.exists(word), "\(line.place): there is no \(word)")
            }
        }
    }

    /// Commands that only look (`inspect`, `convert`, `--dry-run`, `--help`) and need nothing but given data are run.
    func testCommandsThatOnlyLookWork() throws {
        let data = try givenData()
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-docs-\(UUID().uuidString)")
        let work = folder.appendingPathComponent("work")
        try FileManager.default.createDirectory(at: work, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Documents call the data ../shared/data and recipes launch/recipes.
        try FileManager.default.createDirectory(
            at: folder.appendingPathComponent("shared"), withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            at: folder.appendingPathComponent("shared/data"), withDestinationURL: data)
        try FileManager.default.createSymbolicLink(
            at: work.appendingPathComponent("launch"),
            withDestinationURL: Documents.root.appendingPathComponent("launch"))
        var count = 0
        for (place, words) in try graftCalls() where isCheap(words, in: work) {
            let result = try runProgram(built("graft"), words, in: work)
            XCTAssertEqual(result.code, 0, "\(place): graft \(words.joined(separator: " ")): \(result.errors)")
            count += 1
        }
        XCTAssertGreaterThan(count, 3)
    }

    private func isCheap(_ words: [String], in folder: URL) -> Bool {
        guard let command = words.first else { return false }
        if words.contains("--help") { return true }
        guard ["inspect", "convert"].contains(command) || (command == "train" && words.contains("--dry-run")),
            let input = words.dropFirst().first
        else { return false }
        return FileManager.default.fileExists(atPath: folder.appendingPathComponent(input).path)
    }
}
