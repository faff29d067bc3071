/// Names a leaf of the tape: a parameter, or any tensor made with `Tensor.variable`.
public struct VariableID: Hashable, Sendable {
    let number: UInt64
}

/// What backward finds for one variable.
public enum Gradient {
    /// A tensor of the variable's shape.
    case dense(Tensor)
    /// For embeddings: gradients of the rows named by `indices` (which may repeat); all others are zero.
    case rows(indices: Tensor, values: Tensor, shape: [Int])
    /// leftᵀ · right, for the weight of a linear layer: N×O and N×I make a gradient of O×I. Given only to a sink that
    /// `prefersFactors`.
    case product(left: Tensor, right: Tensor)

    /// The gradient as a tensor of the variable's shape.
    public var tensor: Tensor {
        switch self {
        case .dense(let tensor): return tensor
        case .rows(_, _, let shape):
            var sum = Tensor.zeros(shape)
            add(to: &sum)
            return sum
        case .product(let left, let right): return matmul(left, right, transposeA: true)
        }
    }

    /// Adds this to a dense gradient of the same variable, in place where nobody else holds its memory.
    func add(to sum: inout Tensor) {
        switch self {
        case .dense, .product: Elementwise.add(tensor, into: &sum)
        case .rows(let indices, let values, let shape):
            let width = shape.dropFirst().reduce(1, *)
            let rows = indices.indices
            values.withScalars { values in
                sum.mutateScalars { sum in
                    for (i, row) in rows.enumerated() {
                        for j in 0..<width { sum[Int(row) * width + j] += values[i * width + j] }
                    }
                }
            }
        }
    }

    /// Calls `body` with stretches of the gradient, row-major, and where in it they begin: all of it at once, or, of a
    /// product, some rows at a time, so that it is never in memory as a whole.
    public func forEachPart(_ body: (_ offset: Int, UnsafeBufferPointer<Float>) throws -> Void) rethrows {
        guard case .product(let a, let b) = self else { return try tensor.withScalars { try body(0, $0) } }
        let (left, right) = (a.rowMajor, b.rowMajor)
        let (k, m, n) = (left.shape[0], left.shape[1], right.shape[1])
        let rows = max(1, min(m, (1 << 20) / max(1, n)))
        let part = Tensor(uninitialized: [rows, n])
        for first in stride(from: 0, to: m, by: rows) {
            let count = min(rows, m - first)
            Profile.measure("matrix product", bytes: 4 * (k * (count + n) + count * n), operations: 2 * k * count * n) {
                GEMM.multiply(
                    GEMM.Operand(pointer: left.floats + first, stride: m, isTransposed: true),
                    GEMM.Operand(pointer: right.floats, stride: n), into: part.floats, strideC: n, m: count, n: n, k: k)
            }
            try body(first * n, UnsafeBufferPointer(start: part.floats, count: count * n))
        }
        withExtendedLifetime((left, right)) {}
    }
}

/// Receives each gradient as soon as it is finished, while backward goes on: the training loop's
/// sink starts the all-reduce with it.
public protocol GradientSink: AnyObject {
    func gradientReady(_ gradient: Gradient, for variable: VariableID) throws

    /// Where the sink wants the gradient of a variable written, row-major; nil where it does not care. What is written
    /// there is handed to `gradientReady` like any other gradient, and must stay until then.
    func room(for variable: VariableID) -> UnsafeMutableBufferPointer<Float>?

    /// Whether the sink takes the gradient of a linear layer's weight as `Gradient.product`.
    var prefersFactors: Bool { get }
}

extension GradientSink {
    public func room(for variable: VariableID) -> UnsafeMutableBufferPointer<Float>? { nil }
    public var prefersFactors: Bool { false }
}

