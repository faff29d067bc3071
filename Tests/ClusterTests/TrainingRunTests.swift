import Archives
import Foundation
import XCTest

/// Whole runs of `graft train`, on one and several ranks, stopped, resumed and broken.
///
/// They fine-tune the CIFAR-10 ResNet-20 on some of the given photographs: real weights, real files.
final class TrainingRunTests: XCTestCase {
    private var folder = ""

    override func setUpWithError() throws {
        guard FileManager.default.fileExists(atPath: Self.data + "/cifar10/train") else {
            throw XCTSkip("no data at \(Self.data); set GRAFT_DATA")
        }
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try Data(Self.recipe.utf8).write(to: URL(fileURLWithPath: folder + "/recipe.yaml"))
    }

    override func tearDown() {
        try? FileManager.default.removeItem(atPath: folder)
    }

    private static let data = ProcessInfo.processInfo.environment["GRAFT_DATA"]
        ?? Launch.packageRoot.deletingLastPathComponent().appendingPathComponent("shared/data").path
    private static let graft = URL(fileURLWithPath: Launch.check).deletingLastPathComponent()
        .appendingPathComponent("graft").path

    private static let recipe = """
        # A short fine-tuning of a real network.
        model:
          weights: \(data)/weights/cifar10-resnet-pytorch/resnet20-12fca82f.th
          head: new
        data:
          train:
            path: \(data)/cifar10/train
            first-per-class: 6
          validation:
            path: \(data)/cifar10/test
            first-per-class: 3
          augment:
            flip: true
        train:
          transfer: fine-tuning
          epochs: 4
          batch: 14
          batch-norm: frozen
          optimizer:
            name: sgd
            learning-rate: 0.002
            momentum: 0.9
        run:
          log-every: 1
          save-every: {steps: 3}
          validate-every: {epochs: 2}
          keep: 100
        """

    private func arguments(_ output: String, _ settings: [String], _ more: [String]) -> [String] {
        [Self.graft, "train", folder + "/recipe.yaml", "--output", "\(folder)/\(output)"]
            + settings.flatMap { ["--set", $0] } + more
    }

    private func train(
        _ output: String, ranks: Int = 1, _ settings: String..., more: [String] = []
    ) throws -> Outcome {
        let command = arguments(output, settings, more)
        let threads = ["OMP_NUM_THREADS": "1"]
        guard ranks > 1 else { return try Launch(command, environment: threads).finish(limit: 120) }
        return try Launch(["/bin/bash", Launch.launcher, "-np", "\(ranks)"] + command, environment: threads)
            .finish(limit: 120)
    }

    private func weights(_ output: String) throws -> [String: [Float]] {
        let archive = try GraftArchive.read("\(folder)/\(output)/weights.h5")
        return Dictionary(uniqueKeysWithValues: archive.weights.tensors.map { ($0.name, $0.scalars) })
    }

    /// The loss of every step, from the log.
    private func losses(_ output: String) throws -> [Double] {
        struct Line: Decodable {
            var event: String
            var loss: Double?
        }
        let text = try String(contentsOfFile: "\(folder)/\(output)/log.jsonl", encoding: .utf8)
        return try text.split(separator: "\n").compactMap {
            let line = try JSONDecoder().decode(Line.self, from: Data($0.utf8))
            return line.event == "step" ? line.loss : nil
        }
    }

    private func checkpoints(_ output: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(output)/checkpoints")) ?? [])
            .filter { $0.hasPrefix("step-") }.sorted()
    }

    private func assertDone(_ outcome: Outcome, file: StaticString = #filePath, line: UInt = #line) {
        XCTAssertEqual(outcome.code, 0, outcome.errors + outcome.output, file: file, line: line)
    }

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

