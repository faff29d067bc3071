import Foundation
import Recipes
import XCTest

/// docs/recipes.md against what the recipe reader accepts.
final class RecipeReferenceTests: XCTestCase {
    private struct Row {
        let key: String
        let defaultValue: String
    }

    /// A valid recipe in which every section can be opened; the second lets SGD's keys be set.
    private static let bases = ["adam", "sgd"].map { rule in
        """
        model: {architecture: resnet20}
        data: {train: a, validation: b}
        train: {epochs: 100, optimizer: \(rule)}
        """
    }

    private func recipe(_ overrides: String..., base: Int = 0) throws -> Recipe {
        try Recipe(yaml: Self.bases[base], file: "recipe.yaml", overrides: overrides)
    }

    /// The keys that a section takes; nil where `path` is no section.
    private func acceptedKeys(_ path: String) -> [String]? {
        let isList = path.hasSuffix("[]")
        let stem = isList ? String(path.dropLast(2)) : path
        let override: String
        switch (isList, stem) {
        case (false, ""): override = "unknown=1"
        case (false, _): override = "\(stem).unknown=1"
        case (true, _): override = "\(stem)=[{unknown: 1}]"
        }
        do {
            _ = try recipe(override)
            XCTFail("\(path) takes any key")
        } catch RecipeError.unknownKey(_, let key, _, let known) where key.hasSuffix("unknown") {
            return known
        } catch {}
        return nil
    }

    /// Every section of a recipe, found by asking which keys are sections themselves.
    private func acceptedSections() -> [String: [String]] {
        var sections: [String: [String]] = [:]
        var open = [""]
        while let path = open.popLast() {
            guard let keys = acceptedKeys(path) else { continue }
            sections[path] = keys
            // The entries of `phases` are like `train`.
            if path == "phases[]" { continue }
            for key in keys {
                let name = path.isEmpty ? key : "\(path.replacingOccurrences(of: "[]", with: "[0]")).\(key)"
                open += [name, name + "[]"]
            }
        }
        return sections
    }

    /// The tables below `## Reference`, by the sections that their heading names.
    private func documented() throws -> [String: [Row]] {
        var tables: [String: [Row]] = [:]
        var paths: [String] = []
        for line in try Documents.text("docs/recipes.md").components(separatedBy: "\n") {
            if line.hasPrefix("### ") {
                paths = line == "### The whole file" ? [""] : line.matches(of: #/`([^`]+)`/#).map { String($0.1) }
            } else if line.hasPrefix("| `"), !paths.isEmpty {
                let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
                let row = Row(key: cells[0].trimmingCharacters(in: ["`"]), defaultValue: cells[1])
                for path in paths { tables[path, default: []].append(row) }
            }
        }
        return tables
    }

    func testEveryKeyIsDocumentedAndNoOther() throws {
        let (accepted, tables) = (acceptedSections(), try documented())
        XCTAssertGreaterThan(accepted.count, 12)
        XCTAssertEqual(
            accepted.keys.sorted(), tables.keys.sorted(),
            "the sections of a recipe, and the headings of docs/recipes.md")
        for (path, keys) in accepted {
            XCTAssertEqual(
                keys.sorted(), (tables[path] ?? []).map(\.key).sorted(), "keys of '\(path)' in docs/recipes.md")
        }
    }

    /// Setting a key to its documented default changes nothing.
    func testDefaultsAreThoseOfTheRecipe() throws {
        var checked = 0
        for (path, rows) in try documented() where !path.hasSuffix("[]") {
            for row in rows where row.defaultValue.hasPrefix("`") {
                let value = row.defaultValue.trimmingCharacters(in: ["`"])
                let name = path.isEmpty ? row.key : "\(path).\(row.key)"
                let isDefault = Self.bases.indices.contains { base in
                    guard let changed = try? recipe("\(name)=\(value)", base: base),
                        let unchanged = try? recipe(base: base)
                    else { return false }
                    return changed == unchanged
                }
                XCTAssertTrue(isDefault, "docs/recipes.md: \(value) is not the default of \(name)")
                checked += 1
            }
        }
        XCTAssertGreaterThan(checked, 15)
    }

    /// Recipes that documents quote are recipes; parts of one are read as part of a whole one.
    func testQuotedRecipesAreValid() throws {
        let blocks = try Documents.blocks("yaml")
        XCTAssertGreaterThan(blocks.count, 2)
        for block in blocks {
            XCTAssertNoThrow(try Recipe(yaml: block.lines.joined(separator: "\n"), file: block.place))
        }
    }

    func testRecipesSayHowTheyAreRun() throws {
        let folder = Documents.root.appendingPathComponent("launch/recipes").path
        let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".yaml") }
        XCTAssertGreaterThanOrEqual(names.count, 8)
        for name in names {
            let recipe = try Recipe.load("\(folder)/\(name)")
            XCTAssertTrue(
                recipe.purpose.contains { $0.hasPrefix("Command: launch/") },
                "launch/recipes/\(name): its opening comment does not name the command that runs it")
        }
    }
}
