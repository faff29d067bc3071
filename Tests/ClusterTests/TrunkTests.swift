import Foundation
import XCTest

/// Frozen stages that are compiled, and their outputs cached: the same training, less work.
final class TrunkTests: TrainingRunTestCase {
    /// 60 images to train, 30 to validate, in the cache folder of this test.
    private static let extraction = """
        model:
          weights: \(data)/weights/cifar10-resnet-pytorch/resnet20-12fca82f.th
          head: new
        data:
          train: {path: \(data)/cifar10/train, first-per-class: 6}
          validation: {path: \(data)/cifar10/test, first-per-class: 3}
        train:
          transfer: feature-extraction
          epochs: 4
          batch: 14
          optimizer: {name: sgd, learning-rate: 0.02, momentum: 0.9}
        run: {log-every: 1, save-every: {steps: 3}, keep: 100}
        """

    override func setUpWithError() throws {
        try super.setUpWithError()
        try write(Self.extraction)
    }

    // MARK: The same training

    func testCachedCompiledAndWholeAgree() throws {
        assertDone(try train("cached"))
        assertDone(try train("again"))
        assertDone(try train("compiled", "trunk.cache=off"))
        assertDone(try train("whole", "trunk.compile=false"))
        let outcome = try train("two", ranks: 2)
        assertDone(outcome)
        assertDone(try train("two-anew", ranks: 2, "trunk.cache=\(folder)/other"))
        XCTAssertEqual(try trunks("cached").map(\.path), ["cached"])
        XCTAssertEqual(try trunks("cached").map(\.stages), [5])
        XCTAssertEqual(try trunks("cached").map(\.cache_bytes), [90 * 64 * 4])
        XCTAssertEqual(try trunks("cached").map(\.computed_samples), [90])
        XCTAssertEqual(try trunks("cached", "trunk-finished").map(\.epochs_from_cache), [4])
        XCTAssertEqual(try trunks("again").map(\.reused_samples), [90])
        XCTAssertEqual(try trunks("again").map(\.computed_samples), [0])
        XCTAssertEqual(try trunks("compiled").map(\.path), ["compiled"])
        XCTAssertEqual(try trunks("whole").count, 0)
        XCTAssertEqual(try trunks("two").map(\.reused_samples), [90], outcome.output)
        XCTAssertEqual(try trunks("two-anew").map(\.computed_samples), [90])

        XCTAssertEqual(try weights("cached"), try weights("again"))
        XCTAssertEqual(try weights("two"), try weights("two-anew"), "who computes an output changes nothing")
        for other in ["compiled", "whole", "two"] { try assertClose("cached", other) }
        for (a, b) in zip(try losses("cached"), try losses("whole")) { XCTAssertEqual(a, b, accuracy: 1e-4 * b) }
    }

    /// Outputs of several positions, and layers behind them that learn.
    func testLastStageLearnsFromTheCache() throws {
        try write(
            Self.extraction.replacingOccurrences(
                of: "transfer: feature-extraction",
                with: "transfer: fine-tuning\n  freeze: \"*\"\n  learn: [layer3, head]\n  batch-norm: synchronised"))
        assertDone(try train("cached"))
        assertDone(try train("two", ranks: 2))
        assertDone(try train("whole", "trunk.compile=false"))
        XCTAssertEqual(try trunks("cached").map(\.stages), [3])
        XCTAssertEqual(try trunks("cached").map(\.cache_bytes), [90 * 32 * 16 * 16 * 4])
        for other in ["two", "whole"] { try assertClose("cached", other, 2e-3) }
    }

    /// Each phase has its own boundary.
    func testThawingMovesTheBoundary() throws {
        try write(
            Self.extraction.replacingOccurrences(
                of: "transfer: feature-extraction",
                with: "transfer: gradual-unfreezing\n  unfreeze: [head, layer3, layer2]\n  batch-norm: frozen"
            ).replacingOccurrences(of: "epochs: 4", with: "epochs: 2")
                .replacingOccurrences(of: "learning-rate: 0.02", with: "learning-rate: 0.001"))
        assertDone(try train("cached"))
        assertDone(try train("whole", "trunk.compile=false"))
        XCTAssertEqual(try trunks("cached").map(\.stages), [5, 3, 2])
        XCTAssertEqual(try trunks("cached").map(\.path), ["cached", "cached", "cached"])
        try assertClose("cached", "whole", 2e-3)
    }

