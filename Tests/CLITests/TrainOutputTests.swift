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
        // The plan, an epoch and the summary; the machine, a phase, two steps and an epoch.
        XCTAssertEqual(lines.count, 8)
        for text in lines + [summary, plan] {
            let keys = keys(try JSONSerialization.jsonObject(with: Data(text.utf8)))
            XCTAssertFalse(keys.isEmpty, text)
            XCTAssertEqual(keys.filter { $0 != $0.lowercased() }, [], text)
        }
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
