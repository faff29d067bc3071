import Tensors
import XCTest

/// Parts computed again by backward give what keeping them gives, to the bit.
final class RecomputationTests: XCTestCase {
    private let images = randomTensor([3, 8, 9, 7], seed: 1)
    private let labels = Tensor(indices: [0, 2, 1], shape: [3])

    private func variables() -> [Tensor] {
        [[32, 8, 3, 3], [32], [32], [32], [32, 1, 3, 3], [32, 32, 1, 1], [3, 32], [3]].enumerated().map {
            .variable(randomTensor($1, seed: UInt64(60 + $0)))
        }
    }

    /// Convolutions, batch norm with a residual sum, dropout and a linear layer; p[5] is used in two parts and after
    /// them. `part` runs each part.
    private func loss(
        _ p: [Tensor], _ input: Tensor, _ part: (Tensor, @escaping (Tensor) throws -> Tensor) throws -> Tensor
    ) throws -> Tensor {
        var x = try part(input) { x in
            let y = convolution2D(x, weight: p[0], bias: p[1], padding: SpatialPadding(1), activation: .relu)
            return try batchNormalization(y, scale: p[2], shift: p[3], epsilon: 1e-3, activation: .relu6).output
        }
        for key in 0..<2 {
            x = try part(x) { x in
                let y = convolution2D(x, weight: p[4], padding: SpatialPadding(1), groups: 32)
                let z = convolution2D(y, weight: p[5])
                let sum = try batchNormalization(
                    z, scale: p[2], shift: p[3], epsilon: 1e-3, residual: x, activation: .relu
                ).output
                return dropout(
                    sum, rate: 0.3, key: RandomKey(seed: 5, purpose: .dropout, path: "\(key)", epoch: 0))
            }
        }
        let logits = linear(globalAveragePool(convolution2D(x, weight: p[5])), weight: p[6], bias: p[7])
        return crossEntropy(logits, labels: labels)
    }

    private func plain(_ x: Tensor, _ body: @escaping (Tensor) throws -> Tensor) throws -> Tensor { try body(x) }

    private func again(_ x: Tensor, _ body: @escaping (Tensor) throws -> Tensor) throws -> Tensor {
        try recomputed(x) { x, _ in try body(x) }
    }

    private func gradients(_ p: [Tensor], of loss: Tensor, keepGraph: Bool = false) throws -> [[Float]] {
        try gradient(of: loss, wrt: p, keepGraph: keepGraph).map(\.scalars)
    }

    func testSameBits() throws {
        let p = variables() + [.variable(images)]
        let expected = try gradients(p, of: loss(p, p[8], plain))
        XCTAssertTrue(expected.allSatisfy { $0.contains { $0 != 0 } })
        let recomputing = try loss(p, p[8], again)
        XCTAssertEqual(recomputing.scalar, try loss(p, p[8], plain).scalar)
        let seconds = Recomputation.seconds
        XCTAssertEqual(try gradients(p, of: recomputing, keepGraph: true), expected)
        XCTAssertGreaterThan(Recomputation.seconds, seconds)
        XCTAssertEqual(try gradients(p, of: recomputing), expected, "a second walk")
        // All of it as one part with the parts in it.
        let nested = try recomputed(p[8]) { x, _ in try self.loss(p, x, self.again) }
        XCTAssertEqual(try gradients(p, of: nested), expected, "parts in a part")
        // Only some learn, and the input does not.
        let some = p.enumerated().map { [0, 5].contains($0) ? $1 : $1.detached }
        let partly = try loss(some, images, again)
        XCTAssertEqual(try gradients([p[0], p[5]], of: partly), [expected[0], expected[5]])
    }

    func testSquaresOfSamplesAndSecondDerivatives() throws {
        let p = variables()
        func squares(_ part: (Tensor, @escaping (Tensor) throws -> Tensor) throws -> Tensor) throws -> [[Float]] {
            let collector = GradientCollector()
            let x = try part(images) { x in
                batchNormalization(
                    convolution2D(x, weight: p[0], bias: p[1]), scale: p[2], shift: p[3], mean: .full([32], 0.1),
                    variance: .full([32], 0.5), epsilon: 1e-3, activation: .relu)
            }
            let loss = crossEntropy(linear(globalAveragePool(x), weight: p[6], bias: p[7]), labels: labels)
            try loss.backward(into: collector, parameters: .sumOfSquares)
            return try [0, 1, 2, 3, 6, 7].map { index in
                try XCTUnwrap(collector.gradients[XCTUnwrap(p[index].variableID)]).tensor.scalars
            }
        }
        XCTAssertEqual(try squares(again), try squares(plain))

        func penalty(_ part: (Tensor, @escaping (Tensor) throws -> Tensor) throws -> Tensor) throws -> [[Float]] {
            let a = Tensor.variable(randomTensor([4, 4], seed: 9))
            let y = try part(a) { matmul($0, sigmoid(matmul($0, a))) }
            let first = try gradient(of: y.sum(), wrt: [a], createGraph: true)[0]
            return [first.scalars] + (try gradients([a], of: square(first).sum()))
        }
        XCTAssertEqual(try penalty(again), try penalty(plain))
    }

    func testNothingIsRecordedWhereNothingLearns() throws {
        var calls = 0
        let x = try recomputed(images) { x, _ in
            calls += 1
            return x * 2
        }
        XCTAssertFalse(x.requiresGradient)
        let variable = Tensor.variable(images)
        let same = try recomputed(variable) { x, _ in x }
        XCTAssertEqual(same.variableID, variable.variableID)
        XCTAssertEqual(calls, 1)
    }

    /// Eight parts of eight megabytes each: what is kept is their inputs and one part.
    func testMemory() throws {
        let (pool, megabyte) = (StoragePool.shared, 1 << 20)
        func peak(_ part: (Tensor, @escaping (Tensor) throws -> Tensor) throws -> Tensor) throws -> Int {
            let before = pool.statistics.bytesInUse
            pool.resetHighWaterMark()
            let a = Tensor.variable(.full([megabyte / 4], 0.1))
            var x = a
            for _ in 0..<8 { x = try part(x) { x in (0..<8).reduce(x) { y, _ in tanh(y) } } }
            let loss = x.sum()
            x = a
            _ = try gradient(of: loss, wrt: [a])
            return pool.statistics.highWaterMark - before
        }
        XCTAssertGreaterThan(try peak(plain), 64 * megabyte)
        XCTAssertLessThan(try peak(again), 24 * megabyte)
    }

    /// Each gradient once, the last parts' first, with work between them.
    func testGradientsAreReportedAsSoonAsFinished() throws {
        let recorder = OrderRecorder()
        let layers = (0..<4).map { _ in Tensor.variable(.full([8, 8, 3, 3], 0.1)) }
        var x = Tensor.ones([2, 8, 6, 6])
        for layer in layers { x = try again(x) { convolution2D($0, weight: layer, padding: SpatialPadding(1)) } }
        let loss = x.sum()
        var computed = 0
        var computedAtReport: [Int] = []
        ComputationHook.set { computed += 1 }
        defer { ComputationHook.set(nil) }
        recorder.onReport = { computedAtReport.append(computed) }
        try loss.backward(into: recorder)
        XCTAssertEqual(recorder.order, layers.reversed().compactMap(\.variableID))
        for (earlier, later) in zip(computedAtReport, computedAtReport.dropFirst()) {
            XCTAssertLessThan(earlier, later)
        }
    }
}
