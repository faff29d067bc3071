import Tensors

/// What a parameter does in its layer: optimizers leave weight decay off some roles, archives note it.
public enum ParameterRole: String, Codable, Sendable, CaseIterable {
    case weight, bias, normalizationScale, normalizationShift
}

/// A learned array of a network, under the path that weight files know it by.
///
/// The values are drawn when they are first asked for, so that a network whose shapes alone are
/// wanted, or whose weights come from a file, draws nothing.
public final class Parameter {
    /// Where it is in the network, in the source checkpoint's words (`layer1.0.conv1.weight`).
    public let path: String
    public let shape: [Int]
    public let role: ParameterRole
    /// Whether it learns. A frozen parameter's `value` is off the tape, so nothing upstream of it is
    /// recorded on its account, and batch norm whose scale and shift are frozen keeps its statistics.
    public var isTrainable = true

    private var initialValue: (() -> Tensor)?
    private var storedLeaf: Tensor?
    /// Takes the value's place in `ParameterStore.withSubstituted`.
    var substitute: Tensor?

    init(path: String, shape: [Int], role: ParameterRole, initialValue: @escaping () -> Tensor) {
        self.path = path
        self.shape = shape
        self.role = role
        self.initialValue = initialValue
    }

    /// The number of values.
    public var count: Int { shape.reduce(1, *) }

    /// Whether the values were drawn or set; until then they take no memory.
    public var isMaterialized: Bool { storedLeaf != nil }

    /// The values: the parameter's own leaf of the tape where it is trainable, off the tape where not.
    /// Assigning replaces the values and keeps the leaf.
    ///
    /// - Precondition: an assigned tensor has the parameter's shape.
    public var value: Tensor {
        get {
            if let substitute { return substitute }
            return isTrainable ? leaf : leaf.detached
        }
        set {
            precondition(newValue.shape == shape, "\(path): shape \(newValue.shape) for a parameter of \(shape)")
            // The parameter's own memory: the caller's tensor keeps its values when these change.
            newValue.withScalars { new in fill { _ = $0.update(fromContentsOf: new) } }
        }
    }

    /// Has `body` write all values, row-major; the memory may be uninitialised, and none are drawn first. `id` stays.
    package func fill(_ body: (UnsafeMutableBufferPointer<Float>) -> Void) {
        guard storedLeaf == nil else { return update(body) }
        initialValue = nil
        storedLeaf = .variable(Tensor(shape: shape, initializingWith: body))
    }

    /// The parameter's leaf, by which a `GradientSink` hears of its gradient.
    public var id: VariableID {
        guard let id = leaf.variableID else { preconditionFailure("\(path): not a leaf of the tape") }
        return id
    }

    /// Changes the values in place, row-major; `id` stays. For optimizers and loading.
    public func update<R>(_ body: (UnsafeMutableBufferPointer<Float>) throws -> R) rethrows -> R {
        var own = leaf
        // The only reference while it changes, or the tensor would copy itself first.
        storedLeaf = nil
        defer { storedLeaf = own }
        return try own.mutateScalars(body)
    }

    private var leaf: Tensor {
        if let storedLeaf { return storedLeaf }
        let new = Tensor.variable(initialValue?() ?? .zeros(shape))
        initialValue = nil
        storedLeaf = new
        return new
    }
}

/// An array that a layer keeps up itself and no gradient reaches: running statistics and counters.
public final class Buffer {
    public let path: String
    /// What is averaged over ranks after a step (running statistics) and what is not (counters, equal
    /// on all ranks anyway).
    public let isAveragedOverRanks: Bool
    /// Holds whole numbers, written to files as int64.
    public let isCounter: Bool

    private var stored: Tensor

    init(path: String, value: Tensor, isCounter: Bool) {
        self.path = path
        stored = value
        self.isCounter = isCounter
        isAveragedOverRanks = !isCounter
    }

    public var shape: [Int] { stored.shape }
    public var count: Int { stored.count }

    /// - Precondition: an assigned tensor has the buffer's shape.
    public var value: Tensor {
        get { stored }
        set {
            precondition(newValue.shape == shape, "\(path): shape \(newValue.shape) for a buffer of \(shape)")
            newValue.withScalars { new in update { _ = $0.update(fromContentsOf: new) } }
        }
    }

    /// Changes the values in place.
    public func update<R>(_ body: (UnsafeMutableBufferPointer<Float>) throws -> R) rethrows -> R {
        try stored.mutateScalars(body)
    }
}
