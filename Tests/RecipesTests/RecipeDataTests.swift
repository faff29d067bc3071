import Archives
import Datasets
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
        XCTAssertEqual(data.brokenFilePolicy, .skip)
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
