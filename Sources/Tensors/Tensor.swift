import Foundation

/// An n-dimensional array, with its place on the tape where a gradient is wanted.
///
/// A tensor is a value. Its elements lie row-major, or in an *opaque* layout that oneDNN chose for
/// speed; operations that need rows ask for them, and nothing outside this target can tell.
/// Images are N×C×H×W everywhere.
public struct Tensor: @unchecked Sendable {
    /// The sizes of the dimensions, outermost first; empty for a single number.
    public let shape: [Int]
    package var storage: Storage
    let layout: Layout
    /// The operation (or variable) that made this tensor, where a gradient is wanted.
    let node: TapeNode?

    init(shape: [Int], storage: Storage, layout: Layout = .rowMajor, node: TapeNode? = nil) {
        self.shape = shape
        self.storage = storage
        self.layout = layout
        self.node = node
    }

    /// Uninitialised elements in row-major order.
    init(uninitialized shape: [Int], elementType: ElementType = .float32) {
        self.init(
            shape: shape,
            storage: Storage(byteCount: shape.elementCount * elementType.byteCount, elementType: elementType))
    }
}

extension Tensor {
    /// A tensor of the given row-major elements.
    ///
    /// - Precondition: there are as many scalars as the shape says.
    public init(_ scalars: [Float], shape: [Int]) {
        precondition(
            scalars.count == shape.elementCount,
            "Tensor: \(scalars.count) scalars do not fill the shape \(shape)")
        self.init(uninitialized: shape)
        storage.floats.update(from: scalars, count: scalars.count)
    }

    /// A tensor holding one number, of shape `[]`.
    public init(_ scalar: Float) { self.init([scalar], shape: []) }

    /// A tensor of `Int32` indices, labels or tokens in row-major order.
    public init(indices: [Int32], shape: [Int]) {
        precondition(
            indices.count == shape.elementCount,
            "Tensor: \(indices.count) indices do not fill the shape \(shape)")
        self.init(uninitialized: shape, elementType: .int32)
        storage.integers.update(from: indices, count: indices.count)
    }

    /// A tensor whose row-major elements `fill` writes; the memory it is given is uninitialised.
    public init(
        shape: [Int], initializingWith fill: (UnsafeMutableBufferPointer<Float>) throws -> Void
    ) rethrows {
        self.init(uninitialized: shape)
        try fill(UnsafeMutableBufferPointer(start: storage.floats, count: shape.elementCount))
    }

    public static func zeros(_ shape: [Int]) -> Tensor { full(shape, 0) }
    public static func ones(_ shape: [Int]) -> Tensor { full(shape, 1) }
    public static func full(_ shape: [Int], _ value: Float) -> Tensor {
        Tensor(shape: shape) { $0.update(repeating: value) }
    }

    /// A leaf of the tape: a tensor of the same values whose gradient is wanted.
    public static func variable(_ value: Tensor) -> Tensor {
        Tensor(shape: value.shape, storage: value.storage, layout: value.layout, node: TapeNode.leaf())
    }
}

extension Tensor {
    public var elementType: ElementType { storage.elementType }
    /// The number of elements.
    public var count: Int { shape.elementCount }
    /// The number of dimensions.
    public var rank: Int { shape.count }
    /// Whether a gradient will flow back through this tensor.
    public var requiresGradient: Bool { node != nil }
    /// Identifies this leaf in a `GradientSink`; nil for a tensor that is not a variable.
    public var variableID: VariableID? { node?.variable }
    /// The same values, off the tape.
    public var detached: Tensor { Tensor(shape: shape, storage: storage, layout: layout) }

    /// The elements in row-major order.
    public var scalars: [Float] { withScalars { Array($0) } }

    /// The elements of an `Int32` tensor in row-major order.
    public var indices: [Int32] {
        precondition(elementType == .int32, "indices: the tensor holds \(elementType), not int32")
        return Array(UnsafeBufferPointer(start: storage.integers, count: count))
    }

