import Archives
import Training
import XCTest

final class CheckpointStoreTests: XCTestCase {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path

    override func setUpWithError() throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    override func tearDownWithError() throws { try FileManager.default.removeItem(atPath: folder) }

    private var archive: GraftArchive {
        GraftArchive(
            metadata: WeightMetadata(),
            sections: [.init(name: "parameters", tensors: [StoredTensor(name: "a", shape: [2], scalars: [1, 2])])])
    }

    func testTheNewestGenerationsAndTheBestStay() throws {
        let store = CheckpointStore(directory: folder, generations: 3)
        for step in 1...5 { try store.save(archive, step: step * 50, isBest: step == 2) }
        try store.wait()
        XCTAssertNil(store.failureSoFar())
        XCTAssertEqual(
            try FileManager.default.contentsOfDirectory(atPath: folder).sorted(),
            ["best.h5", "step-00000150.h5", "step-00000200.h5", "step-00000250.h5"])
    }

    func testOpeningARunDeletesWhatAKilledOneLeft() throws {
        let run = try RunDirectory(folder + "/run", resuming: false)
        let leftover = run.checkpoints + "/.step-00000050.h5.999999999.partial"
        try Data([1]).write(to: URL(fileURLWithPath: leftover))
        _ = try RunDirectory(folder + "/run", resuming: true)
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: run.checkpoints), [])
    }

    /// Whoever asks first must not take the error from whoever can act on it.
    func testAFailureStaysUntilItIsThrown() throws {
        let store = CheckpointStore(directory: folder + "/missing", generations: 2)
        try store.save(archive, step: 1, isBest: false)
        while store.failureSoFar() == nil { usleep(1_000) }
        XCTAssertNotNil(store.failureSoFar())
        XCTAssertThrowsError(try store.wait())
        XCTAssertNoThrow(try store.wait())
        XCTAssertNil(store.failureSoFar())
    }
}
