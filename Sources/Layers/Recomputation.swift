import Tensors

/// The segments of a network, some of which are computed a second time by backward to save the memory of what they keep
/// (Chen et al. 2016, https://arxiv.org/abs/1604.06174).
///
/// Backward frees the last segments before it reaches the first ones, whose images are largest. So the last segments
/// are kept as they are, as far as together they keep no more than the largest of the others needs when its turn
/// comes: computing those again would cost time and save little.
public struct Segments {
    private let segments: [any Module]
    /// How many of them, from the first on, are recomputed.
    public let recomputedCount: Int
    /// Values that a training pass keeps, at most.
    public let keptCount: Int

    /// - Parameters:
    ///   - modules: one after the other.
    ///   - input: the shape of what goes into the first.
    /// - Throws: what a call with such an input would throw.
    public init(of modules: [any Module], input: [Int]) throws {
        segments = modules.flatMap(\.segments)
        var shape = input
        let sizes = try segments.map { segment -> (all: Int, output: Int) in
            let pass = ShapePass()
            shape = try segment.outputShape(for: shape, in: pass)
            return (max(pass.outputCount, shape.reduce(1, *)), shape.reduce(1, *))
        }
        var (count, plain) = (segments.count, 0)
        while let last = sizes[..<count].last {
            let more = plain + last.all - last.output
            guard more <= sizes[..<(count - 1)].map(\.all).max() ?? 0 else { break }
            (count, plain) = (count - 1, more)
        }
        recomputedCount = count
        // At the end of forward the inputs and the plain segments; later the inputs before a segment, and the segment.
        var inputs = 0
        var most = 0
        for size in sizes[..<count] {
            most = max(most, inputs + size.all)
            inputs += size.output
        }
        keptCount = max(most, sizes[count...].reduce(inputs) { $0 + $1.all })
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        try segments.enumerated().reduce(input) { input, entry in
            let (index, segment) = entry
            guard index < recomputedCount else { return try segment(input, context) }
            let notes = SegmentNotes()
            return try recomputed(input) { input, isAgain in
                var context = context
                context.firstPass = isAgain ? notes.read() : notes
                return try segment(input, context)
            }
        }
    }
}

/// What a segment's first pass leaves for the second: the moments of its batch norms, which need not be taken again and
/// move the running statistics only once.
final class SegmentNotes {
    private var moments: [BatchMoments] = []
    private var position: Int?

    /// For the second pass: what the first noted, from its beginning.
    func read() -> SegmentNotes {
        let copy = SegmentNotes()
        (copy.moments, copy.position) = (moments, 0)
        return copy
    }

    func note(_ new: BatchMoments) { moments.append(new) }

    /// What the next batch norm found in the first pass; nil while that is under way.
    func nextMoments() -> BatchMoments? {
        guard let position else { return nil }
        self.position = position + 1
        return moments[position]
    }
}
