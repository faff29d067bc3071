import CKernels

extension Tensor {
    /// Sums over the dimensions in which this tensor was made by repeating one of the given shape: what
    /// broadcasting does to a gradient.
    func summed(to wanted: [Int]) -> Tensor {
        guard shape != wanted else { return self }
        let missing = rank - wanted.count
        let axes = (0..<rank).filter { $0 < missing || (wanted[$0 - missing] == 1 && shape[$0] != 1) }
        return sum(axes: axes, keepDimensions: true).reshaped(wanted)
    }

    /// The sum of the elements over `axes`; over all of them by default.
    ///
    /// - Parameters:
    ///   - axes: dimensions; negative ones count from the last.
    ///   - keepDimensions: leaves a dimension of one element where one was summed over.
    public func sum(axes: [Int]? = nil, keepDimensions: Bool = false) -> Tensor {
        let reduction = Reduction(shape, axes: axes, "sum")
        let result = Tensor(uninitialized: keepDimensions ? reduction.keptShape : reduction.shape)
        withScalars { reduction.sum($0, into: result.floats) }
        let (kept, full) = (reduction.keptShape, shape)
        return result.recorded("sum", from: [self]) { [$0.reshaped(kept).expanded(full)] }
    }

    /// The mean of the elements over `axes`; over all of them by default.
    public func mean(axes: [Int]? = nil, keepDimensions: Bool = false) -> Tensor {
        let reduction = Reduction(shape, axes: axes, "mean")
        return sum(axes: axes, keepDimensions: keepDimensions) / Float(Swift.max(1, reduction.reducedCount))
    }

    /// The variance of the elements over `axes`; over all of them by default.
    ///
    /// - Parameter unbiased: divides by one less than the number of elements.
    public func variance(axes: [Int]? = nil, unbiased: Bool = false, keepDimensions: Bool = false) -> Tensor {
        let reduction = Reduction(shape, axes: axes, "variance")
        let deviation = self - mean(axes: axes, keepDimensions: true)
        let divisor = Float(Swift.max(1, reduction.reducedCount - (unbiased ? 1 : 0)))
        return square(deviation).sum(axes: axes, keepDimensions: keepDimensions) / divisor
    }

    /// The largest element over `axes`; over all of them by default. Of several equal ones the first gets
    /// the gradient.
    public func max(axes: [Int]? = nil, keepDimensions: Bool = false) -> Tensor {
        let reduction = Reduction(shape, axes: axes, "max")
        precondition(reduction.reducedCount > 0, "max: nothing to choose from in the shape \(shape)")
        let result = Tensor(uninitialized: keepDimensions ? reduction.keptShape : reduction.shape)
        let places = Tensor(uninitialized: reduction.shape, elementType: .int32)
        withScalars { reduction.findMaxima($0, into: result.floats, at: places.storage.integers) }
        let full = shape
        return result.recorded("max", from: [self]) { gradient in
            let mask = Tensor(shape: full) { reduction.mark(places.storage.integers, in: $0) }
            return [gradient.reshaped(reduction.keptShape) * mask]
        }
    }

    /// Where along `axis` the largest element is, the first of several: `Int32` indices.
    public func argmax(axis: Int = -1, keepDimensions: Bool = false) -> Tensor {
        let reduction = Reduction(shape, axes: [axis], "argmax")
        precondition(reduction.reducedCount > 0, "argmax: nothing to choose from in the shape \(shape)")
        let places = Tensor(
            uninitialized: keepDimensions ? reduction.keptShape : reduction.shape, elementType: .int32)
        let maxima = Tensor(uninitialized: reduction.shape)
        withScalars { reduction.findMaxima($0, into: maxima.floats, at: places.storage.integers) }
        return places
    }
}

extension Array where Element == Int {
    /// The dimension that `axis` names in a tensor of this shape, counted from the first.
    func dimension(_ axis: Int, _ operation: StaticString) -> Int {
        let index = axis < 0 ? axis + count : axis
        precondition(indices.contains(index), "\(operation): there is no axis \(axis) in the shape \(self)")
        return index
    }
}

/// Which dimensions of a shape are reduced.
struct Reduction {
    /// The shape without the reduced dimensions.
    let shape: [Int]
    /// The shape with ones in their place.
    let keptShape: [Int]
    /// How many elements become one.
    let reducedCount: Int
    /// The dimensions in groups of neighbours that are all reduced or all kept, outermost first.
    private var groups: [(size: Int, isReduced: Bool)] = []

    init(_ full: [Int], axes: [Int]?, _ operation: StaticString) {
        let reduced = Set((axes ?? Array(full.indices)).map { full.dimension($0, operation) })
        precondition(
            axes == nil || reduced.count == axes?.count, "\(operation): an axis is named twice in \(axes ?? [])")
        shape = full.indices.filter { !reduced.contains($0) }.map { full[$0] }
        keptShape = full.indices.map { reduced.contains($0) ? 1 : full[$0] }
        reducedCount = reduced.reduce(1) { $0 * full[$1] }
        for (axis, size) in full.enumerated() where size != 1 {
            let isReduced = reduced.contains(axis)
            if let last = groups.last, last.isReduced == isReduced {
                groups[groups.count - 1].size *= size
            } else {
                groups.append((size, isReduced))
            }
        }
    }

