import Datasets
import Foundation
import Tensors
import XCTest

final class PrefetcherTests: XCTestCase {
    private let sampler = Sampler(count: 60, seed: 5, shuffles: true)
    private let transform = Transform(channels: 1, steps: [.randomFlip()])

    private func loader(broken: Set<Int> = [], _ policy: BrokenFilePolicy = .fail) -> BatchLoader {
        let toy = ToyImages(
            classNames: ["a", "b", "c"], labels: (0..<60).map { Int32($0 % 3) }, broken: broken)
        return BatchLoader(dataset: toy, transform: transform, seed: 1, brokenFiles: policy)
    }

    private func run(_ prefetcher: Prefetcher) throws -> [Batch] {
        var batches: [Batch] = []
        while let batch = try prefetcher.next() { batches.append(batch) }
        return batches
    }

    func testBatchesComeInOrderAndTheSameForAnyNumberOfThreads() throws {
        let loader = loader()
        let wanted = try sampler.requests(epoch: 2, batch: 8).map(loader.load)
        XCTAssertEqual(wanted.map(\.count), [8, 8, 8, 8, 8, 8, 8, 4])
        for (threads, depth) in [(1, 1), (1, 4), (3, 2), (4, 8)] {
            let prefetcher = Prefetcher(
                loader, requests: sampler.requests(epoch: 2, batch: 8), threads: threads, depth: depth)
            let batches = try run(prefetcher)
            XCTAssertEqual(batches.map(\.step), Array(0..<8))
            for (batch, expected) in zip(batches, wanted) {
                XCTAssertEqual(batch.images.shape, [batch.count, 1, 1, 2])
                XCTAssertEqual(batch.images.scalars, expected.images.scalars)
                XCTAssertEqual(batch.labels.indices, expected.labels.indices)
                XCTAssertEqual(batch.indices, expected.indices)
            }
            XCTAssertNil(try prefetcher.next())
            XCTAssertGreaterThanOrEqual(prefetcher.secondsWaiting, 0)
        }
    }

    func testSamplesDoNotDependOnTheirBatch() throws {
        let whole = try loader().load(BatchRequest(epoch: 1, step: 0, indices: Array(0..<10)))
        let alone = try loader().load(BatchRequest(epoch: 1, step: 3, indices: [7]))
        XCTAssertEqual(Array(whole.images.scalars[14..<16]), alone.images.scalars)
    }

    func testNoMoreThanDepthBatchesAreLoadedAhead() throws {
        final class Counter: @unchecked Sendable {
            let lock = NSLock()
            var value = 0
        }
        let counter = Counter()
        let requests = (0..<100).lazy.map { step in
            counter.lock.withLock { counter.value = max(counter.value, step + 1) }
            return BatchRequest(epoch: 0, step: step, indices: [0])
        }
        let prefetcher = Prefetcher(loader(), requests: requests, threads: 2, depth: 3)
        for delivered in 1...10 {
            _ = try prefetcher.next()
            Thread.sleep(forTimeInterval: 0.005)
            XCTAssertLessThanOrEqual(counter.lock.withLock { counter.value }, delivered + 3)
        }
        prefetcher.cancel()
        XCTAssertNil(try prefetcher.next())
    }

    func testBrokenFilesFailInTheirTurn() throws {
        let broken = sampler.index(epoch: 0, position: 20)
        let prefetcher = Prefetcher(
            loader(broken: [broken]), requests: sampler.requests(epoch: 0, batch: 8), threads: 3)
        XCTAssertEqual(try prefetcher.next()?.count, 8)
        XCTAssertEqual(try prefetcher.next()?.count, 8)
        let wanted = "toy/\(broken).png: not a JPEG or PNG image; remove it, or \(skipping)"
        XCTAssertEqual(message(try prefetcher.next()), wanted)
        XCTAssertEqual(message(try prefetcher.next()), wanted)
    }

    func testBrokenFilesAreCountedWhereTheyAreSkipped() throws {
        let prefetcher = Prefetcher(
            loader(broken: [3, 4, 59], .skip), requests: sampler.requests(epoch: 0, batch: 8))
        let batches = try run(prefetcher)
        XCTAssertEqual(batches.map(\.count).reduce(0, +), 57)
        XCTAssertEqual(batches.flatMap(\.indices).sorted(), (0..<60).filter { ![3, 4, 59].contains($0) })
        XCTAssertEqual(prefetcher.skippedCount, 3)
        XCTAssertTrue(batches.allSatisfy { $0.images.shape[0] == $0.count && $0.labels.shape == [$0.count] })
    }

    func testEmptySlicesAreEmptyBatches() throws {
        let sized = BatchLoader(
            dataset: ToyImages(counts: [3, 3]),
            transform: Transform(channels: 3, steps: [.resize(width: 4, height: 5, .bilinear)]))
        let batch = try sized.load(BatchRequest(epoch: 0, step: 0, indices: []))
        XCTAssertEqual(batch.images.shape, [0, 3, 5, 4])
        XCTAssertEqual(batch.count, 0)
    }

    func testDroppingThePrefetcherEndsItsThreads() throws {
        weak var dataset: ToyImages?
        do {
            let toy = ToyImages(counts: [30, 30])
            dataset = toy
            let loader = BatchLoader(dataset: toy, transform: transform)
            let prefetcher = Prefetcher(loader, requests: sampler.requests(epoch: 0, batch: 4), threads: 2)
            _ = try prefetcher.next()
        }
        for _ in 0..<100 where dataset != nil { Thread.sleep(forTimeInterval: 0.01) }
        XCTAssertNil(dataset)
    }

    func testRealPhotographsLoad() throws {
        let digits = try openImageDataset(at: Locations.real("sign-language-digits").path)
        let loader = BatchLoader(
            dataset: digits,
            transform: Transform(steps: [.resize(width: 128, height: 128, .bilinear)]))
        let prefetcher = Prefetcher(
            loader, requests: Sampler(count: digits.count, shuffles: true).requests(epoch: 0, batch: 32),
            threads: 2)
        let start = Date()
        let batches = try run(prefetcher)
        XCTAssertEqual(batches.map(\.count).reduce(0, +), 1000)
        print("loading 1000 JPEGs to 128×128: \(Int(1000 / Date().timeIntervalSince(start))) images/s")
    }
}
