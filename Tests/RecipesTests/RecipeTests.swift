import Recipes
import Training
import XCTest

final class RecipeTests: XCTestCase {
    private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    private let small = """
        model: {weights: w.h5, head: new}
        data: {train: images}
        train: {epochs: 2}
        """

    private func recipe(_ yaml: String, _ overrides: [String] = []) throws -> Recipe {
        try Recipe(yaml: yaml, file: "folder/small.yaml", overrides: overrides)
    }

    func testEveryRecipeOfTheProjectDecodes() throws {
        let folder = root.appendingPathComponent("launch/recipes").path
        let files = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".yaml") }
        XCTAssertGreaterThanOrEqual(files.count, 4, "recipes found: \(files)")
        for file in files {
            let recipe = try Recipe.load("\(folder)/\(file)")
            XCTAssertGreaterThanOrEqual(recipe.purpose.count, 3, "\(file) opens with purpose and command")
            XCTAssertTrue(recipe.purpose.contains { $0.hasPrefix("Command:") }, file)
            XCTAssertFalse(recipe.plan().phases.isEmpty, file)
            XCTAssertEqual(try Recipe(yaml: recipe.yaml, file: file), recipe, file)
        }
    }

    func testDefaults() throws {
        let recipe = try recipe(small)
        XCTAssertEqual(recipe.name, "small")
        XCTAssertEqual(recipe.outputDirectory, "runs/small")
        XCTAssertEqual(recipe.model, Recipe.Model(weights: "w.h5", head: .new))
        let phase = recipe.phases[0]
        XCTAssertEqual(phase.technique, .fineTuning)
        XCTAssertEqual(phase.batch, 32)
        XCTAssertEqual(phase.optimizer, Recipe.Optimizer(rule: .adam))
        XCTAssertEqual(recipe.run, Recipe.Run())
        XCTAssertEqual(
            try self.recipe(
                "model: {architecture: resnet18}\n" + small.split(separator: "\n")[1...].joined(separator: "\n")
            ).phases[0].technique, .fromScratch)
    }

    func testSignLanguageDigits() throws {
        let path = root.appendingPathComponent("launch/recipes/sign-language-digits.yaml").path
        let recipe = try Recipe.load(path)
        XCTAssertEqual(recipe.data.train.firstPerClass, 80)
        XCTAssertEqual(recipe.data.validation?.skipPerClass, 80)
        XCTAssertEqual(recipe.data.validation?.path, recipe.data.train.path)
        XCTAssertEqual(recipe.data.image.size, 128)
        XCTAssertEqual(recipe.data.augmentation, Recipe.Data.Augmentation())
        let plan = recipe.plan()
        XCTAssertEqual(plan.phases.count, 1)
        XCTAssertEqual(plan.phases[0].totalSteps(samples: 800), 250)
        XCTAssertEqual(plan.phases[0].turns[0].optimizer.learningRate, 5e-4)
        XCTAssertEqual(plan.phases[0].turns[0].optimizer.rule, .adam)
        XCTAssertEqual(plan.phases[0].turns[0].trainable, .everything)
    }

    /// Sets everything there is; read, printed and read again it stays the same.
    func testRoundTripOfEverything() throws {
        let yaml = """
            # Purpose of all this.
            #
            # Command: none
            name: "all: of it"
            model: {architecture: mobilenet-v1, variant: keras, width: 0.25, weights: "w #1.h5", head: keep}
            data:
              train: {path: a b, split: train, skip-per-class: 3, per-class: 20, seed: 7}
              validation: {path: "null", fraction: 0.5, seed: 1}
              classes: [no, "1", "a,b", "*x", 'quote "d"', "-", "tab\\there"]
              image: {size: 96, resize: 110, mean: [0.1, 0.2, 0.3], standard-deviation: [1, 2, 3]}
              augment:
                random-resized-crop: {minimum-area: 0.2, maximum-aspect: 2}
                flip: true
                jitter: {brightness: 0.1, hue: 0.5}
              sharding: scatter
              broken-files: skip
              prefetch: 9
            train:
              batch: 64
              optimizer: {name: adamw, learning-rate: 1e-5, betas: [0.8, 0.95], epsilon: 1e-6, weight-decay: 0.05}
            phases:
              - name: one
                steps: 100
                freeze: ["*"]
                learn: [head, "*.bn*"]
                accumulate: 4
                recompute: true
                clip-norm: 0.5
                label-smoothing: 0.1
                batch-norm: synchronised
                schedule: {name: cosine, end: 0.01, warm-up: {steps: 10, start: 0}}
                groups:
                  - {match: [head], learning-rate-factor: 10, weight-decay: 0}
                  - {match: "*.bn*", learning-rate-factor: 0.5}
              - name: two
                epochs: 3
                rules: [{freeze: "*"}, {learn: layer4}, {freeze: "*.bn*"}]
                optimizer: {name: sgd, momentum: 0.9, nesterov: true, decay-normalisation: false}
                schedule: {name: step, milestones: [1, 2], factor: 0.3}
              - name: three
                epochs: 1
                transfer: gradual-unfreezing
                unfreeze: [head, layer4]
                schedule: {name: step, every: 1}
              - name: four
                steps: 2
                transfer: feature-extraction
                schedule: linear
            run: {output: out, seed: 5, save-every: {minutes: 2.5}, validate-every: {steps: 50}, keep: 3, log-every: 1, threads: 2}
            """
        let first = try recipe(yaml)
        let again = try Recipe(yaml: first.yaml, file: "elsewhere.yaml")
        XCTAssertEqual(again, first)
        XCTAssertEqual(again.yaml, first.yaml)
        XCTAssertEqual(again.fingerprint, first.fingerprint)
        XCTAssertEqual(first.purpose, ["Purpose of all this.", "", "Command: none"])
        XCTAssertEqual(first.data.classes[0], "no", "words stay words")
        XCTAssertEqual(first.data.classes.last, "tab\there")
        XCTAssertEqual(first.phases[0].optimizer.learningRate, 1e-5, "inherited from train")
        XCTAssertEqual(first.phases[0].optimizer.weightDecay, 0.05)
        XCTAssertEqual(first.phases[1].optimizer.learningRate, 1e-3, "another optimizer stands alone")
        XCTAssertEqual(first.phases.map(\.batch), [64, 64, 64, 64])
        XCTAssertEqual(first.phases[1].rules, [.freeze("*"), .learn("layer4"), .freeze("*.bn*")])
        let small = try recipe(small)
        XCTAssertEqual(try recipe(small.yaml), small)
    }

    func testOverrides() throws {
        let changed = try recipe(
            small,
            [
                "train.batch=16", "train.steps=40", "data.train.first-per-class=3", "train.optimizer=sgd",
                "train.optimizer.momentum=0.5", "data.classes=[a, b]", "run.save-every.minutes=3",
                "data.augment.crop-padding=4", "run.seed=9",
            ])
        XCTAssertEqual(changed.phases[0].batch, 16)
        XCTAssertEqual(changed.phases[0].length, .steps(40))
        XCTAssertEqual(changed.data.train.path, "images")
        XCTAssertEqual(changed.data.train.firstPerClass, 3)
        XCTAssertEqual(changed.phases[0].optimizer.rule, .sgd)
        XCTAssertEqual(changed.phases[0].optimizer.momentum, 0.5)
        XCTAssertEqual(changed.data.classes, ["a", "b"])
        XCTAssertEqual(changed.run.saveEvery, .minutes(3))
        XCTAssertEqual(changed.data.augmentation.cropPadding, 4)
        XCTAssertEqual(changed.run.seed, 9)
        let bare = try recipe(small, ["model.weights=none", "model.architecture=resnet18", "data.validation=null"])
        XCTAssertNil(bare.model.weights)
        XCTAssertEqual(bare.phases[0].technique, .fromScratch)
    }

    func testOverridesOfPhases() throws {
        let yaml = """
            model: {weights: w}
            data: {train: i}
            train: {batch: 8}
            phases:
              - {name: head, transfer: feature-extraction, steps: 5, batch: 4}
              - {name: all, epochs: 2}
            """
        let changed = try recipe(
            yaml, ["phases.head.optimizer.learning-rate=0.5", "phases[1].epochs=7", "train.accumulate=2"])
        XCTAssertEqual(changed.phases[0].optimizer.learningRate, 0.5)
        XCTAssertEqual(changed.phases[1].length, .epochs(7))
        XCTAssertEqual(changed.phases.map(\.accumulate), [2, 2])
        XCTAssertEqual(
            try recipe(yaml, ["train.batch=2"]).phases.map(\.batch), [2, 2], "reaches phases that say otherwise")
        XCTAssertEqual(try recipe(yaml, ["train.steps=1"]).phases.map(\.length), [.steps(1), .steps(1)])
        XCTAssertThrowsError(try recipe(yaml, ["phases.tail.batch=1"])) {
            XCTAssertEqual("\($0)", "--set phases.tail.batch=1: there is no element 'tail'; choose from head, all")
        }
    }

    func testFingerprintIgnoresOnlyWhatIsHarmless() throws {
        let base = try recipe(small)
        for option in [
            "name=x", "run.output=o", "run.save-every={steps: 3}", "run.validate-every={steps: 3}", "run.keep=9",
            "run.log-every=3", "data.prefetch=2", "data.sharding=scatter", "train.recompute=true",
        ] {
            let other = try recipe(small, [option])
            XCTAssertNotEqual(other, base, option)
            XCTAssertEqual(other.fingerprint, base.fingerprint, option)
            XCTAssertTrue(other.differences(from: base).isEmpty, option)
        }
        for option in [
            "run.seed=1", "run.threads=1", "train.batch=31", "data.train=others", "train.clip-norm=1",
            "data.image.size=8",
        ] {
            XCTAssertNotEqual(try recipe(small, [option]).fingerprint, base.fingerprint, option)
        }
        let difference = try recipe(small, ["train.batch=31"]).differences(from: base)
        XCTAssertEqual(difference.map(\.key), ["phases[0].batch"])
        XCTAssertEqual(difference.first?.value, "31")
        XCTAssertEqual(difference.first?.other, "32")
        XCTAssertEqual(base.fingerprint.count, 64)
    }

    func testTechniquesBecomePhases() throws {
        let start = "model: {weights: w, head: new}\ndata: {train: i}\n"
        let gradual = try recipe(
            start + """
                train:
                  transfer: gradual-unfreezing
                  unfreeze: [head, layer4, layer3]
                  epochs: 3
                  groups: [{match: layer3, learning-rate-factor: 0.1}]
                """
        ).plan().phases
        XCTAssertEqual(gradual.map(\.name), ["train-1", "train-2", "train-3"])
        XCTAssertEqual(gradual[0].turns[0].trainable, .headOnly)
        XCTAssertEqual(
            gradual[2].turns[0].trainable.rules, [.freeze("*"), .learn("head"), .learn("layer4"), .learn("layer3")])
        XCTAssertEqual(gradual.map { $0.turns[0].optimizer.groups.count }, [0, 0, 1])
        let grouped = try recipe(
            start + """
                train:
                  transfer: gradual-unfreezing
                  unfreeze: [head, layer4, layer3]
                  epochs: 3
                  groups: [{match: [layer4, layer3.0], learning-rate-factor: 0.1}, {match: head, weight-decay: 0}]
                """
        ).plan().phases
        XCTAssertEqual(
            grouped.map { $0.turns[0].optimizer.groups.map(\.patterns) },
            [[["head"]], [["layer4"], ["head"]], [["layer4", "layer3.0"], ["head"]]])
        let features = try recipe(start + "train: {transfer: feature-extraction, epochs: 1}").plan()
        XCTAssertEqual(features.phases.map { $0.turns[0].trainable }, [.headOnly])
        let partial = try recipe(start + "train: {freeze: [\"*\"], learn: [head, layer4.*], epochs: 1}").plan()
        XCTAssertEqual(
            partial.phases[0].turns[0].trainable.rules, [.freeze("*"), .learn("head"), .learn("layer4.*")])
    }
}
