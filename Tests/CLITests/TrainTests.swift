import Archives
import Foundation
import XCTest

/// `graft train`: what it answers before training, what it prints for scripts, what it refuses.
final class TrainTests: CommandTestCase {
    /// Six photographs of each of two classes, and a recipe that fine-tunes on them in two steps.
    override func setUpWithError() throws {
        try super.setUpWithError()
        let files = FileManager.default
        for name in ["cat", "dog"] {
            let source = try data("cifar10/train/\(name)")
            try files.createDirectory(atPath: "\(folder)/images/\(name)", withIntermediateDirectories: true)
            let images = try files.contentsOfDirectory(atPath: source).sorted().prefix(6)
            XCTAssertEqual(images.count, 6)
            for image in images {
                try files.copyItem(atPath: "\(source)/\(image)", toPath: "\(folder)/images/\(name)/\(image)")
            }
        }
        let recipe = """
            model: {weights: \(try data("weights/cifar10-resnet-pytorch/resnet20-12fca82f.th")), head: new}
            data: {train: images}
            train: {epochs: 1, batch: 8, batch-norm: frozen, optimizer: {name: sgd, learning-rate: 0.001}}
            """
        try write(Data(recipe.utf8), "recipe.yaml")
    }

    private func train(_ output: String, _ more: String...) throws -> Outcome {
        try graft(["train", "recipe.yaml", "--output", output] + more)
    }

    private func assertDone(_ outcome: Outcome, file: StaticString = #filePath, line: UInt = #line) {
        XCTAssertEqual(outcome.code, 0, outcome.errors, file: file, line: line)
    }

    private func checkpoints(_ output: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(output)/checkpoints").sorted()
    }

    private func copy(_ from: String, _ to: String) throws {
        try? FileManager.default.removeItem(atPath: "\(folder)/\(to)")
        try FileManager.default.copyItem(atPath: "\(folder)/\(from)", toPath: "\(folder)/\(to)")
    }

    // MARK: Answers

    func testDryRun() throws {
        let outcome = try graft("train", "recipe.yaml", "--dry-run")
        assertDone(outcome)
        for line in [
            "run          recipe, 1 rank\n",
            "network      resnet20 (option-a), 2 classes, 32 px, 269,202 parameters\n",
            "data         12 to train, 0 to validate\n", "output       runs/recipe\n",
            "phase        train: 269,202 trainable parameters, 2 steps of 8, 1.1 MB per all-reduce, about ",
        ] {
            XCTAssertTrue(outcome.output.contains(line), "no \"\(line)\" in:\n\(outcome.output)")
        }
        XCTAssertFalse(outcome.output.contains("more than there are"), outcome.output)
        let large = try graft("train", "recipe.yaml", "--dry-run", "--set", "train.batch=13").output
        XCTAssertTrue(large.contains("batch        13, more than there are samples: a step takes all 12"), large)
        let answer = try object(graft("train", "recipe.yaml", "--dry-run", "--json"))
        XCTAssertEqual(answer["parameters"] as? Int, 269_202)
        XCTAssertEqual(answer["training_samples"] as? Int, 12)
        let phases = try XCTUnwrap(answer["phases"] as? [[String: Any]])
        XCTAssertEqual(phases.map { $0["steps"] as? Int }, [2])
        XCTAssertFalse(FileManager.default.fileExists(atPath: "\(folder)/runs"), "a dry run writes nothing")
        // The gradients, running statistics and figures of the run itself.
        assertDone(try train("run"))
        let log = try String(contentsOfFile: "\(folder)/run/log.jsonl", encoding: .utf8)
        let phase = try XCTUnwrap(log.split(separator: "\n").first { $0.contains("\"phase\"") && $0.contains("bytes") })
        let line = try XCTUnwrap(JSONSerialization.jsonObject(with: Data(phase.utf8)) as? [String: Any])
        let bytes = try XCTUnwrap(line["bytes_per_all_reduce"] as? Int)
        XCTAssertEqual(phases.first?["bytes_per_all_reduce"] as? Int, bytes)
        XCTAssertGreaterThan(bytes, 4 * 269_202)
    }

