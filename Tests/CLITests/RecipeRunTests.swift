import Foundation
import XCTest

/// Every recipe in launch/recipes, for two steps per phase.
final class RecipeRunTests: CommandTestCase {
    private let recipes = packageRoot.appendingPathComponent("launch/recipes").path

    private func train(_ name: String, _ settings: [String]) throws {
        // Recipes call the data ../shared/data, which lies beside the checkout.
        let root = try data("README.md").dropLast("/README.md".count)
        let text = try String(contentsOfFile: "\(recipes)/\(name).yaml", encoding: .utf8)
            .replacingOccurrences(of: "../shared/data", with: root)
            .replacingOccurrences(of: "runs/quickstart/", with: "\(folder)/quickstart-")
            .replacingOccurrences(of: "../minilm", with: Self.miniLM ?? "../minilm")
        try write(Data(text.utf8), "recipe.yaml")
        let few = ["train.steps=2", "train.batch=8"] + settings
        let outcome = try graft(
            ["train", "recipe.yaml", "--output", name] + few.flatMap { ["--set", $0] }, limit: 300)
        XCTAssertEqual(outcome.code, 0, "\(name): \(outcome.errors)")
        XCTAssertTrue(FileManager.default.fileExists(atPath: "\(folder)/\(name)/weights.h5"), name)
    }

    /// What a recipe needs for so few steps.
    private func settings(_ name: String) -> [String] {
        if name == "benchmark-pre-training" { return ["train.schedule=cosine", "data.validation.first-per-class=5"] }
        if name.hasPrefix("benchmark") { return ["data.image.size=64"] }
        if name.hasPrefix("squad") {
            return ["train.schedule=linear", "data.validation.first-per-class=5", "data.text.length=256"]
        }
        if name.hasPrefix("sst2") { return ["train.schedule=linear", "data.validation.first-per-class=5"] }
        return name.hasPrefix("shakespeare") ? ["train.schedule=constant"] : []
    }

    func testEveryRecipeRuns() throws {
        let all = Set(try FileManager.default.contentsOfDirectory(atPath: recipes).map { $0.dropLast(".yaml".count) })
        let quickstart = ["pre-training", "from-scratch", "feature-extraction", "fine-tuning"]
        let hasFashion = FileManager.default.fileExists(atPath: "/usr/share/datasets/fashion-mnist")
        for name in all.sorted() where !name.hasPrefix("quickstart-") && !name.contains("minilm") {
            try train(String(name), settings(String(name)))
        }
        XCTAssertEqual(all.filter { $0.hasPrefix("quickstart-") }.count, quickstart.count)
        guard hasFashion else { throw XCTSkip("the package dataset-fashion-mnist is not installed") }
        // In this order: two of them start from the weights of the first.
        for name in quickstart {
            let warmUp = name == "pre-training" ? ["train.schedule.warm-up.steps=1"] : []
            try train("quickstart-\(name)", ["data.validation.first-per-class=5"] + warmUp)
        }
    }

    func testRecipesWithMiniLMRun() throws {
        _ = try miniLM()
        let names = try FileManager.default.contentsOfDirectory(atPath: recipes).filter { $0.contains("minilm") }
        XCTAssertGreaterThanOrEqual(names.count, 3)
        for name in names.sorted() {
            let stem = String(name.dropLast(".yaml".count))
            try train(stem, settings(stem))
        }
    }
}
