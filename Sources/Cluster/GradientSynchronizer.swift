import Collectives
import Foundation
import Tensors

/// Sums gradients over ranks while backward is still computing others.
///
/// A gradient that backward has finished is copied into its place in the exchange memory. When all
/// gradients of a bucket are there, and all buckets before it have been started, its all-reduce starts.
/// Buckets start in the order of the plan on every rank, in whatever order gradients arrive, and a
/// parameter without a gradient sends zeros: so ranks cannot fall out of step.
///
/// ```swift
/// synchronizer.beginStep(passes: 2)
/// for half in halves { try loss(half).backward(into: synchronizer) ; synchronizer.endPass() }
/// let gradients = try synchronizer.finish()   // sums over passes and ranks
/// ```
///
/// What comes out is the *sum* over ranks: losses are divided by global denominators before backward.
/// With one rank the buckets are filled the same way and nothing is sent.
///
/// Used from the training thread only.
public final class GradientSynchronizer: GradientSink {
    public let plan: BucketPlan
    /// Seconds the last `finish()` waited for the network: what overlapping did not hide.
    public private(set) var waitedSeconds: Double = 0

    private let collectives: Collectives
    private let memory: UnsafeMutableBufferPointer<Float>
    private let places: [VariableID: Int]
    private let bucketOfParameter: [Int]

    /// Whether a parameter's place holds something of this step, or still something of the one before.
    private var isFilled: [Bool]
    /// Whether a parameter's gradient has arrived in this pass.
    private var hasArrived: [Bool]
    /// Gradients that each bucket still waits for in this pass.
    private var missing: [Int]
    private var passesLeft = 1
    private var pending: [PendingReduction] = []

    /// - Parameters:
    ///   - plan: the same on all ranks.
    ///   - collectives: the ranks that sum.
    public init(plan: BucketPlan, collectives: Collectives) {
        self.plan = plan
        self.collectives = collectives
        memory = Self.allocate(plan.elements)
        places = Dictionary(
            plan.parameters.enumerated().map { ($1.variable, $0) }, uniquingKeysWith: { first, _ in first })
        bucketOfParameter = plan.buckets.enumerated().flatMap { index, bucket in
            bucket.parameters.map { _ in index }
        }
        isFilled = [Bool](repeating: false, count: plan.parameters.count)
        hasArrived = isFilled
        missing = plan.buckets.map(\.parameters.count)
    }

    deinit { memory.deallocate() }

    /// Numbers that are averaged over ranks together with the gradients (running statistics of batch
    /// norm). Write this rank's values between forward and backward of the last pass; read the
    /// averages after `finish()`.
    public var statistics: UnsafeMutableBufferPointer<Float> { view(plan.statistics) }

    /// Starts a step whose gradients are the sum of `passes` backward passes. Gradients of the step
    /// before are gone.
    public func beginStep(passes: Int = 1) {
        precondition(passes > 0, "GradientSynchronizer: a step has at least one backward pass, not \(passes)")
        precondition(pending.isEmpty, "GradientSynchronizer: the step before was not finished")
        passesLeft = passes
        for index in isFilled.indices { isFilled[index] = false }
        beginPass()
    }

    /// Ends a backward pass that is not the last one of its step.
    public func endPass() {
        precondition(passesLeft > 1, "GradientSynchronizer: the last pass of a step ends with finish()")
        passesLeft -= 1
        beginPass()
    }

    /// The gradient's own place in its bucket, unless it holds a sum over earlier passes.
    public func room(for variable: VariableID) -> UnsafeMutableBufferPointer<Float>? {
        guard let index = places[variable], !isFilled[index], bucketOfParameter[index] >= pending.count else {
            return nil
        }
        return view(plan.ranges[index])
    }

    public func gradientReady(_ gradient: Gradient, for variable: VariableID) throws {
        guard let index = places[variable] else {
            throw ClusterError.unplannedGradient(variable: "\(variable)")
        }
        let bucket = bucketOfParameter[index]
        guard bucket >= pending.count else {
            throw ClusterError.lateGradient(variable: plan.parameters[index].path)
        }
        try add(gradient, at: index)
        if !hasArrived[index] {
            hasArrived[index] = true
            missing[bucket] -= 1
        }
        if passesLeft == 1 { try startCompleteBuckets() }
        collectives.progress()
    }

    /// Waits until all sums are there. Collective.
    ///
    /// - Returns: views into the exchange memory, valid until the next `beginStep`.
    /// - Throws: `ClusterError` when a reduction fails.
    @discardableResult
    public func finish() throws -> SynchronizedGradients {
        // A step that ends early (the last batch of an epoch) sends what it has.
        passesLeft = 1
        for bucket in pending.count..<plan.buckets.count { try start(bucket) }
        let begin = DispatchTime.now().uptimeNanoseconds
        for reduction in pending { try reduction.wait() }
        waitedSeconds = Double(DispatchTime.now().uptimeNanoseconds &- begin) * 1e-9
        pending.removeAll(keepingCapacity: true)
        average(statistics)
        return gradients
    }

