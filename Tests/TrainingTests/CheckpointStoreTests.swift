import Archives
import Training
import XCTest

final class CheckpointStoreTests: XCTestCase {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)")
        .path

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

    /// A damaged generation, or one of an abandoned future, neither counts nor is gone on from.
    func testNewerGenerationsAreSetAside() throws {
        let store = CheckpointStore(directory: folder, generations: 2)
        try store.save(archive, step: 90, isBest: false)
        try store.save(archive, step: 100, isBest: false)
        try store.wait()
        try Data("damaged".utf8).write(to: URL(fileURLWithPath: folder + "/step-00000120.h5"))
        try archive.write(to: folder + "/step-00000140.h5")
        let moved = try store.setAside(after: 100)
        XCTAssertEqual(moved.map(\.old), [120, 140].map { "\(folder)/step-00000\($0).h5" })
        XCTAssertEqual(moved.map(\.new), moved.map { $0.old + ".set-aside" })
        try store.save(archive, step: 110, isBest: false)
        try store.wait()
        XCTAssertEqual(
            try FileManager.default.contentsOfDirectory(atPath: folder).sorted(),
            [
                "step-00000100.h5", "step-00000110.h5", "step-00000120.h5.set-aside", "step-00000140.h5.set-aside",
            ])
        XCTAssertEqual(CheckpointStore.newestValid(in: folder).path, folder + "/step-00000110.h5")
        XCTAssertEqual(try store.setAside(after: 110).count, 0)
    }

    func testOpeningARunDeletesWhatAKilledOneLeft() throws {
        let run = try RunDirectory(folder + "/run", continuing: false)
        let leftover = run.checkpoints + "/.step-00000050.h5.999999999.partial"
        try Data([1]).write(to: URL(fileURLWithPath: leftover))
        _ = try RunDirectory(folder + "/run", continuing: true)
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