/// What backward gives for the parameters of a layer.
public enum ParameterGradient: Sendable {
    /// The gradient: the sum of what each sample contributes.
    case sum
    /// The sum over samples of the square of what each contributes. Of a loss that is the *sum* over samples of
    /// log p(label | sample), this is the number of samples times the diagonal of the empirical Fisher
    /// information (Kirkpatrick et al. 2017, arXiv:1612.00796).
    case sumOfSquares
}

/// Computes the gradients of an operation's inputs from that of its output; nil where none is wanted.
///
/// The output's gradient is not needed afterwards: where nobody else holds its memory (`Tensor.takeIfUnique`), that may
/// be used again.
typealias Backward = (inout Tensor) throws -> [Tensor?]

/// One operation on the tape, or one leaf.
final class TapeNode {
    let name: StaticString
    /// Rises with every node: an operation's inputs always have lower numbers.
    let sequence: UInt64
    let variable: VariableID?
    /// The inputs for which backward looks at `Tape.squaresSamples`.
    let squaredInputs: Range<Int>
    private(set) var inputs: [TapeNode?]
    private(set) var backward: Backward?
    /// In place of `backward`, for a node that stands for a part of the forward pass: computes that part again.
    private(set) var recompute: (() throws -> Tensor)?

    // Used while backward runs.
    var gradient: Tensor?
    /// For a leaf: a gradient that is not written out, such as those of rows that were gathered from it.
    var rows: Gradient?
    var pendingConsumers = 0

    init(
        name: StaticString, inputs: [TapeNode?], backward: Backward?, isLeaf: Bool = false,
        squaredInputs: Range<Int> = 0..<0, recompute: (() throws -> Tensor)? = nil
    ) {
        self.name = name
        sequence = Tape.nextSequence()
        variable = isLeaf ? VariableID(number: sequence) : nil
        self.inputs = inputs
        self.backward = backward
        self.squaredInputs = squaredInputs
        self.recompute = recompute
    }

    static func leaf() -> TapeNode { TapeNode(name: "variable", inputs: [], backward: nil, isLeaf: true) }

    /// Frees what only this node held one node after the other: within one another, a long graph would run
    /// out of stack.
    deinit {
        var held = inputs.compactMap { $0 }
        release()
        while var node = held.popLast() {
            guard isKnownUniquelyReferenced(&node) else { continue }
            held += node.inputs.compactMap { $0 }
            node.release()
        }
    }

    fileprivate func runsBefore(_ other: TapeNode) -> Bool { variable != nil || sequence > other.sequence }

    /// Lets go of everything the operation kept for its backward.
    func release() {
        backward = nil
        recompute = nil
        inputs = []
    }

    /// Adds a contribution to the gradient of this node's output.
    func accumulate(_ contribution: Tensor) {
        guard var sum = gradient else {
            gradient = contribution
            return
        }
        gradient = nil  // so that the sum may be made in place
        if Tape.isRecording { sum = sum + contribution } else { Elementwise.add(contribution, into: &sum) }
        gradient = sum
    }
}

/// The record of operations, made as they run, that backward walks in reverse.
enum Tape {
    @TaskLocal static var isRecording = true
    /// Whether the backward pass under way was asked for `ParameterGradient.sumOfSquares`.
    @TaskLocal static var squaresSamples = false
    /// The sink of the backward pass under way, which runs on the thread that trains.
    fileprivate nonisolated(unsafe) static var sink: GradientSink?
    private nonisolated(unsafe) static var sequence: UInt64 = 0

    /// Only the thread that trains records, so a plain counter does.
    static func nextSequence() -> UInt64 {
        sequence += 1
        return sequence
    }
}

/// Runs `body` without recording: nothing in it will have a gradient.
public func withoutTape<R>(_ body: () throws -> R) rethrows -> R {
    try Tape.$isRecording.withValue(false, operation: body)
}