    /// 8 bits are another trunk with another cache; how far its outputs are from float32's is told.
    func testEightBits() throws {
        assertDone(try train("float32"))
        let outcome = try train("int8", "trunk.precision=int8")
        assertDone(outcome)
        assertDone(try train("two", ranks: 2, "trunk.precision=int8"))
        assertDone(try train("uncached", "trunk.precision=int8", "trunk.cache=off"))
        let trunk = try XCTUnwrap(try trunks("int8").first)
        guard trunk.precision_fallback == nil else {
            XCTAssertEqual(trunk.precision, "float32")
            XCTAssertEqual(try weights("int8"), try weights("float32"))
            return
        }
        XCTAssertEqual(trunk.precision, "int8")
        XCTAssertEqual(trunk.computed_samples, 90, "float32's outputs are not taken for int8's")
        XCTAssertEqual(try trunks("two").map(\.reused_samples), [90])
        let error = try XCTUnwrap(trunk.precision_error)
        XCTAssertGreaterThan(error, 0)
        XCTAssertLessThan(error, 0.1)
        XCTAssertTrue(outcome.output.contains("int8, outputs"), outcome.output)
        XCTAssertNotEqual(try weights("int8"), try weights("float32"))
        for other in ["two", "uncached"] { try assertClose("int8", other) }
        for (a, b) in zip(try losses("int8"), try losses("float32")) {
            XCTAssertEqual(a, b, accuracy: 0.1 * max(b, 0.5))
        }
    }

    /// Variant v is the augmentation of epoch v: as many variants as epochs train as if nothing were cached.
    func testVariants() throws {
        let flip = "data.augment.flip=true"
        assertDone(try train("off", flip))
        assertDone(try train("four", flip, "trunk.variants=4", "trunk.cache=\(folder)/trunk-cache"))
        assertDone(try train("two", flip, "trunk.variants=2"))
        XCTAssertEqual(try trunks("off").map(\.path), ["compiled"])
        XCTAssertEqual(try trunks("four").map(\.computed_samples), [4 * 60 + 30])
        XCTAssertEqual(try trunks("two").map(\.reused_samples), [2 * 60 + 30], "the first two of the four")
        try assertClose("off", "four")
        XCTAssertNotEqual(try weights("two"), try weights("four"))
    }

    /// Samples that are sent go through the compiled stages; nothing is kept.
    func testScatteredDataIsCompiledOnly() throws {
        assertDone(try train("scattered", ranks: 2, "data.sharding=scatter"))
        assertDone(try train("shared", ranks: 2, "trunk.cache=off"))
        XCTAssertEqual(try trunks("scattered").map(\.path), ["compiled"])
        XCTAssertEqual(try weights("scattered"), try weights("shared"))
        XCTAssertEqual(files(), [])
        let refused = try train("refused", ranks: 2, "data.sharding=scatter", "trunk.cache=\(folder)/trunk-cache")
        XCTAssertEqual(refused.code, 2, refused.output)
        XCTAssertTrue(refused.errors.contains("the ranks share no files (data.sharding: scatter)"), refused.errors)
    }

    // MARK: Files

    func testDamagedFilesAreComputedAnew() throws {
        assertDone(try train("first"))
        let all = files()
        XCTAssertEqual(all.count, 4 + 2, "16 samples each")
        func change(_ index: Int, _ body: (inout Data) -> Void) throws {
            var bytes = try Data(contentsOf: URL(fileURLWithPath: all[index]))
            body(&bytes)
            try bytes.write(to: URL(fileURLWithPath: all[index]))
        }
        try change(0) { $0[$0.count - 5] ^= 1 }
        try change(1) { $0.removeLast(100) }
        try change(2) { $0 = Data() }
        try change(3) { $0.replaceSubrange(8..<16, with: [UInt8](repeating: 0xff, count: 8)) }
        try FileManager.default.removeItem(atPath: all[4])
        let outcome = try train("second")
        assertDone(outcome)
        XCTAssertEqual(outcome.output.components(separatedBy: "computed anew: ").count - 1, 4, outcome.output)
        XCTAssertTrue(
            outcome.output.contains("\(all[0]): damaged feature cache file: the SHA-256 of its values is not the one"),
            outcome.output)
        XCTAssertGreaterThan(try trunks("second")[0].reused_samples, 0)
        XCTAssertEqual(try weights("first"), try weights("second"))
    }