    /// What the exchange memory holds now: after `finish()`, the sums.
    public var gradients: SynchronizedGradients {
        SynchronizedGradients(plan: plan, places: places, memory: memory)
    }

    // MARK: Parts

    private func beginPass() {
        for index in hasArrived.indices { hasArrived[index] = false }
        for index in missing.indices { missing[index] = plan.buckets[index].parameters.count }
    }

    private func startCompleteBuckets() throws {
        // The bucket with the statistics too: they were written before backward began.
        while pending.count < plan.buckets.count, missing[pending.count] == 0 { try start(pending.count) }
    }

    private func start(_ bucket: Int) throws {
        let elements = plan.buckets[bucket].elements
        for index in plan.buckets[bucket].parameters where !isFilled[index] {
            view(plan.ranges[index]).update(repeating: 0)
        }
        pending.append(try collectives.startAllReduceSum(view(elements)))
    }

    private func add(_ gradient: Gradient, at index: Int) throws {
        let place = view(plan.ranges[index])
        switch gradient {
        case .dense(let tensor):
            try requireCount(tensor.count, at: index)
            tensor.withScalars { values in
                // Written in place already.
                if values.baseAddress == UnsafePointer(place.baseAddress) { return }
                Profile.measure("gradient to bucket", bytes: 8 * place.count) {
                    isFilled[index] ? place.add(values) : place.copy(values)
                }
            }
        case .product: return try add(.dense(gradient.tensor), at: index)
        case .rows(let indices, let values, let shape):
            try requireCount(shape.reduce(1, *), at: index)
            if !isFilled[index] { place.update(repeating: 0) }
            let width = shape.dropFirst().reduce(1, *)
            let rows = indices.indices
            values.withScalars { values in
                for (position, row) in rows.enumerated() {
                    let source = UnsafeBufferPointer(rebasing: values[position * width..<(position + 1) * width])
                    UnsafeMutableBufferPointer(rebasing: place[Int(row) * width..<(Int(row) + 1) * width])
                        .add(source)
                }
            }
        }
        isFilled[index] = true
    }

    private func requireCount(_ actual: Int, at index: Int) throws {
        let parameter = plan.parameters[index]
        guard actual == parameter.count else {
            throw ClusterError.gradientSize(variable: parameter.path, expected: parameter.count, actual: actual)
        }
    }

    private func average(_ values: UnsafeMutableBufferPointer<Float>) {
        guard collectives.worldSize > 1 else { return }
        let count = Float(collectives.worldSize)
        for index in values.indices { values[index] /= count }
    }

    private func view(_ range: Range<Int>) -> UnsafeMutableBufferPointer<Float> {
        UnsafeMutableBufferPointer(rebasing: memory[range])
    }

    /// 64-byte aligned zeros: gaps between gradients stay zero.
    private static func allocate(_ count: Int) -> UnsafeMutableBufferPointer<Float> {
        let bytes = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(1, count) * MemoryLayout<Float>.stride, alignment: 64)
        let elements = bytes.bindMemory(to: Float.self)
        elements.initialize(repeating: 0)
        return UnsafeMutableBufferPointer(rebasing: elements[..<count])
    }
}

/// The summed gradients of one step: views into a synchronizer's memory, valid until its next step, and
/// only while the synchronizer lives. An optimizer may change them in place (clipping).
public struct SynchronizedGradients {
    fileprivate let plan: BucketPlan
    fileprivate let places: [VariableID: Int]
    fileprivate let memory: UnsafeMutableBufferPointer<Float>

    /// The gradient of one parameter, row-major in its shape; nil for one that is not in the plan.
    public subscript(variable: VariableID) -> UnsafeMutableBufferPointer<Float>? {
        guard let index = places[variable] else { return nil }
        return UnsafeMutableBufferPointer(rebasing: memory[plan.ranges[index]])
    }

    /// All gradients in one piece, with zeros in the gaps: for norms, scaling, and a test for numbers
    /// that are not finite.
    public var all: UnsafeMutableBufferPointer<Float> {
        UnsafeMutableBufferPointer(rebasing: memory[..<plan.gradientElements])
    }
}

extension UnsafeMutableBufferPointer<Float> {
    fileprivate func copy(_ source: UnsafeBufferPointer<Float>) {
        guard let from = source.baseAddress, let to = baseAddress else { return }
        to.update(from: from, count: source.count)
    }

    fileprivate func add(_ source: UnsafeBufferPointer<Float>) {
        guard let from = source.baseAddress, let to = baseAddress else { return }
        for index in 0..<source.count { to[index] += from[index] }
    }
}
