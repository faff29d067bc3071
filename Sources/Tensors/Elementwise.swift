import Foundation

// Arithmetic with broadcasting, as NumPy defines it: shapes are aligned at their last dimension, and a
// dimension of one element, or a missing one, repeats. Two operands of the same opaque layout stay in it.

extension Tensor {
    /// Element by element `a + b`, with broadcasting.
    public static func + (a: Tensor, b: Tensor) -> Tensor {
        let (shapeA, shapeB) = (a.shape, b.shape)
        return Elementwise.combine(a, b, Addition.self).recorded("add", from: [a, b]) { gradient in
            [gradient.summed(to: shapeA), gradient.summed(to: shapeB)]
        }
    }

    /// Element by element `a - b`, with broadcasting.
    public static func - (a: Tensor, b: Tensor) -> Tensor {
        let (shapeA, shapeB) = (a.shape, b.shape)
        let wantsB = b.requiresGradient
        return Elementwise.combine(a, b, Subtraction.self).recorded("subtract", from: [a, b]) { gradient in
            [gradient.summed(to: shapeA), wantsB ? -gradient.summed(to: shapeB) : nil]
        }
    }

    /// Element by element `a · b`, with broadcasting.
    public static func * (a: Tensor, b: Tensor) -> Tensor {
        let (shapeA, shapeB) = (a.shape, b.shape)
        // Each is kept only where the other one's gradient needs it.
        let (keptA, keptB) = (b.requiresGradient ? a : nil, a.requiresGradient ? b : nil)
        return Elementwise.combine(a, b, Multiplication.self).recorded("multiply", from: [a, b]) { gradient in
            [
                keptB.map { (gradient * $0).summed(to: shapeA) },
                keptA.map { (gradient * $0).summed(to: shapeB) },
            ]
        }
    }

    /// Element by element `a / b`, with broadcasting.
    public static func / (a: Tensor, b: Tensor) -> Tensor {
        let (wantsA, wantsB) = (a.requiresGradient, b.requiresGradient)
        return Elementwise.combine(a, b, Division.self).recorded("divide", from: [a, b]) { gradient in
            [
                wantsA ? (gradient / b).summed(to: a.shape) : nil,
                wantsB ? -(gradient * a / square(b)).summed(to: b.shape) : nil,
            ]
        }
    }

    public static func + (a: Tensor, b: Float) -> Tensor {
        Elementwise.combine(a, b, Addition.self).recorded("addScalar", from: [a]) { [$0] }
    }

    public static func - (a: Tensor, b: Float) -> Tensor { a + (-b) }

    public static func * (a: Tensor, b: Float) -> Tensor {
        Elementwise.combine(a, b, Multiplication.self).recorded("scale", from: [a]) { [$0 * b] }
    }

    public static func / (a: Tensor, b: Float) -> Tensor {
        Elementwise.combine(a, b, Division.self).recorded("divideByScalar", from: [a]) { [$0 / b] }
    }

    public static func + (a: Float, b: Tensor) -> Tensor { b + a }
    public static func * (a: Float, b: Tensor) -> Tensor { b * a }
    public static func - (a: Float, b: Tensor) -> Tensor { -b + a }
    public static func / (a: Float, b: Tensor) -> Tensor { Tensor(a) / b }
    public static prefix func - (a: Tensor) -> Tensor { a * -1 }

    /// Element by element the nearest value in `lower...upper`. The gradient passes where the element lies
    /// in that range, its ends included.
    public func clamped(_ lower: Float, _ upper: Float) -> Tensor {
        precondition(lower <= upper, "clamped: the range \(lower)...\(upper) is empty")
        let detached = self.detached
        let result = Elementwise.map(self) { Swift.min(Swift.max($0, lower), upper) }
        return result.recorded("clamped", from: [self]) { gradient in
            [gradient * Elementwise.map(detached) { lower <= $0 && $0 <= upper ? 1 : 0 }]
        }
    }
}

/// Element by element the larger of the two, with broadcasting. Where they are equal each gets half the
/// gradient.
public func maximum(_ a: Tensor, _ b: Tensor) -> Tensor {
    Elementwise.combine(a, b, Maximum.self).recorded("maximum", from: [a, b]) { gradient in
        let share = Elementwise.combine(a, b, GreaterShare.self)
        return [(gradient * share).summed(to: a.shape), (gradient * (1 - share)).summed(to: b.shape)]
    }
}

/// Element by element the smaller of the two, with broadcasting. Where they are equal each gets half the
/// gradient.
public func minimum(_ a: Tensor, _ b: Tensor) -> Tensor {
    -maximum(-a, -b)
}

/// The elementwise kernels: flat where both operands lie alike, rows of a broadcast otherwise.
enum Elementwise {
    /// Fewer elements than this are not worth a second thread.
    static let grain = 1 << 15

