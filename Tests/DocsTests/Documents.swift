import Foundation
import XCTest

/// The README and the guides.
enum Documents {
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// `README.md` and `docs/*.md`, relative to the root.
    static func all() throws -> [String] {
        let guides = try FileManager.default.contentsOfDirectory(atPath: root.appendingPathComponent("docs").path)
        return ["README.md"] + guides.filter { $0.hasSuffix(".md") }.sorted().map { "docs/\($0)" }
    }

    static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path)
    }

    /// Whether measurements beside other programs, and their tests, can be made here.
    static let hasPython = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        .contains { FileManager.default.isExecutableFile(atPath: "\($0)/python3") }

    /// A fenced block, or one that is indented by four spaces: its language is `indented`.
    struct Block {
        let document: String
        /// Of its first line, from 1.
        let line: Int
        let language: String
        var lines: [String]

        var place: String { "\(document):\(line)" }
    }

    /// The blocks of all documents in the given languages.
    static func blocks(_ languages: String...) throws -> [Block] {
        try all().flatMap { try blocks(in: $0) }.filter { languages.contains($0.language) }
    }

    private static func blocks(in document: String) throws -> [Block] {
        var blocks: [Block] = []
        var open: Block?
        func close() {
            if let block = open { blocks.append(block) }
            open = nil
        }
        for (number, line) in try text(document).components(separatedBy: "\n").enumerated() {
            let (isFence, isIndented) = (line.hasPrefix("```"), line.hasPrefix("    "))
            if open?.language == "indented", !isIndented { close() }
            if open != nil {
                isFence ? close() : open?.lines.append(line)
            } else if isFence {
                open = Block(document: document, line: number + 2, language: String(line.dropFirst(3)), lines: [])
            } else if isIndented {
                open = Block(document: document, line: number + 1, language: "indented", lines: [line])
            }
        }
        XCTAssertTrue(open == nil || open?.language == "indented", "\(document): a fenced block is not closed")
        close()
        return blocks
    }

    /// What a line of a `text` or indented block begins with where it is a command.
    private static let programs = ["graft ", "launch/", "cluster/", "sudo ", "sbatch ", "qsub "]

    /// Commands of a block: in a `console` block what follows `$ `, in a `sh` block every line that is no comment,
    /// elsewhere what is indented and begins with a program. Lines that end in a backslash are joined.
    static func commands(_ block: Block) -> [String] {
        let text = block.lines.joined(separator: "\n").replacingOccurrences(of: "\\\n", with: " ")
        return text.components(separatedBy: "\n").compactMap { line in
            var command = line.trimmingCharacters(in: .whitespaces)
            switch block.language {
            case "console":
                guard command.hasPrefix("$ ") else { return nil }
                command = String(command.dropFirst(2))
            case "sh": break
            default:
                guard line.hasPrefix("  "), programs.contains(where: command.hasPrefix) else { return nil }
            }
            // Help texts have their comments in a column.
            for mark in [" #", "    "] {
                if let comment = command.range(of: mark) { command = String(command[..<comment.lowerBound]) }
            }
            command = command.trimmingCharacters(in: .whitespaces)
            return command.isEmpty || command.hasPrefix("#") ? nil : command
        }
    }
}

/// Runs a program to its end, or ends it after `limit` seconds.
func runProgram(
    _ program: String, _ arguments: [String], in folder: URL = Documents.root, environment: [String: String] = [:],
    limit: Double = 120
) throws -> (code: Int32, output: String, errors: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.currentDirectoryURL = folder
    process.environment = ProcessInfo.processInfo.environment.filter {
        !$0.key.hasPrefix("OMPI_") && !$0.key.hasPrefix("PMIX_")
    }.merging(environment) { $1 }
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: scratch, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: scratch) }
    func file(_ name: String) throws -> URL {
        let url = scratch.appendingPathComponent(name)
        try Data().write(to: url)
        return url
    }
    let (output, errors) = (try file("output"), try file("errors"))
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    try process.run()
    let end = Date().addingTimeInterval(limit)
    while process.isRunning, Date() < end { usleep(10_000) }
    if process.isRunning {
        process.terminate()
        XCTFail("\(program) \(arguments.joined(separator: " ")): still running after \(limit) s")
    }
    process.waitUntilExit()
    return (
        process.terminationStatus, try String(contentsOf: output, encoding: .utf8),
        try String(contentsOf: errors, encoding: .utf8)
    )
}

/// A program built beside the one that runs these tests.
func built(_ name: String) -> String {
    URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent()
        .appendingPathComponent(name).path
}

/// The folder of given data and weights.
func givenData() throws -> URL {
    let path = ProcessInfo.processInfo.environment["GRAFT_DATA"] ?? "../shared/data"
    let folder = URL(fileURLWithPath: path, relativeTo: Documents.root).standardizedFileURL
    guard FileManager.default.fileExists(atPath: folder.path) else {
        throw XCTSkip("no data in \(folder.path); set GRAFT_DATA")
    }
    return folder
}