extension Tensor {
    /// Computes the gradient of this scalar with respect to every variable it depends on, and hands
    /// each to `sink` as soon as it is finished. Frees the tape as it goes unless `keepGraph`.
    ///
    /// - Parameters:
    ///   - seed: what the gradient starts from; ones of this tensor's shape by default.
    ///   - createGraph: also records the backward pass, so that gradients can be differentiated again
    ///     (through matrix products, convolutions, ReLU, pooling, softmax and batch norm).
    ///   - parameters: what is wanted for the weights and biases of `linear`, `convolution2D` and
    ///     `batchNormalization`. Squares exist for these only, and for a parameter used once.
    /// - Throws: what the sink or a synchronised batch norm throws.
    public func backward(
        into sink: GradientSink, seed: Tensor? = nil, keepGraph: Bool = false, createGraph: Bool = false,
        parameters: ParameterGradient = .sum
    ) throws {
        precondition(count == 1 || seed != nil, "backward: a loss has one element, this has the shape \(shape)")
        precondition(
            !createGraph || parameters == .sum, "backward: squares of samples' gradients cannot be differentiated")
        guard let node else { return }
        try Tape.$isRecording.withValue(createGraph) {
            try Tape.$squaresSamples.withValue(parameters == .sumOfSquares) {
                try BackwardPass(keepGraph: keepGraph || createGraph)
                    .run(from: node, seed: seed ?? .ones(shape), into: sink)
            }
        }
    }
}

extension Tensor {
    /// This variable, where what its gradient is about to be given is all of it.
    private var soleConsumersVariable: VariableID? {
        guard let node, node.pendingConsumers == 1, node.gradient == nil, node.rows == nil, !Tape.isRecording else {
            return nil
        }
        return node.variable
    }

    /// Leaves leftᵀ · right as the gradient of this variable, where that is all of it and the sink prefers factors.
    ///
    /// - Returns: whether it did.
    func leaveFactors(_ left: Tensor, _ right: Tensor) -> Bool {
        guard soleConsumersVariable != nil, Tape.sink?.prefersFactors == true else { return false }
        node?.rows = .product(left: left, right: right)
        return true
    }

    /// Uninitialised row-major memory for this tensor's gradient: the sink's own where this is a variable that has no
    /// gradient yet and the sink has room for it. Further contributions are added there.
    func memoryForGradient() -> Tensor {
        if let node, let variable = node.variable, node.gradient == nil, !Tape.isRecording,
            let room = Tape.sink?.room(for: variable), room.count == count,
            let first = room.baseAddress
        {
            return Tensor(
                shape: shape, storage: Storage(borrowing: UnsafeMutableRawPointer(first), byteCount: 4 * count))
        }
        return Tensor(uninitialized: shape)
    }
}

/// Returns the gradients of `loss` with respect to `variables`; zeros where it does not depend on one.
///
/// - Parameter createGraph: makes the gradients differentiable themselves.
public func gradient(
    of loss: Tensor, wrt variables: [Tensor], keepGraph: Bool = false, createGraph: Bool = false
) throws -> [Tensor] {
    let collector = GradientCollector()
    try loss.backward(into: collector, keepGraph: keepGraph, createGraph: createGraph)
    return variables.map { variable in
        guard let id = variable.variableID else {
            preconditionFailure("gradient(of:wrt:): a tensor of shape \(variable.shape) is not a variable")
        }
        return collector.gradients[id]?.tensor ?? .zeros(variable.shape)
    }
}

/// A sink that keeps what it is given.
public final class GradientCollector: GradientSink {
    public private(set) var gradients: [VariableID: Gradient] = [:]
    public init() {}
    public func gradientReady(_ gradient: Gradient, for variable: VariableID) { gradients[variable] = gradient }
}

/// One walk over the tape, from the loss back to the variables.
private struct BackwardPass {
    let keepGraph: Bool