    /// One step of SGD at rate 1 shows the first gradient, every element of it: to 1e-5 of the largest.
    func testFirstGradientAgrees() throws {
        let oneStep = Self.recipe.replacingOccurrences(of: "epochs: 4", with: "steps: 1")
            .replacingOccurrences(of: "learning-rate: 0.002", with: "learning-rate: 1")
            .replacingOccurrences(of: "momentum: 0.9", with: "momentum: 0")
        try Data(oneStep.utf8).write(to: URL(fileURLWithPath: folder + "/recipe.yaml"))
        for mode in ["frozen", "synchronised"] {
            func run(_ name: String, _ ranks: Int) throws -> [String: [Float]] {
                assertDone(try train(name, ranks: ranks, "train.batch-norm=\(mode)"))
                return try weights(name)
            }
            let alone = try run("\(mode)-one", 1)
            let before = try Dictionary(
                uniqueKeysWithValues: WeightFile.read("\(Self.data)/weights/cifar10-resnet-pytorch/resnet20-12fca82f.th")
                    .tensors.map { ($0.name.replacingOccurrences(of: "module.", with: ""), $0.scalars) })
            for ranks in [2, 3, 4] {
                let together = try run("\(mode)-\(ranks)", ranks)
                // The new classifier and the counters are not in the file.
                let learnt = alone.filter { before[$0.key] != nil && $0.value.count == before[$0.key]?.count }
                XCTAssertGreaterThan(learnt.count, 50)
                for (name, values) in learnt where !name.contains("running") && !name.contains("linear") {
                    let start = try XCTUnwrap(before[name], name)
                    let other = try XCTUnwrap(together[name], name)
                    let largest = zip(values, start).map { abs($0 - $1) }.max() ?? 0
                    let difference = zip(values, other).map { abs($0 - $1) }.max() ?? 0
                    // Weights are near 1 at most: what a float cannot hold there is allowed for.
                    XCTAssertLessThanOrEqual(difference, 1e-5 * largest + 2e-7, "\(mode), \(ranks) ranks, \(name)")
                }
            }
        }
    }

    /// Samples sent by the coordinator train the same network as samples read from a shared file system.
    func testScatteredDataTrainsTheSame() throws {
        assertDone(try train("shared", ranks: 3))
        assertDone(try train("scattered", ranks: 3, "data.sharding=scatter"))
        XCTAssertEqual(try weights("shared"), try weights("scattered"))
    }

    // MARK: Stopping and resuming

    /// Stopped in the middle of an epoch by USR1, then resumed: the same bits as never stopped; at another number of
    /// ranks it goes on too; from damaged checkpoints it takes the newest that is whole.
    func testResumingIsExact() throws {
        assertDone(try train("whole", ranks: 2))
        let command = arguments("stopped", [], [])
        let job = try Launch(
            ["/bin/bash", Launch.launcher, "-np", "2"] + command, environment: ["OMP_NUM_THREADS": "1"])
        for _ in 0..<2000 where checkpoints("stopped").isEmpty { usleep(5_000) }
        job.send(SIGUSR1)
        let stopped = job.finish(limit: 120)
        XCTAssertEqual(stopped.code, 6, stopped.errors + stopped.output)
        for copy in ["damaged", "alone"] {
            try FileManager.default.copyItem(atPath: "\(folder)/stopped", toPath: "\(folder)/\(copy)")
        }

        assertDone(try train("stopped", ranks: 2, more: ["--resume", "auto"]))
        XCTAssertEqual(try weights("whole"), try weights("stopped"))

        let newest = try XCTUnwrap(checkpoints("damaged").last)
        let path = "\(folder)/damaged/checkpoints/\(newest)"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: URL(fileURLWithPath: path))
        let repaired = try train("damaged", ranks: 2, more: ["--resume", "auto"])
        if checkpoints("damaged").count > 1 {
            assertDone(repaired)
            XCTAssertTrue(repaired.output.contains("\(newest) is damaged"), repaired.output)
            XCTAssertEqual(try weights("whole"), try weights("damaged"))
        } else {
            XCTAssertEqual(repaired.code, 3)
        }

