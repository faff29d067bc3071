import Recipes
import XCTest

/// Every mistake is refused with file and line (or the override), key, value and remedy.
final class RecipeErrorTests: XCTestCase {
    /// A recipe of which single lines can be replaced: model on 1-3, data on 4-8, train on 9-15.
    private let good = """
        model:
          weights: w.h5
          head: new
        data:
          train: images
          validation: {path: others}
          image:
            size: 128
        train:
          epochs: 10
          batch: 32
          optimizer:
            name: sgd
            momentum: 0.9
          schedule: constant
        """

    private func message(_ yaml: String, _ overrides: [String] = []) -> String {
        do {
            _ = try Recipe(yaml: yaml, file: "a.yaml", overrides: overrides)
            return "no error"
        } catch let error as RecipeError {
            XCTAssertEqual(error.exitCode.rawValue, 2)
            return "\(error)"
        } catch {
            return "another error: \(error)"
        }
    }

    /// The message for `good` with one line replaced by one or more.
    private func message(line: Int, _ text: String) -> String {
        var lines = good.components(separatedBy: "\n")
        lines[line - 1] = text
        return message(lines.joined(separator: "\n"))
    }

    func testUnknownKeys() {
        XCTAssertEqual(message(good), "no error")
        for (line, text, expected) in [
            (1, "modle:", "a.yaml:1: unknown key 'modle'; did you mean 'model'?"),
            (8, "    sise: 128", "a.yaml:8: unknown key 'data.image.sise'; did you mean 'size'?"),
            (
                11, "  batch-size: 32",
                "a.yaml:11: unknown key 'train.batch-size'; did you mean 'batch-norm' or 'batch'?"
            ),
            (
                14, "    lr: 0.9",
                "a.yaml:14: unknown key 'train.optimizer.lr'; choose from name, learning-rate, momentum, nesterov, "
                    + "betas, epsilon, weight-decay, decay-normalisation"
            ),
            (15, "  shedule: cosine", "a.yaml:15: unknown key 'train.shedule'; did you mean 'schedule'?"),
        ] {
            XCTAssertEqual(message(line: line, text), expected)
        }
    }

    func testWrongTypesAndValues() {
        for (line, text, expected) in [
            (8, "    size: 0", "a.yaml:8: 'data.image.size' is 0; give 1 or more"),
            (8, "    size: 12.5", "a.yaml:8: 'data.image.size' takes a whole number, not '12.5'"),
            (10, "  epochs: ten", "a.yaml:10: 'train.epochs' takes a whole number, not 'ten'"),
            (10, "  epochs: -1", "a.yaml:10: 'train.epochs' is -1; give 1 or more"),
            (11, "  batch: [32]", "a.yaml:11: 'train.batch' takes a whole number, not a list"),
            (11, "  label-smoothing: 1", "a.yaml:11: 'train.label-smoothing' is 1; give a number from 0 to below 1"),
            (11, "  clip-norm: nan", "a.yaml:11: 'train.clip-norm' takes a number, not 'nan'"),
            (13, "    name: sdg", "a.yaml:13: 'train.optimizer.name' cannot be 'sdg'; did you mean 'sgd'?"),
            (14, "    momentum: 1.0", "a.yaml:14: 'train.optimizer.momentum' is 1.0; give a number from 0 to below 1"),
            (14, "    learning-rate: 0", "a.yaml:14: 'train.optimizer.learning-rate' is 0; give a number above 0"),
            (3, "  head: removed", "a.yaml:3: 'model.head' cannot be 'removed'; choose from keep, new"),
            (3, "  width: 0", "a.yaml:3: 'model.width' is 0; give a number above 0, such as 0.25"),
            (
                5, "  train: {path: i, fraction: 1.5}",
                "a.yaml:5: 'data.train.fraction' is 1.5; give a number above 0, up to 1"
            ),
            (5, "  train: {path: i, per-class: 0}", "a.yaml:5: 'data.train.per-class' is 0; give 1 or more"),
            (7, "  augment: {flip: maybe}", "a.yaml:7: 'data.augment.flip' takes true or false, not 'maybe'"),
            (15, "  freeze: []", "a.yaml:15: 'train.freeze' is an empty list; name at least one or remove the key"),
        ] {
            let text = line == 7 ? text + "\n  image:" : text
            XCTAssertEqual(message(line: line, text), expected)
        }
    }

