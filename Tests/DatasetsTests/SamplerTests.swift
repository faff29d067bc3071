import Datasets
import Tensors
import XCTest

final class SamplerTests: XCTestCase {
    func testPermutationsAreBijections() {
        for count in [0, 1, 2, 3, 4, 5, 7, 16, 17, 97, 255, 256, 257, 1000, 1009, 4096, 65_537, 100_003] {
            for seed in 0..<(count < 300 ? 20 : 2) {
                let permutation = Permutation(
                    count: count, key: RandomKey(seed: UInt64(seed), purpose: .test))
                var seen = [Bool](repeating: false, count: count)
                for index in 0..<count { seen[permutation[index]] = true }
                XCTAssertTrue(seen.allSatisfy { $0 }, "\(count) with seed \(seed)")
            }
        }
    }

    func testEveryOrderOfThreeIsAboutAsLikely() {
        var counts: [[Int]: Int] = [:]
        for epoch in 0..<6000 {
            let permutation = Permutation(count: 3, key: RandomKey(seed: 1, purpose: .test, epoch: epoch))
            counts[(0..<3).map { permutation[$0] }, default: 0] += 1
        }
        XCTAssertEqual(counts.count, 6)
        for (order, count) in counts { XCTAssertEqual(Double(count), 1000, accuracy: 150, "\(order)") }
    }

    func testPositionsSpreadEvenly() {
        // Where the first tenth goes, over epochs: each tenth gets a tenth.
        let count = 1000
        var tenths = [Int](repeating: 0, count: 10)
        var fixed = 0
        for epoch in 0..<200 {
            let permutation = Permutation(count: count, key: RandomKey(seed: 7, purpose: .test, epoch: epoch))
            for index in 0..<100 { tenths[permutation[index] / 100] += 1 }
            for index in 0..<count where permutation[index] == index { fixed += 1 }
        }
        for tenth in tenths { XCTAssertEqual(Double(tenth), 2000, accuracy: 200) }
        // A random permutation leaves one number in its place on average.
        XCTAssertEqual(Double(fixed), 200, accuracy: 60)
        // Neighbours part: the mean distance of random places is a third.
        let permutation = Permutation(count: count, key: RandomKey(seed: 7, purpose: .test))
        let distances = (1..<count).map { abs(permutation[$0] - permutation[$0 - 1]) }
        XCTAssertEqual(Double(distances.reduce(0, +)) / Double(count), 333, accuracy: 30)
    }

    func testEpochsDifferAndRepeat() {
        let sampler = Sampler(count: 50, seed: 9, shuffles: true)
        func order(_ epoch: Int) -> [Int] { (0..<50).map { sampler.index(epoch: epoch, position: $0) } }
        XCTAssertEqual(order(3), order(3))
        XCTAssertNotEqual(order(3), order(4))
        XCTAssertEqual(
            (0..<50).map { Sampler(count: 50, shuffles: false).index(epoch: 2, position: $0) }, Array(0..<50))
    }

    func testEverySampleIsSeenOnceAtAnyNumberOfRanks() {
        for (count, batch) in [(10, 4), (7, 7), (23, 8), (5, 32), (100, 1)] {
            let sampler = Sampler(count: count, seed: 1, shuffles: true)
            var wanted: [[Int]] = []
            for worldSize in [1, 2, 3, 4, 5] {
                let ranks = (0..<worldSize).map {
                    Array(sampler.requests(epoch: 1, batch: batch, rank: $0, worldSize: worldSize))
                }
                XCTAssertTrue(ranks.allSatisfy { $0.count == sampler.stepCount(batch: batch) })
                let steps = (0..<sampler.stepCount(batch: batch)).map { step in
                    ranks.flatMap { $0[step].indices }
                }
                XCTAssertEqual(steps.flatMap { $0 }.sorted(), Array(0..<count))
                // The same global batches whatever the number of ranks.
                if wanted.isEmpty { wanted = steps }
                XCTAssertEqual(steps, wanted)
                let sizes = ranks.map { $0[0].indices.count }
                XCTAssertLessThanOrEqual((sizes.max() ?? 0) - (sizes.min() ?? 0), 1)
            }
        }
    }

    func testResumingInTheMiddleOfAnEpoch() {
        let sampler = Sampler(count: 31, seed: 2, shuffles: true)
        let all = Array(sampler.requests(epoch: 4, batch: 8))
        XCTAssertEqual(all.map(\.indices.count), [8, 8, 8, 7])
        XCTAssertEqual(Array(sampler.requests(epoch: 4, batch: 8, firstStep: 2)), Array(all[2...]))
        XCTAssertEqual(Array(sampler.requests(epoch: 4, batch: 8, firstStep: 9)), [])
    }

    func testImpossibleSizes() {
        let sampler = Sampler(count: 3, shuffles: false)
        XCTAssertEqual(
            message(try sampler.validate(batch: 2, worldSize: 4)),
            "4 ranks but only 3 samples; start at most 3 ranks")
        XCTAssertEqual(
            message(try sampler.validate(batch: 0, worldSize: 1)),
            "batch: 0 is not possible; give a positive number of samples")
    }
}
