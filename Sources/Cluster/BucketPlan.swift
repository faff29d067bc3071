import Collectives
import Tensors
import Training

/// One trainable parameter, as gradient exchange sees it.
public struct PlannedParameter {
    public let variable: VariableID
    /// Elements of the parameter and of its gradient.
    public let count: Int
    /// The parameter's path, for messages.
    public let path: String

    public init(variable: VariableID, count: Int, path: String) {
        self.variable = variable
        self.count = count
        self.path = path
    }
}

/// Which gradient travels in which bucket: a function of the trainable parameters alone, so that all
/// ranks agree without asking.
///
/// Parameters are taken in reverse order of registration, about the order in which backward finishes
/// them. The first bucket is small, so that the network starts working early; the others are large
/// enough for its full speed. A bucket closes when it has reached its size; a parameter is never split.
/// (The scheme, and 25 MB, of PyTorch DDP: Li et al. 2020, https://arxiv.org/abs/2006.15704; learning
/// the order at run time, as DDP does, is left out on purpose: ranks that learned differently deadlock.)
///
/// All buckets lie in one piece of memory: `parameters` in plan order, each starting at a multiple of 64
/// bytes, then the statistics. Gaps hold zeros, so a norm over the whole memory is the norm of all gradients.
public struct BucketPlan {
    /// A stretch of the exchange memory that is summed in one reduction.
    public struct Bucket: Equatable, Sendable {
        /// Elements of the exchange memory.
        public let elements: Range<Int>
        /// Entries of `BucketPlan.parameters`.
        public let parameters: Range<Int>

        package init(elements: Range<Int>, parameters: Range<Int>) {
            self.elements = elements
            self.parameters = parameters
        }
    }

    /// Trainable parameters in plan order: the reverse of their registration.
    public let parameters: [PlannedParameter]
    /// Where each of `parameters` lies in the exchange memory.
    public let ranges: [Range<Int>]
    /// In the order in which they are reduced.
    public let buckets: [Bucket]
    /// Elements of the gradients with the gaps between them; statistics start here.
    public let gradientElements: Int
    /// Where the running statistics lie, at the end of the last bucket.
    public let statistics: Range<Int>

    /// - Parameters:
    ///   - trainable: parameters that learn in this phase, in order of registration.
    ///   - statisticsCount: numbers that are averaged over ranks along with the gradients.
    ///   - firstBucketBytes: size at which the first bucket closes.
    ///   - bucketBytes: size at which any other bucket closes.
    public init(
        trainable: [PlannedParameter], statisticsCount: Int = 0, firstBucketBytes: Int = 4 << 20,
        bucketBytes: Int = 25 << 20
    ) {
        var ranges: [Range<Int>] = []
        var buckets: [Bucket] = []
        var start = (element: 0, parameter: 0)
        var next = 0
        let reversed = Array(trainable.reversed())
        for (index, parameter) in reversed.enumerated() {
            ranges.append(next..<next + parameter.count)
            next = ExchangeLayout.aligned(next + parameter.count)
            let limit = buckets.isEmpty ? firstBucketBytes : bucketBytes
            if (next - start.element) * Self.elementBytes >= limit || index == reversed.count - 1 {
                buckets.append(
                    Bucket(elements: start.element..<next, parameters: start.parameter..<index + 1))
                start = (next, index + 1)
            }
        }
        self.parameters = reversed
        self.ranges = ranges
        self.gradientElements = next
        self.statistics = next..<next + statisticsCount
        self.buckets = Self.append(statistics: statistics, to: buckets)
    }

    /// Elements of the exchange memory.
    public var elements: Int { statistics.upperBound }

    /// How many elements a plan for parameters of these sizes has.
    public static func elements(of counts: [Int], statisticsCount: Int) -> Int {
        counts.reduce(0) { $0 + ExchangeLayout.aligned($1) } + statisticsCount
    }

    /// Bytes that each rank gives to the all-reduce in every step.
    public var bytesPerExchange: Int { elements * Self.elementBytes }

    private static let elementBytes = MemoryLayout<Float>.size

    /// The statistics ride in the last bucket, or in one of their own where no parameter learns.
    private static func append(statistics: Range<Int>, to buckets: [Bucket]) -> [Bucket] {
        guard !statistics.isEmpty else { return buckets }
        guard let last = buckets.last else { return [Bucket(elements: statistics, parameters: 0..<0)] }
        let extended = Bucket(
            elements: last.elements.lowerBound..<statistics.upperBound, parameters: last.parameters)
        return buckets.dropLast() + [extended]
    }
}
