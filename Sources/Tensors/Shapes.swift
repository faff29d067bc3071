extension Tensor {
    /// The same elements under another shape; no copy.
    ///
    /// - Parameter newShape: one size may be -1: it becomes what the others leave.
    public func reshaped(_ newShape: [Int]) -> Tensor {
        var wanted = newShape
        if let open = wanted.firstIndex(of: -1) {
            wanted[open] = 1
            let others = wanted.elementCount
            wanted[open] = others == 0 ? 0 : count / others
        }
        precondition(
            wanted.elementCount == count && wanted.allSatisfy { $0 >= 0 },
            "reshaped: the shape \(shape) holds \(count) elements, \(newShape) does not")
        guard wanted != shape else { return self }
        let old = shape
        return Tensor(shape: wanted, storage: rowMajor.storage)
            .recorded("reshape", from: [self]) { [$0.reshaped(old)] }
    }

    /// Joins the dimensions from `axis` on into one: N×C×H×W becomes N×CHW by default.
    public func flattened(from axis: Int = 1) -> Tensor {
        reshaped(shape.prefix(axis) + [shape.dropFirst(axis).reduce(1, *)])
    }

    /// Puts the dimensions in another order: dimension `i` of the result is dimension `permutation[i]`.
    /// Without a permutation the last two are swapped.
    public func transposed(_ permutation: [Int]? = nil) -> Tensor {
        precondition(
            permutation != nil || rank >= 2, "transposed: the shape \(shape) has no two dimensions to swap")
        let order = permutation ?? Array(0..<rank - 2) + [rank - 1, rank - 2]
        precondition(
            order.sorted() == Array(0..<rank), "transposed: \(order) is not an order of the axes of \(shape)")
        let result = Tensor(uninitialized: order.map { shape[$0] }, elementType: elementType)
        let strides = shape.rowMajorStrides
        StridedCopy(result.shape, from: order.map { strides[$0] }, to: result.shape.rowMajorStrides)
            .run(from: rowMajor.storage, to: result.storage)
        var inverse = order
        for (i, axis) in order.enumerated() { inverse[axis] = i }
        return result.recorded("transpose", from: [self]) { [inverse] in [$0.transposed(inverse)] }
    }

    /// Repeats dimensions of one element, and new outer ones, until the shape is `wanted`.
    public func expanded(_ wanted: [Int]) -> Tensor {
        guard wanted != shape else { return self }
        precondition(
            Broadcast.shape(shape, wanted) == wanted, "expanded: the shape \(shape) cannot become \(wanted)")
        let result = Tensor(uninitialized: wanted, elementType: elementType)
        let (strides, missing) = (shape.rowMajorStrides, wanted.count - rank)
        let steps = wanted.indices.map { $0 < missing || shape[$0 - missing] == 1 ? 0 : strides[$0 - missing] }
        StridedCopy(wanted, from: steps, to: wanted.rowMajorStrides)
            .run(from: rowMajor.storage, to: result.storage)
        let old = shape
        return result.recorded("expand", from: [self]) { [$0.summed(to: old)] }
    }

    /// The elements of `range` along one axis; every `step`-th of them.
    public func sliced(axis: Int, _ range: Range<Int>, step: Int = 1) -> Tensor {
        let axis = shape.dimension(axis, "sliced")
        precondition(
            range.lowerBound >= 0 && range.upperBound <= shape[axis] && step > 0,
            "sliced: \(range) by \(step) does not lie in axis \(axis) of the shape \(shape)")
        if range == 0..<shape[axis], step == 1 { return self }
        var size = shape
        size[axis] = (range.count + step - 1) / step
        let place = Placement(in: shape, axis: axis, start: range.lowerBound, step: step)
        let result = opaqueSlice(place, size) ?? place.slice(rowMajor, size)
        return result.recorded("slice", from: [self]) { [$0.placed(place, around: 0)] }
    }

    /// The element at one place along an axis, which goes away.
    public func selected(axis: Int, _ index: Int) -> Tensor {
        let axis = shape.dimension(axis, "selected")
        var size = shape
        size.remove(at: axis)
        return sliced(axis: axis, index..<index + 1).reshaped(size)
    }

    /// Surrounds the elements with `value`.
    ///
    /// - Parameter widths: for each dimension, how many to add before and after; negative ones are not allowed.
    public func padded(_ widths: [(before: Int, after: Int)], value: Float = 0) -> Tensor {
        precondition(
            widths.count == rank && widths.allSatisfy { $0.before >= 0 && $0.after >= 0 },
            "padded: the widths \(widths) do not fit the shape \(shape)")
        var result = self
        for (axis, width) in widths.enumerated() where width.before + width.after > 0 {
            var full = result.shape
            full[axis] += width.before + width.after
            result = result.placed(
                Placement(in: full, axis: axis, start: width.before, step: 1), around: value)
        }
        return result
    }

    /// The elements at `place` of a larger tensor that holds `value` elsewhere.
    private func placed(_ place: Placement, around value: Float) -> Tensor {
        precondition(elementType == .float32, "padded: the tensor holds \(elementType), not float32")
        let result = Tensor.full(place.shape, value)
        place.copy(rowMajor, into: result)
        let end = place.start + shape[place.axis] * place.step
        return result.recorded("pad", from: [self]) { gradient in
            [gradient.sliced(axis: place.axis, place.start..<Swift.min(end, place.shape[place.axis]), step: place.step)]
        }
    }
}

