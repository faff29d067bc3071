import Archives
import Foundation
import XCTest

/// Whole runs on one and several ranks, and what goes wrong in them.
final class TrainingRunTests: TrainingRunTestCase {
    // MARK: Ranks

    /// The same recipe at 1, 2, 3 and 4 ranks: the losses of 20 steps to 1e-4. The learning rate is low enough
    /// for training itself not to magnify rounding: at ten times the rate step 19 differs by 3e-3.
    func testRanksAgree() throws {
        for mode in ["frozen", "synchronised"] {
            assertDone(try train("\(mode)1", "train.batch-norm=\(mode)"))
            let alone = try losses("\(mode)1")
            XCTAssertEqual(alone.count, 20)
            for ranks in [2, 3, 4] {
                assertDone(try train("\(mode)\(ranks)", ranks: ranks, "train.batch-norm=\(mode)"))
                let together = try losses("\(mode)\(ranks)")
                XCTAssertEqual(together.count, alone.count)
                for (step, (a, b)) in zip(alone, together).enumerated() {
                    XCTAssertLessThan(abs(a - b) / a, 1e-4, "\(mode), \(ranks) ranks, step \(step + 1)")
                }
            }
        }
    }

    /// After one step of SGD at rate 2^20 a parameter is its first gradient times that, exactly but for what a float
    /// cannot hold; every element of every parameter is compared, to 1e-5 of the largest of its tensor.
    func testFirstGradientAgrees() throws {
        let validation = """
              validation:
                path: \(Self.data)/cifar10/test
                first-per-class: 3

            """
        try write(
            Self.recipe.replacingOccurrences(of: "epochs: 4", with: "steps: 1")
                .replacingOccurrences(of: "learning-rate: 0.002", with: "learning-rate: 1048576")
                .replacingOccurrences(of: "momentum: 0.9", with: "momentum: 0")
                // Such a network has no finite loss.
                .replacingOccurrences(of: validation, with: ""))
        for mode in ["frozen", "synchronised"] {
            func run(_ ranks: Int) throws -> [StoredTensor] {
                assertDone(try train("\(mode)\(ranks)", ranks: ranks, "train.batch-norm=\(mode)"))
                return try GraftArchive.read("\(folder)/\(mode)\(ranks)/weights.h5")[section: "parameters"]
            }
            let alone = try run(1)
            XCTAssertEqual(alone.count, 59)
            for ranks in [2, 3, 4] {
                let together = try run(ranks)
                XCTAssertEqual(alone.map(\.name), together.map(\.name))
                for (one, other) in zip(alone, together) {
                    let largest = one.scalars.map(abs).max() ?? 0
                    XCTAssertGreaterThan(largest, 100, "\(one.name) is not a gradient")
                    let difference = zip(one.scalars, other.scalars).map { abs($0 - $1) }.max() ?? 0
                    XCTAssertLessThanOrEqual(difference, 1e-5 * largest, "\(mode), \(ranks) ranks, \(one.name)")
                }
            }
        }
    }

    /// A batch in three parts, some of them empty, under a schedule and with parameter groups: the losses of a batch
    /// in one. Clipping changes them, in the same way at 1 and 2 ranks.
    func testAccumulatingAndClippingAgree() throws {
        let settings = [
            "train.epochs=2", "train.schedule={name: cosine, warm-up: {steps: 3}}",
            "train.groups=[{match: [head], learning-rate-factor: 5, weight-decay: 0.1}]",
        ]
        func run(_ name: String, _ ranks: Int, _ more: String...) throws -> [Double] {
            assertDone(try train(name, ranks: ranks, settings + more))
            let losses = try losses(name)
            XCTAssertEqual(losses.count, 10, name)
            return losses
        }
        func largestDifference(_ a: [Double], _ b: [Double]) -> Double {
            zip(a, b).map { abs($0 - $1) / $0 }.max() ?? 0
        }

        let whole = try run("whole", 1)
        for ranks in [1, 2] {
            let parts = try run("parts\(ranks)", ranks, "train.accumulate=3")
            XCTAssertLessThan(largestDifference(whole, parts), 1e-4, "\(ranks) ranks")
        }
        let clipped = try [1, 2].map { try run("clipped\($0)", $0, "train.clip-norm=0.5") }
        XCTAssertGreaterThan(largestDifference(whole, clipped[0]), 1e-2)
        XCTAssertLessThan(largestDifference(clipped[0], clipped[1]), 1e-4)
        assertDone(try train("plain", "train.epochs=2"))
        XCTAssertGreaterThan(largestDifference(whole, try losses("plain")), 1e-2, "schedule and groups do nothing")
    }

