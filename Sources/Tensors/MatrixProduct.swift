/// The matrix product of the last two dimensions; leading dimensions are batches and broadcast.
///
/// - Parameters:
///   - a: …×M×K, or …×K×M where `transposeA`.
///   - b: …×K×N, or …×N×K where `transposeB`.
/// - Returns: …×M×N. Bits may differ between numbers of threads.
public func matmul(
    _ a: Tensor, _ b: Tensor, transposeA: Bool = false, transposeB: Bool = false
) -> Tensor {
    let product = MatrixProduct(a, b, transposeA, transposeB)
    let (keptA, keptB) = (b.requiresGradient ? a : nil, a.requiresGradient ? b : nil)
    let (shapeA, shapeB) = (a.shape, b.shape)
    return product.run(a, b).recorded("matmul", from: [a, b]) { gradient in
        let gradientA = keptB.map { b in
            transposeA
                ? matmul(b, gradient, transposeA: transposeB, transposeB: true)
                : matmul(gradient, b, transposeB: !transposeB)
        }
        let gradientB = keptA.map { a in
            transposeB
                ? matmul(gradient, a, transposeA: true, transposeB: transposeA)
                : matmul(a, gradient, transposeA: !transposeA)
        }
        return [gradientA?.summed(to: shapeA), gradientB?.summed(to: shapeB)]
    }
}

/// x · weightᵀ + bias.
///
/// - Parameters:
///   - x: …×I.
///   - weight: O×I; I×O where `inputsFirst`, as GPT-2's files have it.
///   - bias: O.
/// - Returns: …×O.
public func linear(_ x: Tensor, weight: Tensor, bias: Tensor? = nil, inputsFirst: Bool = false) -> Tensor {
    precondition(
        weight.rank == 2 && x.rank >= 1 && x.shape.last == weight.shape[inputsFirst ? 0 : 1],
        "linear: x of shape \(x.shape) does not fit a weight of shape \(weight.shape)")
    let (inputs, outputs) = inputsFirst ? (weight.shape[0], weight.shape[1]) : (weight.shape[1], weight.shape[0])
    precondition(
        bias.map { $0.shape == [outputs] } ?? true,
        "linear: a bias of shape \(bias?.shape ?? []) does not fit a weight of shape \(weight.shape)")
    let rows = x.reshaped([x.count / max(1, inputs), inputs])
    let (keptRows, keptWeight) = (
        weight.requiresGradient ? rows : nil, rows.requiresGradient ? weight : nil
    )
    let wantsBias = bias?.requiresGradient ?? false
    let samples = x.rank > 1 ? x.shape[0] : 1
    let operands: [Tensor] = bias.map { [rows, weight, $0] } ?? [rows, weight]
    let result = affine(rows, weight, bias, inputsFirst).recorded("linear", from: operands, squaredInputs: 1..<3) {
        gradient in
        let squares = Tape.squaresSamples
        var gradients: [Tensor?] = [keptWeight.map { matmul(gradient, $0, transposeB: inputsFirst) }]
        gradients.append(
            keptRows.flatMap {
                squares
                    ? squaredWeightGradient($0, gradient, samples: samples, inputsFirst)
                    : weightGradient($0, gradient, of: weight, inputsFirst)
            })
        guard bias != nil else { return gradients }
        guard wantsBias else { return gradients + [nil] }
        return gradients + [squares ? squaredSums(gradient, samples: samples) : gradient.sum(axes: [0])]
    }
    return result.reshaped(x.shape.dropLast() + [outputs])
}

/// gradientᵀ · rows (rowsᵀ · gradient where inputs come first), in the memory that the sink has for it where nothing is
/// recorded; nil where the sink takes the factors.
func weightGradient(_ rows: Tensor, _ gradient: Tensor, of weight: Tensor, _ inputsFirst: Bool) -> Tensor? {
    let (left, right) = inputsFirst ? (rows, gradient) : (gradient, rows)
    guard !Tape.isRecording else { return matmul(left, right, transposeA: true) }
    if weight.leaveFactors(left, right) { return nil }
    let result = weight.memoryForGradient()
    let (a, b) = (left.rowMajor, right.rowMajor)
    GEMM.multiply(
        a.floats, transposed: true, b.floats, transposed: false, into: result.floats, m: weight.shape[0],
        n: weight.shape[1], k: rows.shape[0])
    withExtendedLifetime((a, b)) {}
    return result
}

