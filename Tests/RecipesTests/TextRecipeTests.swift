import Datasets
import Recipes
import XCTest

/// `data.text`, and the numbers of a network that has no weights.
final class TextRecipeTests: XCTestCase {
    private func recipe(_ data: String, model: String = "{weights: w}", _ overrides: String...) throws -> Recipe {
        try Recipe(
            yaml: "model: \(model)\ntrain: {epochs: 1}\ndata:\n  train: a.tsv\n\(data)", file: "r.yaml",
            overrides: overrides)
    }

    private func message(_ data: String, model: String = "{weights: w}") -> String {
        do {
            _ = try recipe(data, model: model)
            return "no error"
        } catch {
            return "\(error)"
        }
    }

    func testKeysAndDefaults() throws {
        XCTAssertEqual(try recipe("").data.text, Recipe.Data.Text())
        let text = try recipe(
            "  text: {tokenizer: t, length: 64, offsets: sequential, columns: {text: 2, pair: b, label: c}}"
        ).data.text
        XCTAssertEqual(text.tokenizer, "t")
        XCTAssertEqual(text.length, 64)
        XCTAssertEqual(text.offsets, .sequential)
        XCTAssertEqual(text.columns, TextColumns(text: "2", pair: "b", label: "c"))
        XCTAssertEqual(try recipe("  text: {held-out: 0.1}").data.text.heldOut, 0.1)
        XCTAssertEqual(try recipe("  text: {stride: 0}").data.text.stride, 0)
        let sized = try recipe("", model: "{architecture: gpt2, sizes: {layers: 2, padding: 0}, dropout: 0}").model
        XCTAssertEqual(sized.sizes, ["layers": 2, "padding": 0])
        XCTAssertEqual(sized.dropout, 0)
    }

    func testPrintingReadsBack() throws {
        for (data, model) in [
            (
                "  text: {tokenizer: bytes, length: 64, held-out: 0.25}",
                "{architecture: gpt2, sizes: {layers: 2, width: 8}}"
            ),
            ("  text: {columns: {label: '3'}}", "{weights: w, dropout: 0.2}"),
            ("  text: {length: 384, stride: 128}", "{weights: w, variant: question-answering, head: new}"),
        ] {
            let whole = try recipe(data, model: model)
            XCTAssertEqual(try Recipe(yaml: whole.yaml, file: "r.yaml"), whole)
        }
        XCTAssertNotEqual(
            try recipe("  text: {length: 64}").fingerprint, try recipe("  text: {length: 65}").fingerprint)
    }

    func testMistakes() {
        XCTAssertEqual(
            message("  text: {lenght: 3}"), "r.yaml:5: unknown key 'data.text.lenght'; did you mean 'length'?")
        XCTAssertEqual(message("  text: {length: 0}"), "r.yaml:5: 'data.text.length' is 0; give 1 or more")
        XCTAssertEqual(
            message("  text: {held-out: 1}"), "r.yaml:5: 'data.text.held-out' is 1; give a number above 0 and below 1")
        XCTAssertEqual(
            message("  text: {held-out: 0.1}\n  validation: b.tsv"),
            "r.yaml:6: 'data.validation' is b.tsv, but 'data.text.held-out' is given too; choose one of the two")
        XCTAssertEqual(
            message("  text: {length: 3}\n  augment: {flip: true}"),
            "r.yaml:6: 'data.augment' is given, but 'data.text' is given too; remove one of the two")
        XCTAssertEqual(
            message("", model: "{weights: w, sizes: {layers: 2}}"),
            "r.yaml:1: 'model.sizes' is given, but model.weights say what they are; give them with "
                + "model.architecture and without weights")
        XCTAssertEqual(
            message("", model: "{architecture: gpt2, dropout: 1}"),
            "r.yaml:1: 'model.dropout' is 1; give a number from 0 to below 1")
    }

    func testTextsAreFoundInFolders() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        for (name, text) in [("train.tsv", "a\tx\nb\ty\n"), ("dev.tsv", "c\ty\n"), ("README.md", "")] {
            try Data(text.utf8).write(to: folder.appendingPathComponent(name))
        }
        let data = try recipe("  validation: {path: \"\(folder.path)\", split: test}", "data.train=\(folder.path)").data
        let training = try data.openTraining(.texts)
        XCTAssertEqual(training.source, "\(folder.path)/train.tsv")
        let validation = try XCTUnwrap(
            try data.open(.texts, classNames: ["x", "y"], weights: "").validation)
        XCTAssertEqual(validation.source, "\(folder.path)/dev.tsv")
        XCTAssertEqual(validation.labels, [1])
    }
}