    func testImpossibleCombinations() {
        for (line, text, expected) in [
            (11, "  steps: 5", "a.yaml:11: 'train.steps' is 5, but 'train.epochs' is given too; choose one of the two"),
            (
                13, "    name: adam",
                "a.yaml:14: 'train.optimizer.momentum' is 0.9, but the optimizer is adam; remove it or use sgd"
            ),
            (
                14, "    nesterov: true",
                "a.yaml:14: 'train.optimizer.nesterov' is true, but the momentum is 0; give a momentum such as 0.9"
            ),
            (
                15, "  accumulate: 33",
                "a.yaml:15: 'train.accumulate' is 33, but a batch of 32 cannot be computed in that many parts; "
                    + "give at most the batch"
            ),
            (
                15, "  schedule: {name: constant, every: 3}",
                "a.yaml:15: 'train.schedule.every' is 3, but the schedule is constant; remove it"
            ),
            (
                15, "  schedule: {name: cosine, warm-up: {epochs: 10}}",
                "a.yaml:15: 'train.schedule.warm-up.epochs' is 10, but the phase lasts 10; let the warm-up be shorter"
            ),
            (
                15, "  schedule: step",
                "a.yaml:15: 'train.schedule.every' is missing; give every (a number of epochs) or milestones "
                    + "(a list of epochs)"
            ),
            (
                15, "  transfer: from-scratch",
                "a.yaml:15: 'train.transfer' is from-scratch, but model.weights is given; set model.weights to none "
                    + "or transfer to fine-tuning"
            ),
            (
                15, "  learn: head",
                "a.yaml:15: 'train.learn' is head, but nothing is frozen, so that everything learns anyway; "
                    + "add freeze: \"*\" to let only these learn"
            ),
            (
                6, "  validation: images",
                "a.yaml:6: 'data.validation' is images, but these are the samples that data.train takes; "
                    + "give another path or split, or a selection for both, such as first-per-class and skip-per-class"
            ),
            (
                3, "  width: 0.25",
                "a.yaml:3: 'model.width' is 0.25, but without model.architecture the weights say what they are; "
                    + "give model.architecture too, or remove it"
            ),
            (6, "  classes: [cat]", "a.yaml:6: 'data.classes' is one class ('cat'); give two or more, or none for all"),
            (
                2, "  architecture: resnet18\n  head: keep",
                "a.yaml:3: 'model.head' is keep, but there are no weights to keep it from; "
                    + "give model.weights or set model.head to new"
            ),
        ] {
            let isHead = line == 2
            var lines = good.components(separatedBy: "\n")
            lines[line - 1] = text
            if isHead { lines.remove(at: 2) }
            XCTAssertEqual(message(lines.joined(separator: "\n")), expected)
        }
    }

    func testMissingParts() {
        XCTAssertEqual(
            message(""),
            "a.yaml:1: 'model' is missing; give model.weights (a weight file) or model.architecture "
                + "(a name such as resnet50)")
        XCTAssertEqual(
            message("model: {weights: w}\ndata: {train: i}"),
            "a.yaml:1: 'train' is missing; give train: (or a list phases:) with epochs, batch and optimizer")
        XCTAssertEqual(
            message("model: {weights: w}\ndata: {train: i}\ntrain: {batch: 3}"),
            "a.yaml:3: 'train.epochs' is missing; say how long to train: epochs or steps")
        XCTAssertEqual(
            message("model: {head: new}\ndata: {train: i}\ntrain: {epochs: 3}"),
            "a.yaml:1: 'model.architecture' is missing; give a name such as resnet50, or model.weights that "
                + "say what they are")
        XCTAssertEqual(
            message("model: {architecture: r}\ndata: {train: i}\ntrain: {epochs: 3, transfer: fine-tuning}"),
            "a.yaml:3: 'train.transfer' is fine-tuning, but there is nothing to transfer without model.weights; "
                + "give model.weights or set transfer to from-scratch")
    }

