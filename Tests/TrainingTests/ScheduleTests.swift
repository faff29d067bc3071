import Training
import XCTest

final class ScheduleTests: XCTestCase {
    private struct Case: Decodable {
        let name: String
        let stepsPerEpoch: Int
        let totalSteps: Int
        let factors: [Double]
    }

    private let schedules: [String: Schedule] = [
        "constant": Schedule(),
        "step": Schedule(shape: .step(epochs: 2, factor: 0.3)),
        "milestones": Schedule(shape: .milestones(epochs: [3, 6], factor: 0.1)),
        "cosine": Schedule(shape: .cosine(end: 0)),
        "cosine-end": Schedule(shape: .cosine(end: 0.05)),
        "linear": Schedule(shape: .linear(end: 0.2)),
        "warm-up-cosine": Schedule(shape: .cosine(end: 0), warmUp: .init(length: .epochs(2), start: 0.1)),
        "warm-up-step": Schedule(
            shape: .step(epochs: 3, factor: 0.5), warmUp: .init(length: .steps(7), start: 0.25)),
    ]

    func testEveryScheduleFollowsPyTorch() throws {
        let cases = try referenceNumbers("schedules", as: [Case].self)
        XCTAssertEqual(cases.count, schedules.count)
        for reference in cases {
            let schedule = try XCTUnwrap(schedules[reference.name], reference.name)
            let factors = (0..<reference.totalSteps).map {
                schedule.factor(
                    step: $0, stepsPerEpoch: reference.stepsPerEpoch, totalSteps: reference.totalSteps)
            }
            XCTAssertLessThan(relativeDifference(factors, reference.factors), 1e-6, reference.name)
        }
    }

    func testStepsBeyondTheEndStayAtTheEnd() {
        let schedule = Schedule(shape: .cosine(end: 0.1), warmUp: .init(length: .steps(10), start: 0))
        XCTAssertEqual(schedule.factor(step: 50, stepsPerEpoch: 1, totalSteps: 20), 0.1, accuracy: 1e-12)
        XCTAssertEqual(schedule.factor(step: 5, stepsPerEpoch: 1, totalSteps: 5), 0.5, accuracy: 1e-12)
    }
}