    /// A file where the folder should be: without the cache where it is not required, an error where it is.
    func testAFolderThatCannotBeWritten() throws {
        try Data().write(to: URL(fileURLWithPath: "\(folder)/trunk-cache"))
        let outcome = try train("without")
        assertDone(outcome)
        XCTAssertEqual(try trunks("without").map(\.path), ["compiled"])
        XCTAssertTrue(outcome.output.contains("compiled; outputs not kept: \(folder)/trunk-cache/"), outcome.output)
        let two = try train("two", ranks: 2)
        assertDone(two)
        XCTAssertEqual(try trunks("two").map(\.path), ["compiled"])
        let refused = try train("required", "trunk.cache=\(folder)/trunk-cache")
        XCTAssertEqual(refused.code, 2, refused.output)
        XCTAssertTrue(refused.errors.contains("cannot be written: mkdir"), refused.errors)
    }

    func testOtherInputsHaveOtherKeys() throws {
        func folders() -> Int { Set(files().map { ($0 as NSString).deletingLastPathComponent }).count }
        assertDone(try train("a", "train.epochs=2"))
        XCTAssertEqual(folders(), 2, "training and validation")
        var expected = 2
        for (name, setting, more) in [
            ("size", "data.image.size=40", 2), ("mean", "data.image.mean=[0.5]", 2),
            ("exact", "run.exact-convolutions=true", 2), ("seed", "run.seed=1", 0),
            ("data", "data.train.first-per-class=5", 1), ("broken", "data.broken-files=skip", 2),
            ("weights", "model.weights=\(folder)/a/weights.h5", 0),
            ("other", "model.weights=\(Self.data)/weights/cifar10-resnet-pytorch/resnet32-d509ac18.th", 2),
        ] {
            let settings = name == "mean" ? [setting, "data.image.standard-deviation=[0.3]"] : [setting]
            assertDone(try train(name, ranks: 1, settings + ["train.epochs=2"]))
            expected += more
            XCTAssertEqual(folders(), expected, name)
        }
    }

    func testBrokenFilesAreLeftOutAsWithoutACache() throws {
        let images = "\(folder)/images"
        try FileManager.default.copyItem(atPath: "\(Self.data)/cifar10/test", toPath: images)
        for name in try FileManager.default.contentsOfDirectory(atPath: images) where name != "README.md" {
            let first = try FileManager.default.contentsOfDirectory(atPath: "\(images)/\(name)").sorted()[1]
            try Data("no image".utf8).write(to: URL(fileURLWithPath: "\(images)/\(name)/\(first)"))
        }
        let data = ["data.train.path=\(images)"]
        let stopped = try train("error", ranks: 1, data)
        XCTAssertEqual(stopped.code, 3, stopped.output)
        XCTAssertTrue(stopped.errors.contains(images), stopped.errors)
        let skip = data + ["data.broken-files=skip"]
        let cached = try train("cached", ranks: 1, skip)
        assertDone(cached)
        XCTAssertTrue(cached.output.contains("10 broken files left out"), cached.output)
        assertDone(try train("again", ranks: 1, skip))
        assertDone(try train("two", ranks: 2, skip))
        assertDone(try train("whole", ranks: 1, skip + ["trunk.compile=false"]))
        XCTAssertEqual(try weights("cached"), try weights("again"))
        for other in ["two", "whole"] { try assertClose("cached", other) }
    }

    // MARK: Stopping and resuming

