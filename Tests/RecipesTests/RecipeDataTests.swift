import Archives
import Datasets
import Models
import Recipes
import XCTest

final class RecipeDataTests: XCTestCase {
    private let weights = Preprocessing(
        resize: 256, inputSize: 224, mean: [0.5, 0.4, 0.3], standardDeviation: [0.2, 0.2, 0.2])

    private func data(_ yaml: String) throws -> Recipe.Data {
        try Recipe(
            yaml: "model: {weights: w}\ntrain: {epochs: 1}\ndata:\n  train: images\n" + yaml, file: "r.yaml"
        ).data
    }

    func testPreprocessingComesFromTheWeightsUnlessTheRecipeSaysOtherwise() throws {
        XCTAssertEqual(try data("").preprocessing(weights), weights)
        let smaller = try data("  image: {size: 112}").preprocessing(weights)
        XCTAssertEqual(smaller.inputSize, 112)
        XCTAssertEqual(smaller.resize, 128)
        let own = try data("  image: {resize: 300, mean: [0.1], standard-deviation: [2]}").preprocessing(weights)
        XCTAssertEqual(own.resize, 300)
        XCTAssertEqual(own.mean, [0.1, 0.1, 0.1])
        XCTAssertEqual(own.standardDeviation, [2, 2, 2])
    }

    func testOverridesThatDoNotFitTheWeightsAreRefused() throws {
        func refusal(_ image: String, _ weights: Preprocessing) -> String {
            do {
                return "\(try data("  image: \(image)").preprocessing(weights))"
            } catch {
                return "\(error)"
            }
        }
        XCTAssertEqual(
            refusal("{resize: 128}", weights),
            "recipe: 'data.image.resize' is 128, but the crop of the weights is 224; "
                + "resize to at least that, or give data.image.size")
        let grey = Preprocessing(inputSize: 28, mean: [0.5], standardDeviation: [0.2], channelOrder: .grey)
        XCTAssertEqual(
            refusal("{mean: [0.1, 0.2, 0.3], standard-deviation: [1, 1, 1]}", grey),
            "recipe: 'data.image.mean' is [0.1, 0.2, 0.3], but the weights take grey images; give one number")
    }

    /// Validation never takes what was trained on.
    func testValidationOfTheSamePathTakesTheTestPartOrTheRest() throws {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: root) }
        for folder in ["train/a", "train/b", "test/a", "test/b"] {
            let url = root.appendingPathComponent(folder)
            try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
            for name in ["1.png", "2.png", "3.png"] { try Data("x".utf8).write(to: url.appendingPathComponent(name)) }
        }
        func validation(_ path: String, train: String = "", _ selection: String) throws -> String? {
            let recipe = try Recipe(
                yaml: """
                    model: {weights: w}
                    train: {epochs: 1}
                    data: {train: {path: "\(path)"\(train)}, validation: {\(selection)}}
                    """, file: "r.yaml")
            return try recipe.data.openValidation()?.name(at: 0)
        }
        let path = root.path
        XCTAssertEqual(try validation(path, "first-per-class: 1"), "\(path)/test/a/1.png")
        XCTAssertEqual(
            try validation(path, train: ", first-per-class: 1", "skip-per-class: 1"), "\(path)/train/a/2.png")
        // No parts: all of it is trained on.
        XCTAssertThrowsError(try validation("\(path)/train", "first-per-class: 1")) {
            XCTAssertEqual(
                "\($0)",
                "recipe: 'data.validation' is \(path)/train, but data.train takes all images of \(path)/train; "
                    + "give another path or split, or let data.train select, such as with first-per-class")
        }
        XCTAssertThrowsError(try validation(path, "path: \"\(path)/train/.\", first-per-class: 1"))
        XCTAssertThrowsError(try validation(path, "split: train, first-per-class: 1")) {
            XCTAssertTrue("\($0)".hasPrefix("r.yaml:3: 'data.validation' is given, but these are the samples"), "\($0)")
        }
    }

    func testAugmentationBecomesSteps() throws {
        XCTAssertEqual(try data("").trainingTransform(weights), Transform.evaluation(weights))
        let crop = try data("  augment: {random-resized-crop: true, flip: true}").trainingTransform(weights)
        XCTAssertEqual(
            crop.steps,
            [
                .randomResizedCrop(
                    width: 224, height: 224, minimumArea: 0.08, minimumAspect: 0.75, maximumAspect: 4.0 / 3, .bilinear),
                .randomFlip(),
            ])
        let padded = try data("  augment: {crop-padding: 4, jitter: {hue: 0.1}}").trainingTransform(weights)
        XCTAssertEqual(
            padded.steps.suffix(2),
            [.randomCrop(width: 224, height: 224, padding: 4), .colorJitter(ColorJitter(hue: 0.1))])
    }

    func testSelectionsOfTheSignLanguageRun() throws {
        let data = try data("  validation: {skip-per-class: 80}\n  broken-files: skip")
        XCTAssertEqual(data.validation?.selection().skipFirstPerClass, 80)
        XCTAssertEqual(data.brokenFiles, .skip)
        let test = try self.data("  validation: {split: test}")
        XCTAssertEqual(test.validation?.path, "images")
        XCTAssertEqual(test.validation?.split, .test)
    }

    func testOpensTheDigitsAsTheRecipeSelectsThem() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let folder = ProcessInfo.processInfo.environment["GRAFT_DATA"] ?? root.path + "/../shared/data"
        let digits = folder + "/sign-language-digits"
        guard FileManager.default.fileExists(atPath: digits) else { throw XCTSkip("no data at \(digits)") }
        let recipe = try Recipe.load(
            root.path + "/launch/recipes/sign-language-digits.yaml", overrides: ["data.train.path=\(digits)"])
        let train = try recipe.data.openTraining()
        let validation = try recipe.data.openValidation(classNames: train.classNames)
        XCTAssertEqual(train.count, 800)
        XCTAssertEqual(validation?.count, 200)
        XCTAssertEqual(train.classCounts, [Int](repeating: 80, count: 10))
        XCTAssertEqual(validation?.classNames, train.classNames)
    }
}
