/// An elementwise operation of two operands, as a type so that its loop is compiled for it alone.
protocol BinaryOperation {
    static func of(_ a: Float, _ b: Float) -> Float
    /// Whether two zeros give zero: then the padding of blocked layouts, which must stay zero, does.
    static var keepsZero: Bool { get }
}

extension BinaryOperation {
    static var keepsZero: Bool { true }
}

enum Addition: BinaryOperation {
    @inline(__always) static func of(_ a: Float, _ b: Float) -> Float { a + b }
}
enum Subtraction: BinaryOperation {
    @inline(__always) static func of(_ a: Float, _ b: Float) -> Float { a - b }
}
enum Multiplication: BinaryOperation {
    @inline(__always) static func of(_ a: Float, _ b: Float) -> Float { a * b }
}
enum Division: BinaryOperation {
    @inline(__always) static func of(_ a: Float, _ b: Float) -> Float { a / b }
    static var keepsZero: Bool { false }
}
enum Maximum: BinaryOperation {
    /// A NaN in either operand is not lost.
    @inline(__always) static func of(_ a: Float, _ b: Float) -> Float { a > b || a != a ? a : b }
}
/// How much of the gradient of `maximum(a, b)` is a's.
enum GreaterShare: BinaryOperation {
    @inline(__always) static func of(_ a: Float, _ b: Float) -> Float { a > b ? 1 : a == b ? 0.5 : 0 }
    static var keepsZero: Bool { false }
}

/// How two row-major tensors of different shapes are walked together.
struct Broadcast {
    /// The shape of the result.
    let shape: [Int]
    /// Sizes of the loops, outermost first, after joining dimensions that both operands walk alike.
    private var sizes: [Int] = []
    private var stepsA: [Int] = []
    private var stepsB: [Int] = []

    /// How each operand moves along the innermost loop: 0 or 1 element.
    var innerA: Int { stepsA.last ?? 0 }
    var innerB: Int { stepsB.last ?? 0 }

    /// A stretch of the innermost loop: where it starts in the operands and the result, and how long it is.
    struct Run {
        let a: Int
        let b: Int
        let result: Int
        let count: Int
    }

    /// - Precondition: in every dimension, counted from the last, the sizes are equal or one of them is 1.
    init(_ a: [Int], _ b: [Int]) {
        shape = Self.shape(a, b)
        let rank = shape.count
        let (strideA, strideB) = (a.rowMajorStrides, b.rowMajorStrides)
        for axis in 0..<rank where shape[axis] != 1 {
            let (axisA, axisB) = (axis - (rank - a.count), axis - (rank - b.count))
            let stepA = axisA >= 0 && a[axisA] != 1 ? strideA[axisA] : 0
            let stepB = axisB >= 0 && b[axisB] != 1 ? strideB[axisB] : 0
            if let size = sizes.last, let lastA = stepsA.last, let lastB = stepsB.last,
                lastA == stepA * shape[axis], lastB == stepB * shape[axis]
            {
                (sizes[sizes.count - 1], stepsA[sizes.count - 1], stepsB[sizes.count - 1]) =
                    (size * shape[axis], stepA, stepB)
            } else {
                sizes.append(shape[axis])
                stepsA.append(stepA)
                stepsB.append(stepB)
            }
        }
        if sizes.isEmpty { (sizes, stepsA, stepsB) = ([1], [0], [0]) }
    }

    /// The shape that `a` and `b` broadcast to.
    static func shape(_ a: [Int], _ b: [Int]) -> [Int] {
        let rank = max(a.count, b.count)
        return (0..<rank).map { axis in
            let sizeA = axis < rank - a.count ? 1 : a[axis - (rank - a.count)]
            let sizeB = axis < rank - b.count ? 1 : b[axis - (rank - b.count)]
            precondition(
                sizeA == sizeB || sizeA == 1 || sizeB == 1, "shapes \(a) and \(b) do not broadcast")
            return sizeA == 1 ? sizeB : sizeA
        }
    }

    /// Calls `body` with runs that together cover the result, on several threads.
    func forEachRun(grain: Int, _ body: (Run) -> Void) {
        let inner = sizes[sizes.count - 1]
        let outer = Array(sizes.dropLast())
        Threads.parallelFor(count: shape.elementCount, grain: grain) { range in
            var position = range.lowerBound
            while position < range.upperBound {
                var (row, a, b) = (position / inner, 0, 0)
                let column = position - row * inner
                for axis in stride(from: outer.count - 1, through: 0, by: -1) {
                    let (quotient, index) = row.quotientAndRemainder(dividingBy: outer[axis])
                    a += index * stepsA[axis]
                    b += index * stepsB[axis]
                    row = quotient
                }
                let count = min(inner - column, range.upperBound - position)
                body(Run(a: a + column * innerA, b: b + column * innerB, result: position, count: count))
                position += count
            }
        }
    }
}