    /// Killed while filling, the next run takes what is there; stopped by a signal, it saves and goes on.
    func testKilledWhileFilling() throws {
        // Large enough that filling takes seconds: a signal must meet it.
        let many = ["data.train.first-per-class=120", "data.image.size=80", "train.epochs=2"]
        assertDone(try train("whole", ranks: 1, many + ["trunk.cache=\(folder)/other"]))
        let all = files("other").count
        for (name, signal) in [("killed", SIGKILL), ("stopped", SIGUSR1)] {
            let cache = ["trunk.cache=\(folder)/\(name)-cache"]
            let job = try Launch(arguments(name, many + cache, []), environment: ["OMP_NUM_THREADS": "1"])
            for _ in 0..<4000 where files("\(name)-cache").count < 2 { usleep(2_000) }
            job.send(signal)
            let outcome = job.finish(limit: 120)
            let left = files("\(name)-cache").count
            XCTAssertLessThan(left, all, "it was not stopped while it filled: \(outcome.output)")
            if signal == SIGUSR1 { XCTAssertEqual(outcome.code, 6, outcome.errors) }
            assertDone(try train(name, ranks: 1, many + cache, more: ["--resume", "auto"]))
            let trunk = try XCTUnwrap(trunks(name).last)
            XCTAssertGreaterThanOrEqual(trunk.reused_samples, 19)
            XCTAssertGreaterThan(trunk.computed_samples, 0)
            XCTAssertEqual(try weights("whole"), try weights(name))
        }
    }

    func testResumingInTheMiddleOfAPhase() throws {
        assertDone(try train("whole", ranks: 2))
        let third = ["--resume", "\(folder)/whole/checkpoints/step-00000003.h5"]
        assertDone(try train("third", ranks: 2, more: third))
        XCTAssertEqual(try weights("whole"), try weights("third"))
        assertDone(try train("anew", ranks: 2, "trunk.cache=\(folder)/other", more: third))
        XCTAssertEqual(try weights("whole"), try weights("anew"))

        let refused = try train("refused", "trunk.cache=off", more: third)
        XCTAssertEqual(refused.code, 2, refused.output)
        XCTAssertTrue(
            refused.errors.contains(
                "phase 'train' began with its frozen stages cached (5 stages, float32, 1 variant) and would go on with them "
                    + "compiled (5 stages, float32) because trunk.cache is off"), refused.errors)
        let changed = try train("changed", "trunk.compile=false", more: third)
        XCTAssertEqual(changed.code, 2)
        XCTAssertTrue(changed.errors.contains("trunk.compile was true, is false"), changed.errors)
    }

    // MARK: What is printed

    func testPrediction() throws {
        func dryRun(_ settings: String...) throws -> String {
            let outcome = try Launch(arguments("run", settings, ["--dry-run"])).finish(limit: 60)
            return outcome.output + outcome.errors
        }
        let frozen = "trunk        5 stages frozen, up to avgpool, compiled; "
        let kept = try dryRun()
        XCTAssertTrue(kept.contains("\(frozen)outputs take 23.0 kB in \(folder)/trunk-cache\n"), kept)
        let variants = try dryRun("data.augment.flip=true", "trunk.variants=3")
        XCTAssertTrue(variants.contains("outputs in 3 variants take 53.8 kB in"), variants)
        let same = try dryRun("trunk.variants=3")
        XCTAssertTrue(
            same.hasSuffix(
                "'trunk.variants' is 3, but all variants of an image would be the same without data.augment; "
                    + "remove it or give data.augment\n"), same)
        for (settings, reason) in [
            (["trunk.cache=off"], "trunk.cache is off"),
            (["train.epochs=1"], "no sample is read twice in this phase"),
            (
                ["data.augment.flip=true"],
                "augmentation makes every image new in every epoch (trunk.variants: K keeps K of each)"
            ),
            (["trunk.max-size=20 kB"], "the outputs take 23.0 kB, more than trunk.max-size (20.0 kB)"),
        ] {
            let outcome = try Launch(arguments("run", settings, ["--dry-run"])).finish(limit: 60)
            XCTAssertTrue(outcome.output.contains("\(frozen)outputs not kept: \(reason)\n"), outcome.output)
        }
        let refused = try dryRun("trunk.max-size=20 kB", "trunk.cache=\(folder)/cache")
        XCTAssertEqual(
            refused,
            "graft: trunk.cache is \(folder)/cache, but in phase 'train' the outputs take 23.0 kB, more than "
                + "trunk.max-size (20.0 kB); raise it, take fewer images or variants, or set trunk.cache to auto or off\n"
        )
        XCTAssertFalse(try dryRun("train.transfer=fine-tuning").contains("trunk  "))
    }
}
