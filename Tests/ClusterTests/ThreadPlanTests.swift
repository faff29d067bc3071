import Cluster
import XCTest

final class ThreadPlanTests: XCTestCase {
    func testShareOfTheCores() {
        XCTAssertEqual(ThreadPlan(cores: 16, localRanks: 1, isBound: false).threads, 16)
        XCTAssertEqual(ThreadPlan(cores: 16, localRanks: 3, isBound: false).threads, 5)
        XCTAssertEqual(ThreadPlan(cores: 8, localRanks: 2, isBound: true).threads, 8)
        XCTAssertEqual(ThreadPlan(cores: 2, localRanks: 4, isBound: false).threads, 1)
        XCTAssertEqual(ThreadPlan(cores: 2, localRanks: 1, isBound: false, requested: 6).threads, 6)
        XCTAssertEqual(ThreadPlan(cores: 2, localRanks: 1, isBound: false, requested: 0).threads, 1)
    }

    func testOversubscription() {
        XCTAssertFalse(ThreadPlan(cores: 4, localRanks: 4, isBound: false).isOversubscribed)
        XCTAssertTrue(ThreadPlan(cores: 4, localRanks: 5, isBound: false).isOversubscribed)
        XCTAssertTrue(ThreadPlan(cores: 4, localRanks: 2, isBound: false, requested: 3).isOversubscribed)
        XCTAssertFalse(ThreadPlan(cores: 4, localRanks: 2, isBound: true, requested: 4).isOversubscribed)
    }

    func testWhatAProcessGets() throws {
        let alone = try Launch([Launch.check, "threads"], environment: ["OMP_NUM_THREADS": "3"]).finish()
        XCTAssertTrue(alone.output.hasPrefix("rank 0 threads 3 "), alone.output)
        let ranks = 2 * ProcessInfo.processInfo.activeProcessorCount
        let crowded = try onRanks(ranks, "threads")
        let lines = crowded.output.split(separator: "\n")
        XCTAssertEqual(lines.count, ranks)
        for line in lines {
            XCTAssertTrue(line.hasSuffix(" threads 1 oversubscribed true policy passive"), String(line))
        }
    }
}