    func testPhases() {
        let start = "model: {weights: w}\ndata: {train: i}\nphases:\n"
        XCTAssertEqual(
            message(start + "  - {epochs: 1, name: a}\n  - {epochs: 1, name: a}"),
            "a.yaml:5: 'phases[1].name' is a; every phase needs a name of its own")
        XCTAssertEqual(
            message(start + "  - epochs: 1\n    bacth: 3"),
            "a.yaml:5: unknown key 'phases[0].bacth'; did you mean 'batch'?")
        XCTAssertEqual(
            message(start + "  - epochs: 1\n    groups:\n      - {match: head}"),
            "a.yaml:6: 'phases[0].groups[0].learning-rate-factor' is missing; give it or weight-decay, "
                + "or remove the group")
        XCTAssertEqual(
            message(start + "  - {epochs: 1, transfer: gradual-unfreezing}"),
            "a.yaml:4: 'phases[0].unfreeze' is missing; list what starts to learn, phase by phase, such as "
                + "[head, layer3, layer2]")
        XCTAssertEqual(
            message(start + "  - {epochs: 1, transfer: feature-extraction, freeze: layer1}"),
            "a.yaml:4: 'phases[0].freeze' is layer1, but transfer: feature-extraction decides what learns; "
                + "remove it or set transfer to fine-tuning")
        XCTAssertEqual(
            message(start + "  - {epochs: 1, rules: [{freeze: a, learn: b}]}"),
            "a.yaml:4: 'phases[0].rules[0]' is not one rule; give either freeze or learn")
        XCTAssertEqual(
            message("model: {weights: w}\ndata: {train: i}\nphases: []"),
            "a.yaml:3: 'phases' is an empty list; give at least one phase or use train:")
    }

    func testTextThatIsNotARecipe() {
        XCTAssertEqual(
            message("- a\n- b"),
            "a.yaml:1: 'recipe' takes keys and values (name, model, data, train, phases, trunk, run), not a list")
        XCTAssertEqual(
            message("model: {weights: w}\nmodel: {weights: v}"),
            "a.yaml: not a readable recipe: line 1: the key 'model' appears twice")
        let torn = message("model: {weights: w\ndata: 3")
        XCTAssertTrue(torn.hasPrefix("a.yaml: not a readable recipe: line 2, column "), torn)
        XCTAssertThrowsError(try Recipe.load("/nowhere/r.yaml")) {
            XCTAssertEqual("\($0)", "/nowhere/r.yaml: there is no such recipe")
        }
    }

    func testOverridesAreValidatedAlike() {
        for (option, expected) in [
            ("train.batch=0", "--set train.batch=0: 'train.batch' is 0; give 1 or more"),
            (
                "train.batch=9223372036854775807",
                "--set train.batch=9223372036854775807: 'train.batch' is 9223372036854775807; give 100000 or less"
            ),
            ("run.threads=3000000000", "--set run.threads=3000000000: 'run.threads' is 3000000000; give 4096 or less"),
            (
                "data.image.size=10000000000",
                "--set data.image.size=10000000000: 'data.image.size' is 10000000000; give 65536 or less"
            ),
            ("run.keep=2000000000", "--set run.keep=2000000000: 'run.keep' is 2000000000; give 1000000000 or less"),
            (
                "data.augment.jitter.contrast=1e39",
                "--set data.augment.jitter.contrast=1e39: 'data.augment.jitter.contrast' is 1e39; "
                    + "give a number from 0 to 100"
            ),
            ("run.seed=9223372036854775807", "no error"),
            ("train.bacth=1", "--set train.bacth=1: unknown key 'train.bacth'; did you mean 'batch'?"),
            ("train.batch", "--set train.batch: write it as key.path=value"),
            ("=3", "--set =3: '' is not a key path such as train.batch"),
            ("phases[0].batch=3", "--set phases[0].batch=3: 'phases' takes a list, not a mapping"),
            (
                "model=3",
                "--set model=3: 'model' takes keys and values (architecture, variant, width, sizes, dropout, weights, head), not '3'"
            ),
        ] {
            XCTAssertEqual(message(good, [option]), expected)
        }
        let torn = message(good, ["train.batch=[1"])
        XCTAssertTrue(torn.hasPrefix("--set train.batch=[1: line "), torn)
    }
}
