import Tensors

/// What to load: the samples of one step that fall to one rank.
public struct BatchRequest: Equatable, Sendable {
    public var epoch: Int
    /// The step within the epoch.
    public let step: Int
    /// The position in the epoch of the first sample.
    public let position: Int
    /// The numbers of the samples, in batch order.
    public let indices: [Int]

    public init(epoch: Int, step: Int, position: Int = 0, indices: [Int]) {
        self.epoch = epoch
        self.step = step
        self.position = position
        self.indices = indices
    }
}

/// The order of samples: which one stands at a position of an epoch, for any position of any epoch, without
/// a list in memory and without a state. Step s takes positions s·B ..< (s+1)·B of the global batch B
/// (the last step what is left), and rank r a contiguous slice of them.
public struct Sampler: Sendable {
    public let count: Int
    public let seed: UInt64
    /// Whether each epoch has an order of its own; else it is the data set's.
    public let shuffles: Bool

    public init(count: Int, seed: UInt64 = 0, shuffles: Bool) {
        self.count = count
        self.seed = seed
        self.shuffles = shuffles
    }

    /// The sample at `position` of `epoch`.
    /// - Precondition: 0 ≤ position < count.
    public func index(epoch: Int, position: Int) -> Int { order(ofEpoch: epoch)[position] }

    /// How many steps an epoch has with global batch `batch`, the last, smaller one included.
    public func stepCount(batch: Int) -> Int { (count + batch - 1) / batch }

    /// The positions of step `step` with global batch `batch`.
    public func positions(step: Int, batch: Int) -> Range<Int> {
        min(step * batch, count)..<min((step + 1) * batch, count)
    }

    /// The part of `range` that falls to `rank`: contiguous, in rank order, sizes at most one apart.
    public static func slice(_ range: Range<Int>, rank: Int, worldSize: Int) -> Range<Int> {
        let start = range.lowerBound
        return (start + range.count * rank / worldSize)..<(start + range.count * (rank + 1) / worldSize)
    }

    /// What rank `rank` loads from step `firstStep` to the end of `epoch`, computed as it is asked for.
    public func requests(
        epoch: Int, batch: Int, firstStep: Int = 0, rank: Int = 0, worldSize: Int = 1
    ) -> some Sequence<BatchRequest> {
        let order = order(ofEpoch: epoch)
        let last = stepCount(batch: batch)
        return (min(firstStep, last)..<last).lazy.map { step in
            let slice = Self.slice(positions(step: step, batch: batch), rank: rank, worldSize: worldSize)
            return BatchRequest(
                epoch: epoch, step: step, position: slice.lowerBound, indices: slice.map { order[$0] })
        }
    }

    /// - Throws: `DatasetError` for a batch below 1 and for more ranks than samples.
    public func validate(batch: Int, worldSize: Int) throws {
        if batch < 1 { throw DatasetError.invalidBatch(batch) }
        if worldSize > count { throw DatasetError.moreRanksThanSamples(ranks: worldSize, samples: count) }
    }

    private struct Order: Sendable {
        let permutation: Permutation?
        subscript(position: Int) -> Int { permutation.map { $0[position] } ?? position }
    }

    private func order(ofEpoch epoch: Int) -> Order {
        let key = RandomKey(seed: seed, purpose: .shuffle, epoch: epoch)
        return Order(permutation: shuffles ? Permutation(count: count, key: key) : nil)
    }
}
