import Collectives
import Datasets
import Models
import Training
import XCTest

final class EvaluationTests: XCTestCase {
    /// Images of noise; sample 1 is broken where asked for.
    private final class Noise: Dataset, @unchecked Sendable {
        let source = "noise"
        let classNames = ["a", "b"]
        let labels: [Int32] = [0, 1, 0, 1, 0]
        let hasBroken: Bool
        init(hasBroken: Bool = false) { self.hasBroken = hasBroken }
        func name(at index: Int) -> String { "noise/\(index)" }
        func fingerprint() throws -> String { "" }
        func storedSample(at index: Int) throws -> StoredSample {
            if hasBroken, index == 1 { return .encoded([1, 2, 3]) }
            let pixels = (0..<32 * 32 * 3).map { UInt8(truncatingIfNeeded: ($0 + 7) * (index + 3) * 31) }
            return .image(.pixels(DecodedImage(width: 32, height: 32, channels: 3, pixels: pixels)))
        }
    }

    private func loader(_ noise: Noise, _ network: Network) throws -> BatchLoader {
        try BatchLoader(
            dataset: noise, transform: .evaluation(network.architecture.imagePreprocessing),
            brokenFiles: noise.hasBroken ? .skip : .fail)
    }

    private func network() throws -> Network { try Architecture(named: "resnet8", classes: 2).network() }

    func testBrokenFilesAreNamedAndOthersCounted() throws {
        let network = try network()
        let found = try evaluate(
            network, on: loader(Noise(hasBroken: true), network), batch: 2, collectives: SingleProcess())
        XCTAssertEqual(found.summary.samples, 4)
        XCTAssertEqual(found.skipped.count, 1)
        XCTAssertTrue(found.skipped[0].contains("noise/1"), found.skipped[0])
    }

    func testStoppingGivesUp() throws {
        let network = try network()
        var asked = 0
        let found = try evaluate(network, on: loader(Noise(), network), batch: 2, collectives: SingleProcess()) {
            asked += 1
            return asked == 2
        }
        XCTAssertTrue(found.isStopped)
        XCTAssertEqual(found.summary.samples, 2)
    }

    func testALossThatIsNoNumberIsAnError() throws {
        let network = try network()
        network.store.parameters.last?.update { $0[0] = .nan }
        XCTAssertThrowsError(
            try evaluate(network, on: loader(Noise(), network), batch: 5, collectives: SingleProcess())
        ) {
            guard case .notFiniteLoss(_, "noise")? = $0 as? TrainingError else { return XCTFail("\($0)") }
            XCTAssertEqual(($0 as? GraftError)?.exitCode, .numerical)
        }
    }
}
