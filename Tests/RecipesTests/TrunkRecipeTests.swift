import Recipes
import Training
import XCTest

/// `trunk:` and `model.weights: random`.
final class TrunkRecipeTests: XCTestCase {
    private func recipe(_ overrides: String..., weights: String = "w.h5") throws -> Recipe {
        let yaml = """
            model: {weights: \(weights), architecture: resnet18, head: new}
            data: {train: images}
            train: {epochs: 2}
            """
        return try Recipe(yaml: yaml, file: "a.yaml", overrides: overrides)
    }

    private func message(_ overrides: String...) -> String {
        let yaml = "model: {weights: w}\ndata: {train: i}\ntrain: {epochs: 2}"
        do {
            _ = try Recipe(yaml: yaml, file: "a.yaml", overrides: overrides)
            return "no error"
        } catch {
            return "\(error)"
        }
    }

    func testDefaultsAndFolders() throws {
        let plain = try recipe()
        XCTAssertEqual(plain.trunk, Recipe.Trunk())
        XCTAssertEqual(plain.trunkSettings.cache, .automatic(folder: "runs/trunk-cache"))
        XCTAssertEqual(plain.trunkSettings.maximumBytes, 20_000_000_000)
        for (output, folder) in [("x", "trunk-cache"), ("/a/b/c", "/a/b/trunk-cache"), ("a/b/", "a/trunk-cache")] {
            XCTAssertEqual(try recipe("run.output=\(output)").trunkSettings.cache, .automatic(folder: folder), output)
        }
        XCTAssertEqual(try recipe("trunk.cache=off").trunkSettings.cache, .off)
        XCTAssertEqual(try recipe("trunk.cache=/x/y").trunkSettings.cache, .required(folder: "/x/y"))
        XCTAssertFalse(try recipe("trunk.compile=false").trunkSettings.compiles)
        XCTAssertEqual(try recipe("trunk.variants=3", "data.augment.flip=true").trunkSettings.variants, 3)
    }

    func testSizes() throws {
        for (text, bytes, printed) in [
            ("20 GB", 20_000_000_000, "20 GB"), ("1.5GB", 1_500_000_000, "1500 MB"), ("3 kB", 3_000, "3 kB"),
            ("2 TB", 2_000_000_000_000, "2 TB"), ("0.0005 MB", 500, "0.5 kB"),
        ] {
            let recipe = try recipe("trunk.max-size=\(text)")
            XCTAssertEqual(recipe.trunk.maximumBytes, bytes, text)
            XCTAssertTrue(recipe.yaml.contains("max-size: \(printed)\n"), recipe.yaml)
            XCTAssertEqual(try Recipe(yaml: recipe.yaml, file: "a.yaml"), recipe)
        }
        for text in ["20", "GB", "-1 GB", "1e30 GB", "20 Gb", "nan GB"] {
            XCTAssertEqual(
                message("trunk.max-size=\(text)"),
                "--set trunk.max-size=\(text): 'trunk.max-size' is \(text); give a number and kB, MB, GB or TB, such as 20 GB"
            )
        }
    }

    func testContradictions() {
        XCTAssertEqual(
            message("trunk.variants=3", "data.augment.flip=true", "trunk.cache=off"),
            "--set trunk.variants=3: 'trunk.variants' is 3, but nothing is kept; remove it or let the trunk be compiled "
                + "and cached")
        XCTAssertEqual(
            message("trunk.cache=/x", "trunk.compile=false"),
            "--set trunk.cache=/x: 'trunk.cache' is /x, but 'trunk.compile' is false; remove one of the two")
        XCTAssertEqual(
            message("trunk.max-sise=3"),
            "--set trunk.max-sise=3: unknown key 'trunk.max-sise'; did you mean 'max-size'?")
    }

    /// Where outputs lie changes no result; how they are computed does.
    func testFingerprint() throws {
        let plain = try recipe()
        XCTAssertEqual(try recipe("trunk.cache=/x", "trunk.max-size=1 GB").fingerprint, plain.fingerprint)
        XCTAssertNotEqual(try recipe("trunk.compile=false").fingerprint, plain.fingerprint)
    }

    /// Random weights are transferred only where the recipe says so in words.
    func testRandomWeights() throws {
        let random = try recipe("train.transfer=feature-extraction", weights: "random")
        XCTAssertTrue(random.model.takesRandomWeights)
        XCTAssertNil(random.model.weights)
        XCTAssertEqual(try Recipe(yaml: random.yaml, file: "a.yaml").model, random.model)
        XCTAssertThrowsError(try recipe("train.transfer=feature-extraction", weights: "none"))
    }
}