/// Joins tensors that differ in the size of one axis only.
public func concatenated(_ parts: [Tensor], axis: Int) -> Tensor {
    guard let first = parts.first else { preconditionFailure("concatenated: there is nothing to join") }
    let axis = first.shape.dimension(axis, "concatenated")
    var full = first.shape
    full[axis] = parts.reduce(0) { $0 + $1.shape[axis] }
    for part in parts {
        var shape = part.shape
        precondition(
            shape.count == full.count && part.elementType == first.elementType,
            "concatenated: \(part.shape) of \(part.elementType) does not join \(first.shape) of \(first.elementType)")
        shape[axis] = full[axis]
        precondition(
            shape == full, "concatenated: \(part.shape) differs from \(first.shape) in more than axis \(axis)")
    }
    var start = 0
    let places = parts.map { part in
        defer { start += part.shape[axis] }
        return Placement(in: full, axis: axis, start: start, step: 1)
    }
    let result =
        OpaqueChannels.concatenated(parts, axis: axis, full)
        ?? {
            let rows = Tensor(uninitialized: full, elementType: first.elementType)
            for (part, place) in zip(parts, places) { place.copy(part.rowMajor, into: rows) }
            return rows
        }()
    let sizes = parts.map { $0.requiresGradient ? $0.shape[axis] : nil }
    return result.recorded("concatenate", from: parts) { gradient in
        zip(places, sizes).map { place, size in
            size.map { gradient.sliced(axis: axis, place.start..<place.start + $0) }
        }
    }
}

/// Where a smaller tensor lies in a larger one: from `start` on, by `step`, along one axis.
struct Placement {
    let shape: [Int]
    let axis: Int
    let start: Int
    let step: Int

    init(in shape: [Int], axis: Int, start: Int, step: Int) {
        (self.shape, self.axis, self.start, self.step) = (shape, axis, start, step)
    }

    /// Writes `part`, row-major, to its place.
    func copy(_ part: Tensor, into whole: Tensor) {
        let strides = part.shape.rowMajorStrides
        StridedCopy(part.shape, from: strides, to: steps)
            .run(from: part.storage, to: whole.storage, toOffset: offset)
    }

    /// Reads the part of the given size from `whole`, row-major.
    func slice(_ whole: Tensor, _ size: [Int]) -> Tensor {
        let part = Tensor(uninitialized: size, elementType: whole.elementType)
        StridedCopy(size, from: steps, to: size.rowMajorStrides)
            .run(from: whole.storage, fromOffset: offset, to: part.storage)
        return part
    }

    private var offset: Int { start * shape.rowMajorStrides[axis] }

    private var steps: [Int] {
        var steps = shape.rowMajorStrides
        steps[axis] *= step
        return steps
    }
}
