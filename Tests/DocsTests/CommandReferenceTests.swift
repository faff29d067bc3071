import Foundation
import XCTest

/// docs/commands.md shows what `--help` says. With GRAFT_UPDATE_DOCS=1 in the environment the test writes it.
final class CommandReferenceTests: XCTestCase {
    /// `train`, `bench step`, …: what `graft --help` lists, and what those that only group others list.
    private func commands() throws -> [[String]] {
        try subcommands([]).flatMap { name in
            let nested = try subcommands([name])
            return nested.isEmpty ? [[name]] : nested.map { [name, $0] }
        }
    }

    private func help(_ command: [String]) throws -> String {
        let result = try runProgram(built("graft"), command + ["--help"], environment: ["COLUMNS": "118"])
        XCTAssertEqual(result.code, 0, result.errors)
        return result.output.split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.replacing(#/\s+$/#, with: "") }.joined(separator: "\n").trimmingCharacters(in: .newlines)
    }

    private func subcommands(_ command: [String]) throws -> [String] {
        let text = try help(command)
        guard let start = text.range(of: "SUBCOMMANDS:\n") else { return [] }
        return text[start.upperBound...].components(separatedBy: "\n").prefix { !$0.isEmpty }
            .compactMap {
                $0.hasPrefix("  ") && !$0.hasPrefix("   ") ? $0.split(separator: " ").first.map(String.init) : nil
            }
            .filter { $0 != "help" }
    }

    private func section(_ command: [String]) throws -> String {
        "## graft \(command.joined(separator: " "))\n\n```text\n\(try help(command))\n```\n"
    }

    func testTheReferenceIsTheHelp() throws {
        let commands = try commands()
        XCTAssertGreaterThanOrEqual(commands.count, 7)
        let url = Documents.root.appendingPathComponent("docs/commands.md")
        let text = try Documents.text("docs/commands.md")
        let introduction = text.range(of: "\n## ").map { String(text[..<$0.lowerBound]) } ?? text
        let expected = try introduction + "\n" + commands.map(section).joined(separator: "\n")
        if ProcessInfo.processInfo.environment["GRAFT_UPDATE_DOCS"] == "1" {
            try expected.write(to: url, atomically: true, encoding: .utf8)
        }
        XCTAssertTrue(
            try Documents.text("docs/commands.md") == expected,
            "docs/commands.md differs from --help; GRAFT_UPDATE_DOCS=1 launch/test --filter CommandReferenceTests writes it"
        )
    }
}