    /// `Operation` on two tensors with broadcasting; off the tape.
    static func combine<Operation: BinaryOperation>(
        _ a: Tensor, _ b: Tensor, _ operation: Operation.Type
    ) -> Tensor {
        requireFloats(a, b)
        guard a.shape == b.shape else { return broadcast(a.rowMajor, b.rowMajor, operation) }
        let (a, b) = Operation.keepsZero ? aligned(a, b) : (a.rowMajor, b.rowMajor)
        let count = a.storedCount
        let result = a.similar()
        combine(a.storage.floats, b.storage.floats, into: result.storage.floats, count: count, operation)
        return result
    }

    /// `Operation` on every element and one number; off the tape.
    static func combine<Operation: BinaryOperation>(
        _ a: Tensor, _ scalar: Float, _ operation: Operation.Type
    ) -> Tensor {
        requireFloats(a, a)
        let a = Operation.of(0, scalar) == 0 ? a.detached : a.rowMajor
        let result = a.similar()
        let (x, r) = (a.storage.floats, result.storage.floats)
        Threads.parallelFor(count: a.storedCount, grain: grain) { range in
            for i in range { r[i] = Operation.of(x[i], scalar) }
        }
        return result
    }

    /// A function of every element; off the tape. For what is not worth a type of its own.
    static func map(_ a: Tensor, _ function: @escaping (Float) -> Float) -> Tensor {
        requireFloats(a, a)
        let a = function(0) == 0 ? a.detached : a.rowMajor
        let result = a.similar()
        let (x, r) = (a.storage.floats, result.storage.floats)
        Threads.parallelFor(count: a.storedCount, grain: grain / 8) { range in
            for i in range { r[i] = function(x[i]) }
        }
        return result
    }

    /// `sum += addend`, in place where nobody else holds the memory of `sum`. Off the tape.
    static func add(_ addend: Tensor, into sum: inout Tensor) {
        requireFloats(sum, addend)
        guard sum.shape == addend.shape, sum.node == nil, addend.node == nil,
            isKnownUniquelyReferenced(&sum.storage)
        else {
            sum = combine(sum, addend, Addition.self)
            return
        }
        let addend = inLayout(of: sum, addend)
        sum.storage.reordered = []
        combine(
            sum.storage.floats, addend.storage.floats, into: sum.storage.floats, count: sum.storedCount,
            Addition.self)
    }

    private static func combine<Operation: BinaryOperation>(
        _ x: UnsafeMutablePointer<Float>, _ y: UnsafeMutablePointer<Float>,
        into r: UnsafeMutablePointer<Float>, count: Int, _ operation: Operation.Type
    ) {
        Profile.measure("elementwise", bytes: 12 * count) {
            Threads.parallelFor(count: count, grain: grain) { range in
                for i in range { r[i] = Operation.of(x[i], y[i]) }
            }
        }
    }

    /// The two in one layout: an opaque one where either has it, since more of the network lies that way.
    private static func aligned(_ a: Tensor, _ b: Tensor) -> (Tensor, Tensor) {
        a.layout.isRowMajor ? (inLayout(of: b, a), b) : (a, inLayout(of: a, b))
    }

    private static func inLayout(of model: Tensor, _ tensor: Tensor) -> Tensor {
        guard case .opaque(let wanted) = model.layout else { return tensor.rowMajor }
        return Tensor(
            shape: tensor.shape, storage: OneDNN.storage(of: tensor, in: wanted), layout: model.layout)
    }

    private static func broadcast<Operation: BinaryOperation>(
        _ a: Tensor, _ b: Tensor, _ operation: Operation.Type
    ) -> Tensor {
        let plan = Broadcast(a.shape, b.shape)
        let result = Tensor(uninitialized: plan.shape)
        let (x, y, r) = (a.floats, b.floats, result.floats)
        plan.forEachRun(grain: grain) { run in
            let (x, y, r) = (x + run.a, y + run.b, r + run.result)
            switch (plan.innerA, plan.innerB) {
            case (0, 0):
                let value = Operation.of(x[0], y[0])
                for i in 0..<run.count { r[i] = value }
            case (0, _):
                let value = x[0]
                for i in 0..<run.count { r[i] = Operation.of(value, y[i]) }
            case (_, 0):
                let value = y[0]
                for i in 0..<run.count { r[i] = Operation.of(x[i], value) }
            default:
                for i in 0..<run.count { r[i] = Operation.of(x[i], y[i]) }
            }
        }
        return result
    }

    private static func requireFloats(_ a: Tensor, _ b: Tensor) {
        precondition(
            a.elementType == .float32 && b.elementType == .float32,
            "arithmetic is on float32 tensors, not on \(a.elementType) and \(b.elementType)")
    }
}

extension Tensor {
    /// Elements in storage, the padding of blocked channels included.
    var storedCount: Int {
        guard case .opaque(let opaque) = layout else { return count }
        return opaque.byteCount / MemoryLayout<Float>.stride
    }

    /// Uninitialised memory of the same shape and layout.
    func similar() -> Tensor {
        Tensor(shape: shape, storage: Storage(byteCount: storedCount * 4), layout: layout)
    }
}
