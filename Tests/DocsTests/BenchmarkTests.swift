import Foundation
import XCTest

/// `launch/benchmarks/run` and the page that it makes. Python belongs to measurements only, so these tests are left out
/// where it is not there.
final class BenchmarkTests: XCTestCase {
    private var folder = URL(fileURLWithPath: "/")
    private var page: URL { folder.appendingPathComponent("performance.md") }
    private let benchmarks = Documents.root.appendingPathComponent("launch/benchmarks")

    override func setUpWithError() throws {
        guard Documents.hasPython else { throw XCTSkip("there is no python3, with which launch/benchmarks works") }
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-benchmarks-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try FileManager.default.copyItem(at: Documents.root.appendingPathComponent("docs/performance.md"), to: page)
    }

    override func tearDownWithError() throws { try? FileManager.default.removeItem(at: folder) }

    private func run(_ arguments: String..., environment: [String: String] = [:]) throws -> String {
        let program = benchmarks.appendingPathComponent("run").path
        let quiet = environment.merging(["PYTHONDONTWRITEBYTECODE": "1"]) { $1 }
        let result = try runProgram(program, arguments, environment: quiet, limit: 300)
        XCTAssertEqual(result.code, 0, result.errors)
        return result.output
    }

    private func records() throws -> [[String: Any]] {
        try String(contentsOf: folder.appendingPathComponent("records.jsonl"), encoding: .utf8)
            .split(separator: "\n")
            .compactMap { try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any] }
    }

    /// Cells of the row of the page that begins with the given ones.
    private func row(_ first: String...) throws -> [String] {
        let lines = try String(contentsOf: page, encoding: .utf8).components(separatedBy: "\n")
        let beginning = "| " + first.joined(separator: " | ") + " |"
        let line = try XCTUnwrap(lines.first { $0.hasPrefix(beginning) }, "no row begins with \(beginning)")
        return line.components(separatedBy: "|").dropFirst().dropLast()
            .map { $0.trimmingCharacters(in: .whitespaces) }
    }

    func testHelpNamesPartsAndListNamesCommands() throws {
        let help = try run("--help")
        for word in ["--rounds", "--only", "--output", "training", "transfer", "memory"] {
            XCTAssertTrue(help.contains(word), "--help does not name \(word)")
        }
        let list = try run("--list")
        for key in ["training/bert_base/2", "transfer/last-stage", "io/augmented", "ranks/resnet50"] {
            XCTAssertTrue(list.contains(key + " graft: "), "--list does not name \(key)")
        }
    }

    /// Every recipe and script that a row names is there, and the reasons belong to rows.
    func testRowsNameFilesThatExist() throws {
        let words = try run("--list").split { $0 == " " || $0 == "\n" }.map(String.init)
        let files = words.filter { $0.contains("/launch/") }
        XCTAssertGreaterThan(files.count, 20)
        for file in Set(files) {
            XCTAssertTrue(FileManager.default.fileExists(atPath: file), "\(file) is not there")
        }
    }

    /// Records of known figures give the medians, ratios and notes that follow from them.
    func testThePageFollowsFromTheRecords() throws {
        func record(_ key: String, _ side: String, _ round: Int, _ build: String, _ result: [String: Any]) -> [String:
            Any]
        {
            ["key": key, "side": side, "round": round, "build": build, "wall": 10.0, "result": result]
        }
        func steps(_ key: String, _ side: String, _ round: Int, _ build: String, _ rate: Double, _ memory: Double)
            -> [String: Any]
        {
            record(
                key, side, round, build,
                [
                    "items_per_second": rate, "peak_rss_mib": memory, "step_seconds_median": 1.0,
                    "matrix_product_gflops_one_thread": 100.0, "flops_per_item": 1e10,
                ])
        }
        let key = "training/vgg16/1"
        // The first is of another build, which does not count.
        var lines = [steps(key, "graft", 1, "old", 1000, 1), steps(key, "pytorch", 1, "old", 1, 1)]
        for (round, ours, theirs) in [(1, 4.0, 2.0), (2, 6.0, 2.0), (3, 5.0, 4.0)] {
            lines.append(steps(key, "graft", round, "new", ours, 900))
            lines.append(steps(key, "pytorch", round, "new", theirs, 1000))
        }
        lines.append(steps("memory/vgg16", "graft", 1, "new", 4, 400))
        for (round, epochs) in [(1, 10), (2, 1)] {
            let way = "transfer/feature-extraction"
            lines.append(record(way, "graft", round, "new", ["seconds": 1.0]))
            // 10 s with ten epochs; 10 s with one, and nine more of 20 s.
            let seconds = [Double](repeating: round == 1 ? 1 : 20, count: epochs)
            lines.append(record(way, "pytorch", round, "new", ["epoch_seconds": seconds]))
        }
        for (side, accuracies) in [
            ("graft", [0.80, 0.82, 0.81]), ("graft-int8", [0.805, 0.825]), ("pytorch", [0.80, 0.84]),
        ] {
            for (seed, top1) in accuracies.enumerated() {
                let result: [String: Any] = side == "pytorch" ? ["top1": top1] : ["last": ["top1": top1]]
                lines.append(record("transfer/accuracy/\(seed)", side, 1, "new", result))
            }
        }
        let text = try lines.map {
            String(decoding: try JSONSerialization.data(withJSONObject: $0), as: UTF8.self)
        }.joined(separator: "\n")
        let path = folder.appendingPathComponent("records.jsonl")
        try text.write(to: path, atomically: true, encoding: .utf8)
        let before = try String(contentsOf: page, encoding: .utf8)

        _ = try run("--report-only", "--output", folder.path, "--page", page.path)

        XCTAssertEqual(
            try row("VGG16", "8", "1"),
            ["VGG16", "8", "1", "3", "5.00", "2.00", "**2.00** (1.25-3.00)", "2.5, not reached", "50 %", "20 %"])
        XCTAssertEqual(
            try row("VGG16", "900"), ["VGG16", "900", "1000", "**0.90**, not reached", "400", "**0.40**", "0 %", "–"])
        XCTAssertEqual(
            try row("feature extraction"),
            ["feature extraction", "2", "10.0", "100.0", "**10.00** (1.00-19.00)", "12, not reached", "–"])
        XCTAssertEqual(try row("Graft", "3"), ["Graft", "3", "80.0-82.0", "81.0 %"])
        let made = try String(contentsOf: page, encoding: .utf8)
        for note in [
            "- VGG16: 2.00 of 2.5. ", "- VGG16, memory: 0.90 where", "- feature extraction: 10.00 of 12. ",
            "over 2 seeds, Graft to PyTorch: -1.0 points, standard error 1.0 (asked for: within 0.5)",
            "over 2 seeds, int8 to float32: +0.5 points, standard error 0.0 (asked for: within 1)",
            "- Accuracy of MobileNetV1 0.25, Graft to PyTorch: -1.0 points, 0.5 asked for",
        ] {
            XCTAssertTrue(made.contains(note), "the page lacks '\(note)'")
        }
        XCTAssertTrue(made.contains("![") && made.contains("](performance.svg)"))
        XCTAssertEqual(outside(made), outside(before))
        let picture = try String(contentsOf: folder.appendingPathComponent("performance.svg"), encoding: .utf8)
        XCTAssertTrue(picture.hasPrefix("<svg") && picture.hasSuffix("</svg>\n"))
        XCTAssertEqual(picture.components(separatedBy: "class=\"short\"").count - 1, 3)
        XCTAssertEqual(picture.components(separatedBy: "class=\"reached\"").count - 1, 1)
    }

    /// What a page says outside its generated sections.
    private func outside(_ text: String) -> String {
        text.replacing(#/<!-- (\S+): begin -->(?s:.*?)<!-- \1: end -->/#, with: "")
    }

    /// The whole way, with `graft` on small images in the place of both sides: rounds, records, resuming, page.
    func testRoundsAreMeasuredOnceAndReported() throws {
        func program(_ path: String, _ text: String) throws {
            let url = folder.appendingPathComponent(path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try ("#!/bin/sh\n" + text).write(to: url, atomically: true, encoding: .utf8)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: url.path)
        }
        try program("graft", "exec '\(built("graft"))' \"$@\" --size 32\n")
        try program(
            "environment/bin/python",
            """
            [ "$1" != -c ] || exit 0
            shift
            for word; do shift; [ "$word" = --count ] || set -- "$@" "$word"; done
            exec '\(built("graft"))' bench step "$@" --size 32

            """)
        func measure() throws {
            _ = try run(
                "--graft", folder.appendingPathComponent("graft").path, "--rounds", "2", "--only", "training",
                "--row", "mobilenet_v1/1", "--output", folder.path, "--page", page.path,
                environment: ["PYTORCH_ENVIRONMENT": folder.appendingPathComponent("environment").path])
        }
        try measure()
        let found = try records().filter { $0["key"] != nil }
        XCTAssertEqual(found.compactMap { $0["side"] as? String }, ["graft", "pytorch", "graft", "pytorch"])
        let rates = found.compactMap { ($0["result"] as? [String: Any])?["items_per_second"] as? Double }
        XCTAssertEqual(rates.count, 4)
        let ratios = [rates[0] / rates[1], rates[2] / rates[3]]
        let text = String(
            format: "**%.2f** (%.2f-%.2f)", (ratios[0] + ratios[1]) / 2, min(ratios[0], ratios[1]),
            max(ratios[0], ratios[1]))
        XCTAssertEqual(try row("MobileNetV1", "16", "1", "2")[6], text)

        try measure()
        XCTAssertEqual(try records().filter { $0["key"] != nil }.count, 4, "what was measured is measured again")
    }
}
