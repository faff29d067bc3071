import Foundation
import XCTest

/// all-MiniLM-L6-v2 on real sentences, by the recipe in launch/recipes.
final class RealTextTests: CommandTestCase {
    /// Ninety-six steps of fine-tuning on 384 sentences judge 150 others much better than chance; what was trained
    /// answers alone.
    func testMiniLMLearnsSentiments() throws {
        let (model, sst2) = (try miniLM(), try data("sst2"))
        let recipe = Self.packageRoot.appendingPathComponent("launch/recipes/sst2-minilm.yaml").path
        let settings = [
            "model.weights=\(model)", "data.train.path=\(sst2)/train.tsv", "data.validation.path=\(sst2)/dev.tsv",
            "data.train.per-class=192", "data.validation.first-per-class=75", "train.epochs=4", "train.batch=16",
            "train.schedule={name: linear, warm-up: {steps: 10}}",
        ]
        let trained = try graft(
            ["train", recipe, "--output", "run"] + settings.flatMap { ["--set", $0] }, limit: 300)
        XCTAssertEqual(trained.code, 0, trained.errors)
        let summary = try XCTUnwrap(
            JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: "\(folder)/run/summary.json")))
                as? [String: Any])
        let last = try XCTUnwrap(summary["last"] as? [String: Any])
        XCTAssertEqual(last["samples"] as? Int, 150)
        XCTAssertGreaterThan(try XCTUnwrap(last["top1"] as? Double), 0.75)

        let said = try graft(
            "predict", "--weights", "run/weights.h5", "--top", "1", "a wonderful , moving and very funny film",
            "a dull , pointless and tiresome mess")
        XCTAssertEqual(said.code, 0, said.errors)
        let answers = said.output.components(separatedBy: "\n").filter { $0.hasPrefix("  ") }
        XCTAssertEqual(answers.map { $0.hasSuffix("  1") }, [true, false], said.output)
    }
}
