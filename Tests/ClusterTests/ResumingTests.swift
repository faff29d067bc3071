import Archives
import Foundation
import XCTest

/// Runs of `graft train` that are stopped, killed and resumed.
final class ResumingTests: TrainingRunTestCase {
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

        // The signal may have come at the end of an epoch: step 3 of 5 is within one.
        let third = "\(folder)/whole/checkpoints/step-00000003.h5"
        assertDone(try train("third", ranks: 2, more: ["--resume", third]))
        XCTAssertEqual(try weights("whole"), try weights("third"))

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

    /// With Adam's moments, statistics of each rank's own batch, dropout and a schedule too.
    func testResumingWithMoreStateIsExact() throws {
        try write(
            """
            model: {architecture: mobilenet_v2}
            data:
              train: {path: \(Self.data)/cifar10/train, first-per-class: 3}
              image: {size: 64}
              augment: {flip: true}
            train:
              epochs: 2
              batch: 8
              batch-norm: local
              optimizer: {name: adam, learning-rate: 0.001}
              schedule: cosine
            run: {save-every: {steps: 3}, keep: 100}
            """)
        assertDone(try train("whole", ranks: 2))
        XCTAssertEqual(
            checkpoints("whole"), ["step-00000003.h5", "step-00000006.h5", "step-00000008.h5"], "4 steps per epoch")
        let third = "\(folder)/whole/checkpoints/step-00000003.h5"
        assertDone(try train("third", ranks: 2, more: ["--resume", third]))
        XCTAssertEqual(try weights("whole"), try weights("third"))
    }

    /// Signals to a single process and to the launcher of several: saved, code 6, and resumed to the same bits.
    func testSignalsSaveAndStop() throws {
        for ranks in [1, 2] { assertDone(try train("whole\(ranks)", ranks: ranks)) }
        for (ranks, signal) in [(1, SIGTERM), (1, SIGUSR1), (2, SIGTERM), (2, SIGHUP)] {
            let name = "stopped\(ranks)-\(signal)"
            let command = arguments(name, [], [])
            let job = try Launch(
                ranks == 1 ? command : ["/bin/bash", Launch.launcher, "-np", "\(ranks)"] + command,
                environment: ["OMP_NUM_THREADS": "1"])
            for _ in 0..<2000 where checkpoints(name).isEmpty { usleep(5_000) }
            job.send(signal)
            let stopped = job.finish(limit: 120)
            XCTAssertEqual(stopped.code, 6, stopped.errors + stopped.output)
            if ranks > 1 {
                XCTAssertEqual(
                    stopped.errors, "graft: asking all ranks to save and stop; once more ends the job at once\n")
            }
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
}