        // At one rank the sums are in another order, and nothing else is different.
        assertDone(try train("alone", more: ["--resume", "auto"]))
        let (two, one) = (try weights("whole"), try weights("alone"))
        XCTAssertEqual(Set(two.keys), Set(one.keys))
        for (name, values) in two {
            let other = try XCTUnwrap(one[name])
            let largest = values.map(abs).max() ?? 0
            let difference = zip(values, other).map { abs($0 - $1) }.max() ?? 0
            XCTAssertLessThanOrEqual(difference, 1e-4 * largest, name)
        }
    }

    /// TERM, to a single process and to the launcher of several: saved, code 6, and resumed to the same bits.
    func testTermSavesAndStops() throws {
        for ranks in [1, 2] {
            assertDone(try train("whole\(ranks)", ranks: ranks))
            let name = "stopped\(ranks)"
            let command = arguments(name, [], [])
            let job = try Launch(
                ranks == 1 ? command : ["/bin/bash", Launch.launcher, "-np", "\(ranks)"] + command,
                environment: ["OMP_NUM_THREADS": "1"])
            for _ in 0..<2000 where checkpoints(name).isEmpty { usleep(5_000) }
            job.send(SIGTERM)
            let stopped = job.finish(limit: 120)
            XCTAssertEqual(stopped.code, 6, stopped.errors + stopped.output)
            assertDone(try train(name, ranks: ranks, more: ["--resume", "auto"]))
            XCTAssertEqual(try weights("whole\(ranks)"), try weights(name))
        }
    }

    /// PBS signals all processes of a job's session at once: saved, code 6, and the same line goes on from there.
    func testThePBSScriptSavesAndGoesOn() throws {
        let nodes = folder + "/nodes"
        try Data("localhost\n".utf8).write(to: URL(fileURLWithPath: nodes))
        let script = Launch.packageRoot.appendingPathComponent("launch/batch/graft.pbs").path
        func submit() throws -> Launch {
            try Launch(
                ["/usr/bin/setsid", "--wait", "/bin/bash", "-c", "echo $$ > '\(folder)/session'; exec '\(script)'"],
                environment: [
                    "PBS_O_WORKDIR": folder, "PBS_NODEFILE": nodes, "GRAFT_HOME": Launch.packageRoot.path,
                    "RECIPE": "recipe.yaml", "OUTPUT": "run", "OMP_NUM_THREADS": "1",
                ])
        }
        let job = try submit()
        for _ in 0..<2000 where checkpoints("run").isEmpty { usleep(5_000) }
        let session = try String(contentsOfFile: "\(folder)/session", encoding: .utf8).trimmingCharacters(in: .newlines)
        _ = try Launch(["/usr/bin/pkill", "-TERM", "-s", session]).finish()
        let stopped = job.finish(limit: 120)
        XCTAssertEqual(stopped.code, 6, stopped.errors + stopped.output)
        assertDone(try submit().finish(limit: 120))
        XCTAssertTrue(FileManager.default.fileExists(atPath: "\(folder)/run/weights.h5"))
    }

    /// After a lost rank `launch/mpirun --restarts` goes on from the newest checkpoint, to the same bits.
    func testARestartedJobIsExact() throws {
        assertDone(try train("whole", ranks: 2))
        let job = try Launch(
            ["/bin/bash", Launch.launcher, "--restarts", "1", "-np", "2"] + arguments("killed", [], []),
            environment: ["OMP_NUM_THREADS": "1"])
        for _ in 0..<2000 where checkpoints("killed").isEmpty { usleep(5_000) }
        _ = try Launch(["/usr/bin/pkill", "-9", "-n", "-f", "^\(Self.graft) train \(folder)"]).finish()
        let outcome = job.finish(limit: 120)
        assertDone(outcome)
        XCTAssertTrue(outcome.errors.contains("starting again (1 of 1)"), outcome.errors)
        XCTAssertEqual(try weights("whole"), try weights("killed"))
    }

    func testAChangedRecipeIsNotResumed() throws {
        assertDone(try train("run", "train.epochs=1"))
        let outcome = try train("run", "train.epochs=1", "train.optimizer.momentum=0.5", more: ["--resume", "auto"])
        XCTAssertEqual(outcome.code, 2)
        XCTAssertTrue(outcome.errors.contains("the recipe changed"), outcome.errors)
        XCTAssertTrue(outcome.errors.contains("momentum was 0.9, is 0.5"), outcome.errors)
    }

    func testAnOutputInUseIsRefused() throws {
        assertDone(try train("run", "train.epochs=1"))
        let before = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/run/weights.h5"))
        let outcome = try train("run", "train.epochs=1")
        XCTAssertEqual(outcome.code, 2)
        XCTAssertTrue(outcome.errors.contains("the output folder is in use"), outcome.errors)
        XCTAssertEqual(before, try Data(contentsOf: URL(fileURLWithPath: "\(folder)/run/weights.h5")))
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
