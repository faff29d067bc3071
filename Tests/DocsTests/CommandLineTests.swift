import Foundation
import XCTest

/// The command lines in the documents and in help texts, against the programs they call.
final class CommandLineTests: XCTestCase {
    private struct Line {
        let place: String
        /// Words up to the first `|`, `>` or `&&`.
        var words: [String]
    }

    private func lines() throws -> [Line] {
        try (Documents.blocks("sh", "console", "text", "indented") + helpTexts()).flatMap { block in
            Documents.commands(block).map { command in
                let words = command.split(separator: " ").map(String.init)
                return Line(place: block.place, words: Array(words.prefix { !["|", ">", "&&", "&"].contains($0) }))
            }
        }
    }

    /// The part of a line that calls `graft`, without what starts it.
    private func graftCalls() throws -> [(place: String, words: [String])] {
        try lines().compactMap { line in
            guard let index = line.words.firstIndex(where: { $0 == "graft" || $0.hasSuffix("/graft") }) else {
                return nil
            }
            return (line.place, Array(line.words[(index + 1)...]))
        }
    }

    /// The help that docs/commands.md does not show.
    private func helpTexts() throws -> [Documents.Block] {
        let mpirun = Documents.root.appendingPathComponent("launch/mpirun").path
        return try [[built("graft")], [built("graft"), "bench"], [mpirun]].map { command in
            let result = try runProgram(command[0], command.dropFirst() + ["--help"], environment: ["COLUMNS": "118"])
            XCTAssertEqual(result.code, 0, result.errors)
            return Documents.Block(
                document: "\(command.joined(separator: " ")) --help", line: 1, language: "text",
                lines: result.output.components(separatedBy: "\n"))
        }
    }

    /// The parser takes every line, and the recipe reader every `--set`: in a folder that holds recipes and nothing
    /// that they name, no line ends with the exit code of wrong arguments.
    func testGraftTakesEveryLine() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-docs-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createSymbolicLink(
            at: folder.appendingPathComponent("launch"),
            withDestinationURL: Documents.root.appendingPathComponent("launch"))
        let recipe = "model: {weights: w.h5, head: new}\ndata: {train: photos}\ntrain: {epochs: 1}\n"
        try Data(recipe.utf8).write(to: folder.appendingPathComponent("recipe.yaml"))

        let calls = try graftCalls()
        XCTAssertGreaterThan(calls.count, 40)
        for (place, words) in calls {
            // What would compute stops short: a run at its plan, a measurement at a number that is refused.
            let isBench = words.starts(with: ["bench", "step"])
            let more = isBench ? ["--steps", "0"] : words.first == "train" ? ["--dry-run"] : []
            let result = try runProgram(built("graft"), words + more.filter { !words.contains($0) }, in: folder)
            let message = "\(place): graft \(words.joined(separator: " ")): \(result.errors)"
            if isBench {
                XCTAssertTrue(result.errors.hasPrefix("graft: --steps 0 is not possible"), message)
            } else {
                XCTAssertTrue(result.code == 3 || result.code == 0, message)
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
            var talking: Set = ["launch/mpirun", "launch/quickstart", "launch/install"]
            if Documents.hasPython { talking.insert("launch/benchmarks/run") }
            guard talking.contains(script) else { continue }
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