    func run(from root: TapeNode, seed: Tensor, into sink: GradientSink) throws {
        let outer = Tape.sink
        Tape.sink = sink
        defer { Tape.sink = outer }
        countConsumers(from: root)
        root.accumulate(seed)
        var ready = SequenceHeap()
        ready.insert(root)
        while let node = ready.popLatest() {
            if let variable = node.variable {
                try report(node, variable, to: sink)
                continue
            }
            if let recompute = node.recompute {
                try expand(node, recompute, ready: &ready)
            } else {
                try propagate(through: node, ready: &ready)
            }
        }
    }

    /// Hands `node`'s gradient to its inputs and queues those that have now heard from all consumers.
    /// A node that got no gradient still tells its inputs not to wait for it.
    private func propagate(through node: TapeNode, ready: inout SequenceHeap) throws {
        guard let backward = node.backward else {
            preconditionFailure("backward: the tape of \(node.name) was freed; use keepGraph to walk it twice")
        }
        let inputs = node.inputs
        var contributions: [Tensor?]?
        // Taken from the node, which would else hold it too.
        if var gradient = node.gradient.take() { contributions = try backward(&gradient) }
        if !keepGraph { node.release() }
        for (index, input) in inputs.enumerated() {
            guard let input else { continue }
            if let contribution = contributions?[index] {
                precondition(
                    !Tape.squaresSamples || input.variable == nil
                        || node.squaredInputs.contains(index) && input.gradient == nil,
                    "backward: no squares of samples' gradients for a variable of \(node.name), or one used twice")
                input.accumulate(contribution)
            }
            input.pendingConsumers -= 1
            if input.pendingConsumers == 0 { ready.insert(input) }
        }
    }

    /// Computes the part that `node` stands for again, and takes its operations into this walk in place of the node.
    private func expand(
        _ node: TapeNode, _ recompute: () throws -> Tensor, ready: inout SequenceHeap
    ) throws {
        let inputs = node.inputs.compactMap { $0 }
        let gradient = node.gradient.take()
        let root = gradient == nil ? nil : try Recomputation.time(recompute).node
        if !keepGraph { node.release() }
        if let root {
            countConsumers(from: root, upTo: inputs)
            root.gradient = gradient
            ready.insert(root)
        }
        for input in inputs {
            input.pendingConsumers -= 1
            if input.pendingConsumers == 0 { ready.insert(input) }
        }
    }

    private func report(_ node: TapeNode, _ variable: VariableID, to sink: GradientSink) throws {
        let rows = node.rows
        node.rows = nil
        guard var dense = node.gradient else {
            if let rows { try sink.gradientReady(rows, for: variable) }
            return
        }
        node.gradient = nil  // so that the rows may be added in place
        if let rows {
            if Tape.isRecording { dense = dense + rows.tensor } else { rows.add(to: &dense) }
        }
        try sink.gradientReady(.dense(dense), for: variable)
    }

    /// - Parameter known: nodes that were counted before and have more consumers now.
    private func countConsumers(from root: TapeNode, upTo known: [TapeNode] = []) {
        var visited = Set(known.map(\.sequence))
        visited.insert(root.sequence)
        var stack = [root]
        root.pendingConsumers = 0
        while let node = stack.popLast() {
            for case let input? in node.inputs {
                if visited.insert(input.sequence).inserted {
                    input.pendingConsumers = 0
                    input.gradient = nil
                    input.rows = nil
                    stack.append(input)
                }
                input.pendingConsumers += 1
            }
        }
    }
}

/// Nodes by sequence, latest first; leaves before all others, so that a finished gradient is reported
/// at once.
private struct SequenceHeap {
    private var nodes: [TapeNode] = []

    mutating func insert(_ node: TapeNode) {
        // Nearly always the next to run, so the sorted insertion is short.
        var position = nodes.count
        if node.variable == nil {
            while position > 0, nodes[position - 1].runsBefore(node) { position -= 1 }
        }
        nodes.insert(node, at: position)
    }

    mutating func popLatest() -> TapeNode? { nodes.popLast() }
}
