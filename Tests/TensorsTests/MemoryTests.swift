import Tensors
import XCTest

/// What the tape and the pool hold, and for how long.
final class MemoryTests: XCTestCase {
    private var pool: StoragePool { .shared }
    private let megabyte = 1 << 20

    func testHighWaterMark() {
        let before = pool.statistics.bytesInUse
        pool.resetHighWaterMark()
        XCTAssertEqual(pool.statistics.highWaterMark, before)
        do {
            let block = Tensor.zeros([megabyte])
            XCTAssertEqual(pool.statistics.bytesInUse - before, 4 * megabyte)
            withExtendedLifetime(block) {}
        }
        XCTAssertEqual(pool.statistics.bytesInUse, before)
        XCTAssertEqual(pool.statistics.highWaterMark - before, 4 * megabyte)
        let asked = pool.statistics.systemAllocations
        _ = Tensor.zeros([megabyte])
        XCTAssertEqual(pool.statistics.systemAllocations, asked, "the freed block was not used again")
        pool.trim()
        XCTAssertLessThanOrEqual(pool.statistics.bytesHeld, pool.statistics.bytesInUse)
    }

    /// A thousand operations in a row hold what one does where nothing is recorded.
    func testLongChainWithoutTape() {
        pool.resetHighWaterMark()
        let before = pool.statistics.bytesInUse
        withoutTape {
            var x = Tensor.ones([megabyte / 4])
            for _ in 0..<1000 { x = x * 0.999 }
        }
        XCTAssertLessThanOrEqual(pool.statistics.highWaterMark - before, 3 * megabyte)
    }

    /// Backward frees each operation's inputs once it has passed: the peak is the forward pass plus a few.
    func testBackwardFreesAsItGoes() throws {
        let before = pool.statistics.bytesInUse
        pool.resetHighWaterMark()
        let x = Tensor.variable(.ones([megabyte / 4]))
        var y = x
        for _ in 0..<50 { y = tanh(y) }
        let loss = y.sum()
        y = .zeros([1])
        let recorder = OrderRecorder()
        var left = 0
        recorder.onReport = { left = self.pool.statistics.bytesInUse - before }
        let recorded = pool.statistics.bytesInUse - before
        XCTAssertLessThanOrEqual(recorded, 53 * megabyte)
        try loss.backward(into: recorder)
        XCTAssertLessThanOrEqual(left, 4 * megabyte, "at the last gradient everything else has gone")
        XCTAssertLessThanOrEqual(pool.statistics.highWaterMark - before, recorded + 6 * megabyte)
    }

    func testIntermediateIsGoneAfterBackward() throws {
        weak var intermediate: Storage?
        let x = Tensor.variable(.ones([16]))
        let loss: Tensor
        do {
            let y = exp(x)
            intermediate = y.storage
            loss = (y * y).sum()
        }
        XCTAssertNotNil(intermediate, "the product's backward needs it")
        try loss.backward(into: GradientCollector())
        XCTAssertNil(intermediate)
        withExtendedLifetime(loss) {}
    }

    func testDroppedGraphsAreFreed() throws {
        let before = pool.statistics.bytesInUse
        let x = Tensor.variable(.ones([1000]))
        let labels = Tensor(indices: [0, 1], shape: [2])
        for _ in 0..<3 {
            let y = softmax(gelu(tanh(exp(x * 0.1))).reshaped([2, 500]))
            let z = logSoftmax(maximum(y, sqrt(square(y) + 1)).transposed().transposed())
            _ = crossEntropy(concatenated([z, sigmoid(z)], axis: 1), labels: labels)
            _ = try gradient(of: matmul(z, z, transposeB: true).sum(), wrt: [x], createGraph: true)
        }
        withExtendedLifetime((x, labels)) {}
        XCTAssertLessThanOrEqual(pool.statistics.bytesInUse - before, 3 * 4096)
    }

    /// Letting go of a long graph must not run out of stack.
    func testLongGraphIsDropped() {
        let x = Tensor.variable(.ones([1]))
        var y = x
        for _ in 0..<200_000 { y = y + x }
        XCTAssertEqual(y.scalar, 200_001)
    }
}
