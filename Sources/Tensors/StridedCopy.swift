/// Copies a box of four-byte elements between memories with different strides: what transposing, slicing,
/// padding, repeating and joining have in common.
struct StridedCopy {
    private var sizes: [Int] = []
    private var from: [Int] = []
    private var to: [Int] = []
    private let count: Int

    /// - Parameters:
    ///   - shape: the size of the box.
    ///   - from: how far apart neighbours lie in the source, for each dimension; 0 to repeat.
    ///   - to: the same for the target.
    init(_ shape: [Int], from: [Int], to: [Int]) {
        count = shape.elementCount
        for axis in shape.indices where shape[axis] != 1 {
            if let lastFrom = self.from.last, let lastTo = self.to.last, lastFrom == from[axis] * shape[axis],
                lastTo == to[axis] * shape[axis]
            {
                sizes[sizes.count - 1] *= shape[axis]
                (self.from[sizes.count - 1], self.to[sizes.count - 1]) = (from[axis], to[axis])
            } else {
                sizes.append(shape[axis])
                self.from.append(from[axis])
                self.to.append(to[axis])
            }
        }
        if sizes.isEmpty { (sizes, self.from, self.to) = ([1], [0], [0]) }
    }

    func run(from source: Storage, fromOffset: Int = 0, to target: Storage, toOffset: Int = 0) {
        precondition(
            source.elementType.byteCount == 4 && target.elementType.byteCount == 4,
            "copying \(source.elementType) to \(target.elementType) is not supported")
        guard count > 0 else { return }
        let x = source.pointer.assumingMemoryBound(to: UInt32.self) + fromOffset
        let r = target.pointer.assumingMemoryBound(to: UInt32.self) + toOffset
        let inner = sizes[sizes.count - 1]
        let (innerFrom, innerTo) = (from[sizes.count - 1], to[sizes.count - 1])
        Threads.parallelFor(count: count / inner, grain: max(1, Elementwise.grain / inner)) { rows in
            for row in rows {
                var (rest, a, b) = (row, 0, 0)
                for axis in stride(from: sizes.count - 2, through: 0, by: -1) {
                    let (quotient, index) = rest.quotientAndRemainder(dividingBy: sizes[axis])
                    a += index * from[axis]
                    b += index * to[axis]
                    rest = quotient
                }
                Self.copyRow(x + a, innerFrom, r + b, innerTo, inner)
            }
        }
        withExtendedLifetime((source, target)) {}
    }

    @inline(__always)
    private static func copyRow(
        _ x: UnsafeMutablePointer<UInt32>, _ stepX: Int, _ r: UnsafeMutablePointer<UInt32>, _ stepR: Int,
        _ count: Int
    ) {
        if stepX == 1, stepR == 1 {
            r.update(from: x, count: count)
        } else if stepX == 0, stepR == 1 {
            r.update(repeating: x[0], count: count)
        } else {
            for i in 0..<count { r[i &* stepR] = x[i &* stepX] }
        }
    }
}