/// Σ over samples of (gradientᵀ · rows)², elementwise; the rows of a sample lie together.
func squaredWeightGradient(
    _ rows: Tensor, _ gradient: Tensor, samples: Int, _ inputsFirst: Bool
) -> Tensor {
    guard !inputsFirst else { return squaredWeightGradient(gradient, rows, samples: samples, false) }
    let parts = samples == 0 ? 0 : rows.shape[0] / samples
    // The outer product of one row: its square is the outer product of squares.
    if parts == 1 { return matmul(gradient * gradient, rows * rows, transposeA: true) }
    var sum = Tensor.zeros([gradient.shape[1], rows.shape[1]])
    for sample in 0..<samples {
        let range = sample * parts..<(sample + 1) * parts
        let one = matmul(gradient.sliced(axis: 0, range), rows.sliced(axis: 0, range), transposeA: true)
        sum = sum + one * one
    }
    return sum
}

/// Σ over samples of (the sum of a sample's rows)², per column.
private func squaredSums(_ gradient: Tensor, samples: Int) -> Tensor {
    let width = gradient.shape[1]
    let sums = gradient.reshaped([samples, samples == 0 ? 0 : gradient.shape[0] / samples, width]).sum(axes: [1])
    return (sums * sums).sum(axes: [0])
}

/// x · weightᵀ with the bias written to the rows first, for the product to be added to.
private func affine(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?, _ inputsFirst: Bool) -> Tensor {
    let (m, n, k) = (x.shape[0], weight.shape[inputsFirst ? 1 : 0], x.shape[1])
    let result = Tensor(uninitialized: [m, n])
    let (x, weight) = (x.rowMajor, weight.rowMajor)
    if let bias {
        let bias = bias.rowMajor
        for row in 0..<m { (result.floats + row * n).update(from: bias.floats, count: n) }
    }
    GEMM.multiply(
        x.floats, transposed: false, weight.floats, transposed: !inputsFirst, into: result.floats, m: m, n: n, k: k,
        beta: bias == nil ? 0 : 1)
    withExtendedLifetime((x, weight)) {}
    return result
}

/// The sizes of a product, and how its batches are walked.
private struct MatrixProduct {
    let transposeA: Bool
    let transposeB: Bool
    private let m: Int
    private let n: Int
    private let k: Int
    private let batches: Broadcast

    init(_ a: Tensor, _ b: Tensor, _ transposeA: Bool, _ transposeB: Bool) {
        precondition(
            a.rank >= 2 && b.rank >= 2,
            "matmul: the shapes \(a.shape) and \(b.shape) are not both matrices")
        let (rowsA, columnsA) = (a.shape[a.rank - 2], a.shape[a.rank - 1])
        let (rowsB, columnsB) = (b.shape[b.rank - 2], b.shape[b.rank - 1])
        (m, k) = transposeA ? (columnsA, rowsA) : (rowsA, columnsA)
        n = transposeB ? rowsB : columnsB
        precondition(
            k == (transposeB ? columnsB : rowsB),
            """
            matmul: the shapes \(a.shape)\(transposeA ? " transposed" : "") and \
            \(b.shape)\(transposeB ? " transposed" : "") do not fit
            """)
        (self.transposeA, self.transposeB) = (transposeA, transposeB)
        batches = Broadcast(a.shape.dropLast(2), b.shape.dropLast(2))
    }

    /// The product, off the tape.
    func run(_ a: Tensor, _ b: Tensor) -> Tensor {
        let (a, b) = (a.rowMajor, b.rowMajor)
        let result = Tensor(uninitialized: batches.shape + [m, n])
        // One matrix for all batches of rows: one large product instead of many.
        if b.rank == 2, !transposeA, a.rank > 2 {
            GEMM.multiply(
                a.floats, transposed: false, b.floats, transposed: transposeB, into: result.floats,
                m: a.count / max(1, k), n: n, k: k)
        } else {
            let threaded = batches.shape.elementCount >= Threads.count && m * n * k < 1 << 22
            let operations = 2 * batches.shape.elementCount * m * n * k
            Profile.measure("matrix products", bytes: 4 * (a.count + b.count + result.count), operations: operations) {
                batches.forEachRun(grain: threaded ? max(1, (1 << 18) / max(1, m * n * k)) : .max) { run in
                    for i in 0..<run.count {
                        multiply(
                            a.floats + (run.a + i * batches.innerA) * m * k,
                            b.floats + (run.b + i * batches.innerB) * k * n,
                            result.floats + (run.result + i) * m * n, rows: m)
                    }
                }
            }
        }
        withExtendedLifetime((a, b)) {}
        return result
    }

    private func multiply(
        _ a: UnsafeMutablePointer<Float>, _ b: UnsafeMutablePointer<Float>, _ c: UnsafeMutablePointer<Float>,
        rows: Int
    ) {
        // From all threads at once: nothing may be noted in a profile here.
        GEMM.multiply(
            GEMM.Operand(pointer: a, stride: transposeA ? rows : k, isTransposed: transposeA),
            GEMM.Operand(pointer: b, stride: transposeB ? k : n, isTransposed: transposeB), into: c, strideC: n,
            m: rows, n: n, k: k)
    }
}
