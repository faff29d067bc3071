import XCTest

/// One failing rank ends the job within ten seconds, with its cause printed once and its exit code.
final class FailureTests: XCTestCase {
    private func check(
        _ outcome: Outcome, code: Int32, errors: String, file: StaticString = #filePath, line: UInt = #line
    ) {
        XCTAssertEqual(outcome.code, code, file: file, line: line)
        XCTAssertEqual(outcome.errors, errors, file: file, line: line)
        XCTAssertLessThan(outcome.seconds, 10, file: file, line: line)
    }

    func testAgreementGivesEveryRankTheLowestFailure() throws {
        func message(_ rank: Int) -> String {
            "graft: rank \(rank): rank \(rank) could not read\n\"its\" file\n"
        }
        check(try onRanks(1, "agree", "0"), code: 3, errors: message(0))
        check(try onRanks(2, "agree", "1"), code: 4, errors: message(1))
        check(try onRanks(3, "agree", "2", "1"), code: 4, errors: message(1))
        check(try onRanks(3, "agree", "2"), code: 2, errors: message(2))
        check(try onRanks(3, "agree", "0", "1", "2"), code: 3, errors: message(0))
        check(try onRanks(3, "agree"), code: 0, errors: "")
    }

    func testRankThatThrowsAloneEndsTheJob() throws {
        for (ranks, failing) in [(1, 0), (2, 1), (3, 0), (3, 2)] {
            check(
                try onRanks(ranks, "throw", "\(failing)"), code: 3,
                errors: "graft: rank \(failing): weights.h5: truncated\n")
        }
    }

    func testAlone() throws {
        let outcome = try Launch([Launch.check, "throw", "0"]).finish()
        check(outcome, code: 3, errors: "graft: weights.h5: truncated\n")
    }

    func testKilledRankIsExitCode5() throws {
        for (ranks, victim) in [(2, 0), (3, 1), (3, 2)] {
            let outcome = try onRanks(ranks, "kill", "\(victim)", "9")
            XCTAssertEqual(outcome.code, 5)
            XCTAssertLessThan(outcome.seconds, 10)
            XCTAssertTrue(
                outcome.errors.hasPrefix("graft: rank \(victim) was killed by signal 9 (Killed) on "),
                outcome.errors)
            XCTAssertEqual(outcome.errors.split(separator: "\n").count, 1, outcome.errors)
        }
    }

    func testRankThatEndsWithoutLeaving() throws {
        check(
            try onRanks(3, "exit", "1", "0"), code: 5, errors: "graft: rank 1 ended without leaving the job\n")
        check(try onRanks(2, "exit", "1", "7"), code: 7, errors: "graft: rank 1 ended with exit code 7\n")
    }

    func testLostRankIsStartedAgainAsOftenAsAllowed() throws {
        let outcome = try onRanks(2, "kill", "1", "9", launcher: ["--restarts", "1"])
        XCTAssertEqual(outcome.code, 5)
        let lines = outcome.errors.split(separator: "\n")
        XCTAssertEqual(lines.count, 3, outcome.errors)
        XCTAssertTrue(lines.count == 3 && lines[1] == "graft: starting again (1 of 1)", outcome.errors)
    }

    func testWrongUseOfTheLauncher() throws {
        let bash = ["/bin/bash", Launch.launcher]
        check(
            try Launch(bash + ["-np", "0", "true"]).finish(), code: 2,
            errors: "graft: -np needs a number of ranks, not '0'\n")
        check(
            try Launch(bash + ["--restarts", "x", "true"]).finish(), code: 2,
            errors: "graft: --restarts needs a number, not 'x'\n")
        let missing = try Launch(bash + ["-np", "2", "./no-such-program"]).finish()
        XCTAssertEqual(missing.code, 2)
        XCTAssertTrue(missing.errors.contains("Executable: ./no-such-program"), missing.errors)
        let help = try Launch(bash + ["--help"]).finish()
        XCTAssertEqual(help.code, 0)
        XCTAssertTrue(help.output.hasPrefix("usage: launch/mpirun"))
    }
}
