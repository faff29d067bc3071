import Collectives
import Foundation
import XCTest

/// Every collective under real processes. An odd count of ranks finds what powers of two hide.
final class CollectivesTests: XCTestCase {
    func testCollectivesOnOneToFourRanks() throws {
        for ranks in 1...4 {
            let outcome = try onRanks(ranks, "collectives")
            XCTAssertEqual(outcome.code, 0, outcome.errors)
            XCTAssertEqual(outcome.output, "collectives agree on \(ranks) ranks\n")
        }
    }

    func testTextThatCannotBeWrittenIsLost() throws {
        try XCTUnwrap(FileHandle(forWritingAtPath: "/dev/full")).writeIfPossible("nobody reads this\n")
    }

    func testClusterOfOneWithoutLauncher() throws {
        let outcome = try Launch([Launch.check, "collectives"]).finish()
        XCTAssertEqual(outcome.code, 0, outcome.errors)
        XCTAssertEqual(outcome.output, "collectives agree on 1 ranks\n")
    }

    /// 100,003 elements in pieces of 1,000 and 37: what happens beyond 2^31, made small.
    func testCountsBeyondOneCallAreChunked() throws {
        for chunk in ["37", "1000"] {
            let outcome = try onRanks(3, "collectives", "--chunk", chunk)
            XCTAssertEqual(outcome.code, 0, outcome.errors)
        }
    }

    func testLongWaitNamesTheMissingRank() throws {
        let outcome = try onRanks(3, "late", "0", "4", "--patience", "1")
        XCTAssertEqual(outcome.code, 0, outcome.errors)
        let lines = outcome.errors.split(separator: "\n").filter { $0.contains("has waited") }
        XCTAssertFalse(lines.isEmpty)
        for line in lines {
            XCTAssertTrue(line.hasPrefix("graft: rank 1 has waited"), outcome.errors)
            XCTAssertTrue(
                line.contains(" s for barrier while loading weights; not yet there: rank 0 on "), outcome.errors)
        }
    }
}
