import Tensors
import XCTest

final class ThreadTests: XCTestCase {
    /// Everything but matrix products gives the same bits for one thread and two.
    func testResultsDoNotDependOnThreads() throws {
        let x = randomTensor([300, 1024], seed: 1)
        let row = randomTensor([1024], seed: 2, in: 0.5..<2)
        let labels = Tensor(indices: (0..<300).map { Int32($0 % 1000) }, shape: [300])
        let key = RandomKey(seed: 3, purpose: .dropout)
        let blocks = randomTensor([4, 20, 40, 40], seed: 4).inChannelBlocks(of: 16)
        let operations: [(String, () -> Tensor)] = [
            ("arithmetic", { x * row + x / row - 2 }), ("functions", { gelu(x) + tanh(x) + exp(x) }),
            ("sum", { x.sum() }), ("row sums", { x.sum(axes: [1]) }), ("column sums", { x.sum(axes: [0]) }),
            ("variance", { x.variance(axes: [0]) }), ("softmax", { softmax(x) }), ("softmax 0", { softmax(x, axis: 0) }),
            ("cross-entropy", { crossEntropy(x, labels: labels) }), ("dropout", { dropout(x, rate: 0.2, key: key) }),
            ("transpose", { x.transposed() }), ("slice", { x.sliced(axis: 1, 3..<900, step: 2) }),
            ("random", { .normal([100_003], key: key) }), ("gather", { x.gathered(rows: labels.sliced(axis: 0, 0..<299)) }),
            ("blocks", { blocks + blocks * 3 }),
        ]
        let before = Threads.count
        defer { Threads.count = before }
        for (name, operation) in operations {
            Threads.count = 1
            let alone = operation().scalars
            Threads.count = 2
            XCTAssertEqual(operation().scalars, alone, name)
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