    /// How many elements are summed in double precision before the sum is put aside. Fixed, so that the
    /// result does not depend on the number of threads.
    private static let blockLength = 1024

    /// Sums, in double precision along each group.
    func sum(_ values: UnsafeBufferPointer<Float>, into result: UnsafeMutablePointer<Float>) {
        guard var source = values.baseAddress, values.count > 0 else {
            result.update(repeating: 0, count: shape.elementCount)
            return
        }
        var groups = self.groups
        var held: Tensor?
        while let last = groups.lastIndex(where: \.isReduced) {
            let inner = groups[(last + 1)...].reduce(1) { $0 * $1.size }
            let outer = groups[..<last].reduce(1) { $0 * $1.size }
            let isFinal = !groups[..<last].contains(where: \.isReduced)
            let next = isFinal ? nil : Tensor(uninitialized: [outer * inner])
            Self.sum(
                source, into: next?.floats ?? result, outer: outer, length: groups[last].size, inner: inner)
            if isFinal { return }
            groups.remove(at: last)
            held = next
            if let next { source = UnsafePointer(next.floats) }
        }
        result.update(from: source, count: shape.elementCount)
        withExtendedLifetime(held) {}
    }

    /// outer × length × inner → outer × inner.
    private static func sum(
        _ x: UnsafePointer<Float>, into result: UnsafeMutablePointer<Float>, outer: Int, length: Int,
        inner: Int
    ) {
        let blocks = (length + blockLength - 1) / blockLength
        let partial = UnsafeMutablePointer<Double>.allocate(capacity: outer * blocks * inner)
        defer { partial.deallocate() }
        let grain = Swift.max(1, Elementwise.grain / (Swift.min(length, blockLength) * inner))
        Threads.parallelFor(count: outer * blocks, grain: grain) { range in
            for item in range {
                let (o, block) = (item / blocks, item % blocks)
                let start = block * blockLength
                let rows = Swift.min(blockLength, length - start)
                let source = x + (o * length + start) * inner
                let sums = partial + item * inner
                if inner == 1 {
                    sums[0] = sum(source, rows)
                } else {
                    sums.update(repeating: 0, count: inner)
                    graft_column_sums(source, sums, rows, inner)
                }
            }
        }
        for o in 0..<outer {
            for j in 0..<inner {
                var total = 0.0
                for block in 0..<blocks { total += partial[(o * blocks + block) * inner + j] }
                result[o * inner + j] = Float(total)
            }
        }
    }

    private static func sum(_ x: UnsafePointer<Float>, _ count: Int) -> Double {
        var lanes = SIMD8<Double>.zero
        let whole = count & ~7
        for i in stride(from: 0, to: whole, by: 8) {
            lanes += SIMD8<Double>(UnsafeRawPointer(x + i).loadUnaligned(as: SIMD8<Float>.self))
        }
        var total = lanes.sum()
        for i in whole..<count { total += Double(x[i]) }
        return total
    }

    /// Finds the largest elements and, in row-major order of the reduced dimensions, which they are. A NaN
    /// counts as largest, so that it is not lost.
    func findMaxima(
        _ values: UnsafeBufferPointer<Float>, into maxima: UnsafeMutablePointer<Float>,
        at places: UnsafeMutablePointer<Int32>
    ) {
        let steps = offsets(reduced: true)
        for (result, offset) in offsets(reduced: false).enumerated() {
            var (best, place) = (values[offset], 0)
            for (i, step) in steps.enumerated() {
                let value = values[offset + step]
                if value > best || (value.isNaN && !best.isNaN) { (best, place) = (value, i) }
            }
            (maxima[result], places[result]) = (best, Int32(place))
        }
    }

    /// Writes 1 where `places` points, 0 elsewhere.
    func mark(_ places: UnsafeMutablePointer<Int32>, in mask: UnsafeMutableBufferPointer<Float>) {
        mask.update(repeating: 0)
        let steps = offsets(reduced: true)
        for (result, offset) in offsets(reduced: false).enumerated() {
            mask[offset + steps[Int(places[result])]] = 1
        }
    }

    /// Where the elements lie that differ in the reduced (or the kept) dimensions only, in row-major order.
    private func offsets(reduced: Bool) -> [Int] {
        let strides = groups.map(\.size).rowMajorStrides
        var offsets = [0]
        for (group, stride) in zip(groups, strides) where group.isReduced == reduced {
            offsets = offsets.flatMap { offset in (0..<group.size).map { offset + $0 * stride } }
        }
        return offsets
    }
}