    /// The only element.
    public var scalar: Float {
        precondition(count == 1, "scalar: a tensor of shape \(shape) holds \(count) elements")
        return withScalars { $0[0] }
    }

    /// Calls `body` with the elements in row-major order.
    public func withScalars<R>(_ body: (UnsafeBufferPointer<Float>) throws -> R) rethrows -> R {
        precondition(elementType == .float32, "withScalars: the tensor holds \(elementType), not float32")
        let rows = rowMajor
        return try withExtendedLifetime(rows) {
            try body(UnsafeBufferPointer(start: rows.storage.floats, count: count))
        }
    }

    /// Changes the elements in place, in row-major order: for parameters and running statistics.
    /// Other tensors that share the memory keep their values.
    public mutating func mutateScalars<R>(
        _ body: (UnsafeMutableBufferPointer<Float>) throws -> R
    ) rethrows -> R {
        precondition(elementType == .float32, "mutateScalars: the tensor holds \(elementType), not float32")
        if case .opaque = layout {
            self = Tensor(shape: shape, storage: rowMajor.storage, node: node)
        }
        if !isKnownUniquelyReferenced(&storage) {
            let copy = Storage(byteCount: storage.byteCount)
            copy.pointer.copyMemory(from: storage.pointer, byteCount: storage.byteCount)
            storage = copy
        }
        storage.reordered = []
        return try body(UnsafeMutableBufferPointer(start: storage.floats, count: count))
    }

    /// This tensor off the tape for writing over it, where nobody else holds its memory; else nil. It must not be read
    /// as what it was any more.
    mutating func takeIfUnique() -> Tensor? {
        guard node == nil, isKnownUniquelyReferenced(&storage), !storage.isBorrowed else { return nil }
        storage.reordered = []
        return detached
    }

    /// The same tensor with its elements in row-major order; itself if they already are.
    var rowMajor: Tensor {
        guard case .opaque(let opaque) = layout else { return self }
        let rows = Storage(byteCount: count * elementType.byteCount, elementType: elementType)
        OneDNN.reorder(storage, opaque, to: rows, .rowMajor(shape, elementType))
        return Tensor(shape: shape, storage: rows, node: node)
    }

    var floats: UnsafeMutablePointer<Float> {
        assert(layout.isRowMajor)
        return storage.floats
    }

    /// Attaches the operation that made this tensor, if any of its inputs wants a gradient.
    ///
    /// - Parameter squaredInputs: the inputs for which `backward` looks at `Tape.squaresSamples`.
    func recorded(
        _ name: StaticString, from inputs: [Tensor], squaredInputs: Range<Int> = 0..<0, backward: @escaping Backward
    ) -> Tensor {
        guard Tape.isRecording, inputs.contains(where: { $0.node != nil }) else { return self }
        let node = TapeNode(
            name: name, inputs: inputs.map(\.node), backward: backward, squaredInputs: squaredInputs)
        return Tensor(shape: shape, storage: storage, layout: layout, node: node)
    }
}

extension Array where Element == Int {
    /// The number of elements of a tensor of this shape.
    package var elementCount: Int { reduce(1, *) }

    /// Row-major strides, in elements.
    package var rowMajorStrides: [Int] {
        var strides = [Int](repeating: 1, count: count)
        for axis in stride(from: count - 2, through: 0, by: -1) {
            strides[axis] = strides[axis + 1] * self[axis + 1]
        }
        return strides
    }
}

extension Tensor: CustomStringConvertible {
    public var description: String {
        let shown =
            elementType == .float32
            ? scalars.prefix(8).map { "\($0)" } : elementType == .int32 ? indices.prefix(8).map { "\($0)" } : []
        return "Tensor\(shape)(\(shown.joined(separator: ", "))\(count > 8 ? ", …" : ""))"
    }
}
