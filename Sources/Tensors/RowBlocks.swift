/// The rows of a matrix in blocks of fixed height, worked on by all threads: sums over rows are made block by block, so
/// that they do not depend on the number of threads.
struct RowBlocks {
    static let height = 64

    let rows, width: Int
    private let height: Int

    /// - Parameter samples: where sums are squared per sample, how many there are; blocks are then samples.
    init(_ x: Tensor, samples: Int? = nil) {
        width = x.shape.last ?? 1
        let rows = x.count / Swift.max(1, width)
        self.rows = rows
        height = Swift.max(1, samples.map { rows / Swift.max(1, $0) } ?? Self.height)
    }

    private var count: Int { (rows + height - 1) / height }

    /// Runs `body(first row, number of rows, block)` for every block.
    func forEach(_ name: StaticString, arrays: Int, _ body: (_ first: Int, _ rows: Int, _ block: Int) -> Void) {
        Profile.measure(name, bytes: 4 * arrays * rows * width) {
            let grain = Swift.max(1, Elementwise.grain / Swift.max(1, height * width))
            Threads.parallelFor(count: count, grain: grain) { blocks in
                for block in blocks {
                    let first = block * height
                    body(first, Swift.min(height, rows - first), block)
                }
            }
        }
    }

    /// The same with memory for sums over the rows of each block, zero at first: `sums` vectors of the matrix's width.
    ///
    /// - Returns: the sums over all blocks, in double precision; of their squares where blocks are samples.
    func sums(
        _ name: StaticString, arrays: Int, vectors: Int, squared: Bool,
        _ body: (_ first: Int, _ rows: Int, _ sums: UnsafeMutablePointer<Float>) -> Void
    ) -> [Tensor] {
        let partial = Tensor.zeros([count, vectors, width])
        let base = partial.floats
        forEach(name, arrays: arrays) { first, rows, block in body(first, rows, base + block * vectors * width) }
        return (0..<vectors).map { vector in
            Tensor(shape: [width]) { result in
                for column in result.indices {
                    var sum = 0.0
                    for block in 0..<count {
                        let value = Double(base[(block * vectors + vector) * width + column])
                        sum += squared ? value * value : value
                    }
                    result[column] = Float(sum)
                }
                withExtendedLifetime(partial) {}
            }
        }
    }
}
