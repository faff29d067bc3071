import Archives
import Foundation
import XCTest

/// Runs `graft train`, on one and several ranks, in a folder of its own.
///
/// They fine-tune the CIFAR-10 ResNet-20 on some of the given photographs: real weights, real files.
class TrainingRunTestCase: XCTestCase {
    private(set) var folder = ""

    /// Whether tests make their own data.
    var makesData: Bool { false }

    override func setUpWithError() throws {
        guard makesData || FileManager.default.fileExists(atPath: Self.data + "/cifar10/train") else {
            throw XCTSkip("no data at \(Self.data); set GRAFT_DATA")
        }
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try write(Self.recipe)
    }

    override func tearDown() {
        try? FileManager.default.removeItem(atPath: folder)
    }

    static let data =
        ProcessInfo.processInfo.environment["GRAFT_DATA"]
        ?? Launch.packageRoot.deletingLastPathComponent().appendingPathComponent("shared/data").path
    static let graft = URL(fileURLWithPath: Launch.check).deletingLastPathComponent()
        .appendingPathComponent("graft").path

    static let recipe = """
        # A short fine-tuning of a real network.
        model:
          weights: \(data)/weights/cifar10-resnet-pytorch/resnet20-12fca82f.th
          head: new
        data:
          train:
            path: \(data)/cifar10/train
            first-per-class: 6
          validation:
            path: \(data)/cifar10/test
            first-per-class: 3
          augment:
            flip: true
        train:
          transfer: fine-tuning
          epochs: 4
          batch: 14
          batch-norm: frozen
          optimizer:
            name: sgd
            learning-rate: 0.002
            momentum: 0.9
        run:
          log-every: 1
          save-every: {steps: 3}
          validate-every: {epochs: 2}
          keep: 100
        """

    /// Makes `text` the recipe of the runs that follow.
    func write(_ text: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: folder + "/recipe.yaml")) }

    func arguments(_ output: String, _ settings: [String], _ more: [String]) -> [String] {
        [Self.graft, "train", folder + "/recipe.yaml", "--output", "\(folder)/\(output)"]
            + settings.flatMap { ["--set", $0] } + more
    }

    func train(_ output: String, ranks: Int = 1, _ settings: String..., more: [String] = []) throws -> Outcome {
        try train(output, ranks: ranks, settings, more: more)
    }

    func train(_ output: String, ranks: Int = 1, _ settings: [String], more: [String] = []) throws -> Outcome {
        let command = arguments(output, settings, more)
        let threads = ["OMP_NUM_THREADS": "1"]
        guard ranks > 1 else { return try Launch(command, environment: threads).finish(limit: 120) }
        return try Launch(["/bin/bash", Launch.launcher, "-np", "\(ranks)"] + command, environment: threads)
            .finish(limit: 120)
    }

    func weights(_ output: String) throws -> [String: [Float]] {
        let archive = try GraftArchive.read("\(folder)/\(output)/weights.h5")
        return Dictionary(uniqueKeysWithValues: archive.weights.tensors.map { ($0.name, $0.scalars) })
    }

    /// The loss of every step, from the log.
    func losses(_ output: String) throws -> [Double] {
        struct Line: Decodable {
            var event: String
            var loss: Double?
        }
        let text = try String(contentsOfFile: "\(folder)/\(output)/log.jsonl", encoding: .utf8)
        return try text.split(separator: "\n").compactMap {
            let line = try JSONDecoder().decode(Line.self, from: Data($0.utf8))
            return line.event == "step" ? line.loss : nil
        }
    }

    // MARK: Frozen stages

    /// The trunk line of `log.jsonl`, one per phase.
    struct Trunk: Decodable {
        var path: String
        var stages: Int
        var reused_samples: Int
        var computed_samples: Int
        var epochs_from_cache: Int
        var cache_bytes: Int
        var precision: String
        var precision_fallback: String?
        var precision_error: Double?
    }

    func trunks(_ output: String, _ event: String = "trunk") throws -> [Trunk] {
        struct Line: Decodable {
            var event: String
            var trunk: Trunk?
        }
        let text = try String(contentsOfFile: "\(folder)/\(output)/log.jsonl", encoding: .utf8)
        return try text.split(separator: "\n").compactMap {
            let line = try JSONDecoder().decode(Line.self, from: Data($0.utf8))
            return line.event == event ? line.trunk : nil
        }
    }

    func files(_ cache: String = "trunk-cache") -> [String] {
        let root = "\(folder)/\(cache)"
        return (FileManager.default.enumerator(atPath: root)?.allObjects as? [String] ?? [])
            .filter { $0.hasSuffix(".features") }.sorted().map { "\(root)/\($0)" }
    }

    func assertClose(
        _ a: String, _ b: String, _ tolerance: Float = 1e-4, file: StaticString = #filePath, line: UInt = #line
    ) throws {
        let (a, b) = (try weights(a), try weights(b))
        XCTAssertEqual(Set(a.keys), Set(b.keys), file: file, line: line)
        for (name, values) in a {
            let other = try XCTUnwrap(b[name])
            let largest = values.map(abs).max() ?? 0
            let difference = zip(values, other).map { abs($0 - $1) }.max() ?? 0
            // A bias of keys changes nothing, so that only rounding moves it.
            XCTAssertLessThanOrEqual(difference, tolerance * max(largest, 1e-6), name, file: file, line: line)
        }
    }

    // MARK: Outcomes

    func checkpoints(_ output: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(output)/checkpoints")) ?? [])
            .filter { $0.hasPrefix("step-") }.sorted()
    }

    func assertDone(_ outcome: Outcome, file: StaticString = #filePath, line: UInt = #line) {
        XCTAssertEqual(outcome.code, 0, outcome.errors + outcome.output, file: file, line: line)
    }
}
