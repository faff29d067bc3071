import Tensors
import XCTest

final class ThreadTests: XCTestCase {
    /// Everything but matrix products and convolutions gives the same bits for one thread and two.
    func testResultsDoNotDependOnThreads() throws {
        let x = randomTensor([300, 1024], seed: 1)
        let row = randomTensor([1024], seed: 2, in: 0.5..<2)
        let labels = Tensor(indices: (0..<300).map { Int32($0 % 1000) }, shape: [300])
        let key = RandomKey(seed: 3, purpose: .dropout)
        let blocks = randomTensor([4, 20, 40, 40], seed: 4).inChannelBlocks(of: 16)
        let operations: [(String, () -> Tensor)] = [
            ("arithmetic", { x * row + x / row - 2 }), ("functions", { gelu(x) + tanh(x) + exp(x) }),
            ("sum", { x.sum() }), ("row sums", { x.sum(axes: [1]) }), ("column sums", { x.sum(axes: [0]) }),
            ("variance", { x.variance(axes: [0]) }), ("softmax", { softmax(x) }),
            ("softmax 0", { softmax(x, axis: 0) }),
            ("cross-entropy", { crossEntropy(x, labels: labels) }), ("dropout", { dropout(x, rate: 0.2, key: key) }),
            ("transpose", { x.transposed() }), ("slice", { x.sliced(axis: 1, 3..<900, step: 2) }),
            ("random", { .normal([100_003], key: key) }),
            ("gather", { x.gathered(rows: labels.sliced(axis: 0, 0..<299)) }),
            ("blocks", { blocks + blocks * 3 }),
        ]
        try assertSameBits(operations.map { name, operation in (name, { [operation()] }) })
    }

    /// Values and gradients, of row-major images and of images in blocks.
    func testBatchNormAndPoolingDoNotDependOnThreads() throws {
        let images = randomTensor([6, 20, 40, 40], seed: 5)
        let (scale, shift) = (randomTensor([20], seed: 6), randomTensor([20], seed: 7))
        func withGradients(_ inputs: [Tensor], _ body: ([Tensor]) throws -> [Tensor]) throws -> [Tensor] {
            let variables = inputs.map { Tensor.variable($0) }
            let outputs = try body(variables)
            return try outputs + gradient(of: (outputs[0] * outputs[0]).sum(), wrt: variables)
        }
        let layouts: [(String, (Tensor) -> Tensor)] = [("rows", { $0 }), ("blocks", { $0.inChannelBlocks(of: 16) })]
        try assertSameBits(
            layouts.flatMap { name, layout -> [(String, () throws -> [Tensor])] in
                [
                    (
                        "batch norm in \(name)",
                        {
                            try withGradients([images, scale, shift]) {
                                let (output, moments) = try batchNormalization(
                                    layout($0[0]), scale: $0[1], shift: $0[2], epsilon: 1e-5, activation: .relu)
                                return [output, moments.mean, moments.variance]
                            }
                        }
                    ),
                    (
                        "maximum in \(name)",
                        {
                            try withGradients([images]) { [maxPool2D(layout($0[0]), window: (3, 3), stride: (2, 2))] }
                        }
                    ),
                    (
                        "average in \(name)",
                        {
                            try withGradients([images]) {
                                [averagePool2D(layout($0[0]), window: (3, 3), stride: (2, 2))]
                            }
                        }
                    ),
                    (
                        "global average in \(name)",
                        {
                            try withGradients([images]) { [globalAveragePool(layout($0[0]))] }
                        }
                    ),
                ]
            })
    }

    private func assertSameBits(_ operations: [(String, () throws -> [Tensor])]) throws {
        let before = Threads.count
        defer { Threads.count = before }
        for (name, operation) in operations {
            Threads.count = 1
            let alone = try operation().map(\.scalars)
            Threads.count = 2
            XCTAssertEqual(try operation().map(\.scalars), alone, name)
        }
    }

    func testParallelForCoversEverythingOnce() {
        let before = Threads.count
        defer { Threads.count = before }
        for threads in [1, 2, 3] {
            Threads.count = threads
            for count in [0, 1, 2, 7, 1000] {
                let visits = UnsafeMutablePointer<Int>.allocate(capacity: count + 1)
                defer { visits.deallocate() }
                visits.initialize(repeating: 0, count: count + 1)
                Threads.parallelFor(count: count) { for i in $0 { visits[i] += 1 } }
                XCTAssertEqual((0..<count).map { visits[$0] }, [Int](repeating: 1, count: count))
            }
        }
    }

    /// OpenBLAS falls back to its oldest kernels on processors it does not know; that must not happen.
    func testOpenBLASRunsModernKernels() {
        let library = OpenBLAS.description
        let oldest = ["Prescott", "Core2", "Katmai", "Coppermine", "Northwood", "Banias", "generic", "unknown"]
        XCTAssertFalse(oldest.contains { library.kernel.caseInsensitiveCompare($0) == .orderedSame }, "\(library)")
        XCTAssertTrue(library.usesOpenMP, "\(library)")
    }
}