    /// One object a line: the overview, every epoch, the summary.
    func testJSON() throws {
        let outcome = try train("run", "--json", "--set", "train.epochs=2")
        assertDone(outcome)
        let lines = try outcome.output.split(separator: "\n").map {
            try XCTUnwrap(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        XCTAssertEqual(lines.count, 4, outcome.output)
        XCTAssertEqual(lines.first?["training_samples"] as? Int, 12)
        XCTAssertEqual(lines.dropFirst().prefix(2).map { $0["epoch"] as? Int }, [1, 2])
        XCTAssertEqual(lines.last?["steps"] as? Int, 4)
        XCTAssertEqual(lines.last?["finished"] as? Bool, true)
    }

    // MARK: What is refused before training

    /// A group of the last phase is looked at before the first one begins.
    func testAMistypedGroupOfALaterPhase() throws {
        for (pattern, message) in [
            ("layr3", "matches no parameter; the nearest are layer3, layer1, layer2"),
            ("layer1", "matches only frozen parameters; let them learn or remove the group"),
        ] {
            let group = "{match: \(pattern), learning-rate-factor: 0.1}"
            let phases = "[{epochs: 1}, {epochs: 1}, {epochs: 1, freeze: layer1, groups: [\(group)]}]"
            for more in [["--dry-run"], []] {
                assertFails(
                    try graft(["train", "recipe.yaml", "--set", "phases=\(phases)"] + more), code: 2,
                    "graft: groups: the pattern '\(pattern)' \(message)")
            }
        }
        XCTAssertFalse(FileManager.default.fileExists(atPath: "\(folder)/runs"))
    }

    func testAnEmptyClassFolder() throws {
        try FileManager.default.createDirectory(atPath: "\(folder)/images/frog", withIntermediateDirectories: true)
        assertFails(
            try train("run"), code: 3,
            "graft: images: class folder 'frog' holds no .jpg, .jpeg or .png file; add images or remove the folder")
    }

    func testOneClass() throws {
        try FileManager.default.removeItem(atPath: "\(folder)/images/dog")
        assertFails(
            try train("run"), code: 3, "graft: images: only one class ('cat'); classification needs at least two")
    }

    func testABrokenImage() throws {
        let image =
            "images/dog/"
            + (try XCTUnwrap(
                FileManager.default.contentsOfDirectory(atPath: "\(folder)/images/dog").min()))
        let whole = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(image)"))
        try FileManager.default.removeItem(atPath: "\(folder)/\(image)")
        try write(whole.prefix(whole.count / 2), image)
        let outcome = try train("run")
        XCTAssertEqual(outcome.code, 3, outcome.errors)
        XCTAssertTrue(outcome.errors.hasPrefix("graft: \(image): broken image ("), outcome.errors)
        XCTAssertTrue(outcome.errors.contains("data.broken-files=skip"), outcome.errors)

        // Left out where the recipe says so: named, counted, and trained without.
        let skipping = try train("skipping", "--set", "data.broken-files=skip")
        assertDone(skipping)
        XCTAssertTrue(skipping.output.contains("1 broken files left out"), skipping.output)
        XCTAssertTrue(skipping.output.contains(image), skipping.output)
        let log = try String(contentsOfFile: "\(folder)/skipping/log.jsonl", encoding: .utf8)
        XCTAssertTrue(log.contains("\"skipped_files\":1"), log)
    }

    // MARK: Classes of a head that is kept

    /// Weights that name their classes go on with some of them, under their own labels; weights that do not, need a
    /// new head for another number of classes.
    func testAKeptHeadKeepsItsClasses() throws {
        // bird, cat and dog: cat and dog are not the first two.
        try copy("images/cat", "images/bird")
        assertDone(try train("first"))
        try FileManager.default.createDirectory(atPath: "\(folder)/more", withIntermediateDirectories: true)
        for (name, label) in [("dog", "dog"), ("cat", "a cat")] { try copy("images/\(name)", "more/\(label)") }
        let settings = ["--set", "model={weights: first/weights.h5, head: keep}", "--set", "data.train.path=more"]
        let unknown = try graft(["train", "recipe.yaml", "--output", "unknown"] + settings)
        XCTAssertEqual(unknown.code, 3, unknown.errors)
        XCTAssertTrue(unknown.errors.contains("class 'a cat' is none of those of first/weights.h5"), unknown.errors)

        try FileManager.default.moveItem(atPath: "\(folder)/more/a cat", toPath: "\(folder)/more/cat")
        assertDone(try graft(["train", "recipe.yaml", "--output", "kept"] + settings))
        XCTAssertEqual(try WeightFile.read("\(folder)/kept/weights.h5").metadata.classNames, ["bird", "cat", "dog"])
        let evaluated = try object(graft("evaluate", "--weights", "kept/weights.h5", "--data", "more", "--json"))
        XCTAssertEqual(evaluated["samples"] as? Int, 12)

        let unnamed = try data("weights/cifar10-resnet-pytorch/resnet20-12fca82f.th")
        let outcome = try graft(
            ["train", "recipe.yaml", "--set", "model={weights: '\(unnamed)', head: keep}", "--output", "unnamed"])
        XCTAssertEqual(outcome.code, 3, outcome.errors)
        XCTAssertTrue(outcome.errors.contains("10 outputs that it does not name"), outcome.errors)
    }

    // MARK: What is not resumed

    func testAChangedDataSet() throws {
        assertDone(try train("run"))
        let images = try FileManager.default.contentsOfDirectory(atPath: "\(folder)/images/cat").sorted()
        try copy("images/cat/\(images[0])", "images/cat/another.jpg")
        assertFails(
            try train("run", "--resume", "auto"), code: 2,
            "graft: run/checkpoints/step-00000002.h5: the data set changed since this checkpoint was written; "
                + "undo the change to resume, or start a new run with another output")
    }

    func testAChangedWeightFile() throws {
        let published = try data("weights/cifar10-resnet-pytorch/resnet20-12fca82f.th")
        assertDone(try graft("convert", published, "w.h5"))
        assertDone(try train("run", "--set", "model.weights=w.h5"))
        try copy("run/weights.h5", "w.h5")
        assertFails(
            try train("run", "--set", "model.weights=w.h5", "--resume", "auto"), code: 2,
            "graft: run/checkpoints/step-00000002.h5: the weight file changed since this checkpoint was written; "
                + "undo the change to resume, or start a new run with another output")
    }

    /// `--resume` goes on with a run, and never writes into a folder that holds something else.
    func testResumingIntoAFolderOfSomethingElse() throws {
        func assertInUse(_ outcome: Outcome, _ output: String, line: UInt = #line) {
            let message =
                "graft: \(output): the output folder is in use; give another --output, or --resume auto to "
                + "go on with the run in it, where it holds one"
            assertFails(outcome, code: 2, message, line: line)
        }
        try FileManager.default.createDirectory(atPath: "\(folder)/thesis", withIntermediateDirectories: true)
        try write(Data("mine".utf8), "thesis/recipe.yaml")
        assertInUse(try train("thesis", "--resume", "auto"), "thesis")
        XCTAssertEqual(try String(contentsOfFile: "\(folder)/thesis/recipe.yaml", encoding: .utf8), "mine")

        // A checkpoint of another run goes on in a folder of its own, not in that of a third.
        for run in ["a", "b"] { assertDone(try train(run)) }
        let checkpoint = "a/checkpoints/step-00000002.h5"
        assertInUse(try train("b", "--resume", checkpoint), "b")
        assertDone(try train("c", "--resume", checkpoint))

        // A run that was lost before its first checkpoint has a recipe and no weights.
        try FileManager.default.createDirectory(atPath: "\(folder)/lost", withIntermediateDirectories: true)
        try copy("a/recipe.yaml", "lost/recipe.yaml")
        assertDone(try train("lost", "--resume", "auto"))
        try FileManager.default.removeItem(atPath: "\(folder)/lost/checkpoints")
        assertInUse(try train("lost", "--resume", "auto"), "lost")
    }

    /// Going on from an older checkpoint: what came after it neither counts as a generation nor is resumed from.
    func testResumingFromAnOlderCheckpoint() throws {
        let often = ["--set", "train.epochs=3", "--set", "run.save-every={steps: 1}", "--set", "run.keep=100"]
        func run(_ more: String...) throws -> Outcome {
            try graft(["train", "recipe.yaml", "--output", "run"] + often + more)
        }
        assertDone(try run())
        let names = (1...6).map { "step-0000000\($0).h5" }
        XCTAssertEqual(try checkpoints("run"), names)
        let before = try GraftArchive.read("\(folder)/run/weights.h5").weights.tensors
        let again = try run("--set", "run.keep=2", "--resume", "run/checkpoints/\(names[1])")
        assertDone(again)
        for name in names[2...] {
            let path = "run/checkpoints/\(name)"
            let note = "\(path) is after the step to resume from; it is now \(path).set-aside\n"
            XCTAssertTrue(again.output.contains(note), again.output)
        }
        XCTAssertEqual(try checkpoints("run"), (names[4...] + names[2...].map { $0 + ".set-aside" }).sorted())
        XCTAssertEqual(try GraftArchive.read("\(folder)/run/weights.h5").weights.tensors, before)
    }
}
