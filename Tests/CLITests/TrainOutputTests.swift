import Foundation
import XCTest

/// What `graft train` prints and writes for scripts.
final class TrainOutputTests: CommandTestCase {
    override func setUpWithError() throws {
        try super.setUpWithError()
        let recipe = """
            model: {architecture: resnet8}
            data:
              train: {path: "\(try data("cifar10/train"))", first-per-class: 2}
              validation: {skip-per-class: 2, first-per-class: 1}
            train: {epochs: 1, batch: 10}
            run: {log-every: 1}
            """
        try write(Data(recipe.utf8), "recipe.yaml")
    }

    /// Keys of an object and of all objects in it.
    private func keys(_ value: Any) -> [String] {
        if let list = value as? [Any] { return list.flatMap(keys) }
        guard let object = value as? [String: Any] else { return [] }
        return object.keys + object.values.flatMap(keys)
    }

    func testKeysAreInSnakeCaseEverywhere() throws {
        let run = try graft("train", "recipe.yaml", "--output", "run", "--json")
        XCTAssertEqual(run.code, 0, run.errors)
        let log = try String(contentsOfFile: "\(folder)/run/log.jsonl", encoding: .utf8)
        let summary = try String(contentsOfFile: "\(folder)/run/summary.json", encoding: .utf8)
        let plan = try graft("train", "recipe.yaml", "--dry-run", "--json").output
        let wanted = [
            (run.output, "training_loss"), (log, "images_per_second"), (log, "total_steps"), (plan, "training_samples"),
            (summary, "threads_per_rank"),
        ]
        for (text, key) in wanted { XCTAssertTrue(text.contains("\"\(key)\""), "no \(key) in \(text)") }
        let lines = (run.output + log).split(separator: "\n").map(String.init)
        // The plan, an epoch and the summary; the machine, a phase, the first step, two steps and an epoch.
        XCTAssertEqual(lines.count, 9)
        for text in lines + [summary, plan] {
            let keys = keys(try JSONSerialization.jsonObject(with: Data(text.utf8)))
            XCTAssertFalse(keys.isEmpty, text)
            XCTAssertEqual(keys.filter { $0 != $0.lowercased() }, [], text)
        }
    }

    func testStartUpAndWaitingForDataAreTold() throws {
        let run = try graft("train", "recipe.yaml", "--output", "run")
        XCTAssertEqual(run.code, 0, run.errors)
        XCTAssertTrue(run.output.contains("% waiting for data"), run.output)
        let log = try String(contentsOfFile: "\(folder)/run/log.jsonl", encoding: .utf8)
        let lines = try log.split(separator: "\n").map {
            try XCTUnwrap(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        let summary = try XCTUnwrap(
            JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: "\(folder)/run/summary.json")))
                as? [String: Any])
        let first = try XCTUnwrap(lines.first { $0["event"] as? String == "first_step" })
        let start = try XCTUnwrap(summary["seconds_to_first_step"] as? Double)
        XCTAssertEqual(try XCTUnwrap(first["seconds_to_first_step"] as? Double), start, accuracy: 1e-9)
        let whole = try XCTUnwrap(summary["seconds"] as? Double)
        let training = try XCTUnwrap(summary["training_seconds"] as? Double)
        let waiting = try XCTUnwrap(summary["data_seconds"] as? Double)
        XCTAssertGreaterThan(start, 0)
        XCTAssertTrue(training > 0 && training < whole, "\(training) of \(whole)")
        XCTAssertTrue(waiting >= 0 && waiting <= training, "\(waiting) of \(training)")
        XCTAssertEqual(
            try XCTUnwrap(summary["data_percent"] as? Double), 100 * waiting / training, accuracy: 1e-6)
        let steps = lines.filter { $0["event"] as? String == "step" }
        XCTAssertEqual(steps.count, 2)
        for step in steps { XCTAssertNotNil(step["data_seconds"] as? Double) }
    }

    func testADryRunCountsTheRanksOfEachLauncher() throws {
        let launchers = [
            [:], ["OMPI_COMM_WORLD_SIZE": "2"], ["PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "3"],
            ["PMIX_RANK": "0", "SLURM_NTASKS": "4"],
        ]
        for (launcher, ranks) in zip(launchers, [1, 2, 3, 4]) {
            let plan = try object(graft(["train", "recipe.yaml", "--dry-run", "--json"], environment: launcher))
            XCTAssertEqual(plan["ranks"] as? Int, ranks)
        }
    }
}
