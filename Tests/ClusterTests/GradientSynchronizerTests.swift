import Cluster
import Collectives
import Tensors
import XCTest

final class GradientSynchronizerTests: XCTestCase {
    private func plan(_ counts: [Int], statistics: Int = 0, first: Int, then: Int) -> BucketPlan {
        let parameters = counts.enumerated().compactMap { index, count in
            Tensor.variable(.zeros([1])).variableID.map {
                PlannedParameter(variable: $0, count: count, path: "\(index)")
            }
        }
        return BucketPlan(
            trainable: parameters, statisticsCount: statistics, firstBucketBytes: first, bucketBytes: then)
    }

    func testBucketsFollowReverseRegistration() {
        let plan = plan([100, 16, 3, 20], statistics: 7, first: 64, then: 256)
        XCTAssertEqual(plan.parameters.map(\.path), ["3", "2", "1", "0"])
        XCTAssertEqual(plan.ranges, [0..<20, 32..<35, 48..<64, 64..<164])
        XCTAssertEqual(
            plan.buckets,
            [
                .init(elements: 0..<32, parameters: 0..<1),
                .init(elements: 32..<183, parameters: 1..<4),
            ])
        XCTAssertEqual(plan.gradientElements, 176)
        XCTAssertEqual(plan.statistics, 176..<183)
        XCTAssertEqual(plan.bytesPerExchange, 183 * 4)
    }

    func testNothingToTrain() throws {
        XCTAssertEqual(plan([], first: 1, then: 1).buckets, [])
        let plan = plan([], statistics: 2, first: 1, then: 1)
        XCTAssertEqual(plan.buckets, [.init(elements: 0..<2, parameters: 0..<0)])
        let synchronizer = GradientSynchronizer(plan: plan, collectives: SingleProcess())
        synchronizer.beginStep()
        synchronizer.statistics[1] = 3
        XCTAssertEqual(try synchronizer.finish().all.count, 0)
        XCTAssertEqual(Array(synchronizer.statistics), [0, 3])
    }

    /// A real backward pass, and rows of an embedding, into one rank's buckets.
    func testGradientsOfOneProcess() throws {
        let weight = Tensor.variable(Tensor([1, 2, 3], shape: [3]))
        let embedding = Tensor.variable(.zeros([4, 2]))
        let parameters = [weight, embedding].compactMap { tensor in
            tensor.variableID.map { PlannedParameter(variable: $0, count: tensor.count, path: "p") }
        }
        let synchronizer = GradientSynchronizer(
            plan: BucketPlan(trainable: parameters), collectives: SingleProcess())
        synchronizer.beginStep(passes: 2)
        for pass in 1...2 {
            let rows = embedding.gathered(rows: Tensor(indices: [3, 0, 3], shape: [3]))
            let loss =
                (weight * Tensor([1, 2, Float(pass)], shape: [3])).sum()
                + (rows * Tensor([1, 2, 3, 4, 5, 6], shape: [3, 2])).sum()
            try loss.backward(into: synchronizer)
            if pass == 1 { synchronizer.endPass() }
        }
        let sums = try synchronizer.finish()
        XCTAssertEqual(sums[parameters[0].variable].map { Array($0) }, [2, 4, 3])
        XCTAssertEqual(sums[parameters[1].variable].map { Array($0) }, [6, 8, 0, 0, 0, 0, 12, 16])
        // A new step starts from nothing.
        synchronizer.beginStep()
        let none = try synchronizer.finish()
        XCTAssertEqual(Array(none.all), [Float](repeating: 0, count: none.all.count))
    }

    func testOrderOfArrivalDoesNotMatter() throws {
        for ranks in 1...3 {
            let outcome = try onRanks(ranks, "synchronizer")
            XCTAssertEqual(outcome.code, 0, outcome.errors)
            XCTAssertEqual(outcome.output, "gradients agree on \(ranks) ranks\n")
        }
        XCTAssertEqual(try onRanks(3, "synchronizer", "--chunk", "7").code, 0)
    }

    /// Reductions advance from inside operations, by `ComputationHook`, and by nothing else while these compute.
    func testReductionsOverlapWithComputing() throws {
        for ranks in [2, 3] {
            let outcome = try onRanks(ranks, "overlap")
            XCTAssertEqual(outcome.code, 0, outcome.errors)
        }
    }
}