    /// Blocks computed again by backward give the same weights and running statistics, to the bit, with each kind of
    /// batch norm; the summary says what that took. A batch of one sample leaves a rank without.
    func testRecomputingTrainsTheSame() throws {
        struct Summary: Decodable { var recomputeSeconds: Double }
        for (mode, ranks) in [("local", 1), ("local", 2), ("synchronised", 2)] {
            let settings = [
                "train.batch-norm=\(mode)", "train.epochs=1", "data.train.first-per-class=3", "train.batch=29",
            ]
            for recompute in [false, true] {
                let name = "\(mode)-\(ranks)-\(recompute)"
                assertDone(try train(name, ranks: ranks, settings + ["train.recompute=\(recompute)"]))
                let text = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)/summary.json"))
                let decoder = JSONDecoder()
                decoder.keyDecodingStrategy = .convertFromSnakeCase
                XCTAssertEqual(try decoder.decode(Summary.self, from: text).recomputeSeconds > 0, recompute, name)
            }
            XCTAssertEqual(try weights("\(mode)-\(ranks)-true"), try weights("\(mode)-\(ranks)-false"), mode)
        }
    }

    /// Samples sent by the coordinator train the same network as samples read from a shared file system. The other
    /// ranks work where the path of the data leads nowhere.
    func testScatteredDataTrainsTheSame() throws {
        let files = FileManager.default
        try files.createSymbolicLink(atPath: folder + "/images", withDestinationPath: Self.data + "/cifar10")
        try files.createDirectory(atPath: folder + "/elsewhere", withIntermediateDirectories: true)
        try write(Self.recipe.replacingOccurrences(of: Self.data + "/cifar10", with: "images"))
        func run(_ output: String, othersIn place: String, _ sharding: String) throws -> Outcome {
            let command = arguments(output, ["data.sharding=\(sharding)"], [])
            let first = ["/bin/bash", Launch.launcher, "-np", "1", "--wdir", folder] + command
            return try Launch(
                first + [":", "-np", "2", "--wdir", place] + command, environment: ["OMP_NUM_THREADS": "1"]
            ).finish(limit: 120)
        }
        assertDone(try run("shared", othersIn: folder, "shared"))
        assertDone(try run("scattered", othersIn: folder + "/elsewhere", "scatter"))
        XCTAssertEqual(try weights("shared"), try weights("scattered"))
        let blind = try run("blind", othersIn: folder + "/elsewhere", "shared")
        XCTAssertEqual(blind.code, 3, blind.errors)
        XCTAssertTrue(blind.errors.contains("images/train: "), blind.errors)
    }

    // MARK: What goes wrong

    func testADivergingRunIsExitCode4OnAllRanks() throws {
        for ranks in [1, 2] {
            let outcome = try train("diverged\(ranks)", ranks: ranks, "train.optimizer.learning-rate=1e30")
            XCTAssertEqual(outcome.code, 4, outcome.errors)
            XCTAssertEqual(outcome.errors.components(separatedBy: "the loss is").count, 2, outcome.errors)
        }
    }

    func testMoreRanksThanSamples() throws {
        let outcome = try train("few", ranks: 3, "data.classes=[cat, dog]", "data.train.first-per-class=1")
        XCTAssertEqual(outcome.code, 2, outcome.errors)
        XCTAssertTrue(outcome.errors.contains("3 ranks"), outcome.errors)
    }

    func testAKilledRankIsExitCode5AndItsCheckpointsStay() throws {
        let job = try Launch(
            ["/bin/bash", Launch.launcher, "-np", "2"] + arguments("killed", ["train.epochs=200"], []),
            environment: ["OMP_NUM_THREADS": "1"])
        for _ in 0..<2000 where checkpoints("killed").isEmpty { usleep(5_000) }
        let killed = Date()
        // One rank only: the newest process of this run.
        _ = try Launch(["/usr/bin/pkill", "-9", "-n", "-f", "^\(Self.graft) train \(folder)"]).finish()
        let outcome = job.finish(limit: 60)
        XCTAssertEqual(outcome.code, 5, outcome.errors)
        XCTAssertLessThan(Date().timeIntervalSince(killed), 10)
        let newest = try XCTUnwrap(checkpoints("killed").last)
        XCTAssertTrue(GraftArchive.isValid("\(folder)/killed/checkpoints/\(newest)"))
    }

    /// A full disk ends the run with its cause; the checkpoints that were whole before stay so.
    func testAFullDiskKeepsTheLastGoodCheckpoint() throws {
        try mounting("size=8m") { mount in
            let outcome = try Launch(
                [Self.graft, "train", folder + "/recipe.yaml", "--output", mount + "/run", "--set", "train.epochs=50"],
                environment: ["OMP_NUM_THREADS": "1"]
            ).finish(limit: 120)
            XCTAssertEqual(outcome.code, 3, outcome.errors)
            XCTAssertTrue(outcome.errors.contains("No space left on device"), outcome.errors)
            let names = try FileManager.default.contentsOfDirectory(atPath: mount + "/run/checkpoints")
            XCTAssertFalse(names.isEmpty)
            for name in names { XCTAssertTrue(GraftArchive.isValid("\(mount)/run/checkpoints/\(name)"), name) }
        }
    }

    func testAReadOnlyOutputIsRefused() throws {
        try mounting("size=8m,ro") { mount in
            let outcome = try Launch([Self.graft, "train", folder + "/recipe.yaml", "--output", mount + "/run"])
                .finish()
            XCTAssertEqual(outcome.code, 2, outcome.errors)
            XCTAssertTrue(outcome.errors.contains("\(mount)/run: cannot be written"), outcome.errors)
        }
    }

    /// Runs `body` with a small file system of its own; needs root.
    private func mounting(_ options: String, _ body: (String) throws -> Void) throws {
        guard getuid() == 0 else { throw XCTSkip("needs root, to mount a small file system") }
        let mount = folder + "/disk"
        try FileManager.default.createDirectory(atPath: mount, withIntermediateDirectories: true)
        guard try Launch(["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", mount]).finish().code == 0 else {
            throw XCTSkip("cannot mount a file system here")
        }
        defer { _ = try? Launch(["/bin/umount", mount]).finish() }
        try body(mount)
    }
}
