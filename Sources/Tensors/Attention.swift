import CKernels

/// How attention looks at keys, and what it drops.
public struct AttentionRule: Sendable {
    public var heads: Int
    /// Whether query i, at position `position` + i, sees keys 0...position + i only.
    public var isCausal = false
    /// The position of the first query among the keys: behind those that a cache holds.
    public var position = 0
    /// The rate at which probabilities are dropped, in 0..<1, and the mask that drops them; `offset` is where the
    /// first sample's mask begins (heads × queries × keys numbers a sample).
    public var dropout: (rate: Float, key: RandomKey, offset: Int)?

    public init(heads: Int) { self.heads = heads }
}

/// Multi-head scaled dot-product attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762): for each sample and
/// head, softmax(query · keyᵀ / √D + mask) · value.
///
/// - Parameters:
///   - query: N×T×(heads·D); the heads lie side by side.
///   - key, value: N×S×(heads·D).
///   - mask: N×S, added to the scores: 0 for keys that count, -∞ for padding. Not differentiated.
/// - Returns: N×T×(heads·D).
///
/// No T×S matrix is kept: a tile of queries at a time meets all keys, and backward makes its probabilities again from
/// one logarithm a row (Dao et al. 2022, https://arxiv.org/abs/2205.14135, has the idea). Differentiable twice, without
/// dropout. Checked against PyTorch's `scaled_dot_product_attention`.
public func attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor? = nil, _ rule: AttentionRule
) -> Tensor {
    let shape = AttentionShape(query.shape, key.shape, value.shape, mask, rule)
    let inputs = [query, key, value].map { $0.rowMajor.detached }
    let kernel = AttentionKernel(
        shape, rule, mask, strides: [Int](repeating: shape.width, count: 3), places: inputs.map { ($0, 0) })
    let (output, logarithms) = kernel.forward()
    return output.recorded("attention", from: [query, key, value]) { gradient in
        guard !Tape.isRecording else {
            return differentiableBackward(gradient, query, key, value, mask, shape, rule)
        }
        let gradients = inputs.map { Tensor(uninitialized: $0.shape) }
        kernel.backward(gradient.rowMajor, output, logarithms, into: gradients.map { ($0, 0) })
        return gradients
    }
}

/// The same where query, key and value lie side by side in one tensor N×T×(3·heads·D), as one linear map gives them.
public func attention(packed: Tensor, mask: Tensor? = nil, _ rule: AttentionRule) -> Tensor {
    precondition(
        packed.rank == 3 && packed.shape[2] % 3 == 0, "attention: \(packed.shape) does not hold three parts")
    let width = packed.shape[2] / 3
    let part = [packed.shape[0], packed.shape[1], width]
    let shape = AttentionShape(part, part, part, mask, rule)
    let input = packed.rowMajor.detached
    let kernel = AttentionKernel(
        shape, rule, mask, strides: [Int](repeating: 3 * width, count: 3),
        places: (0..<3).map { (input, $0 * width) })
    let (output, logarithms) = kernel.forward()
    return output.recorded("attention", from: [packed]) { gradient in
        guard !Tape.isRecording else {
            let parts = (0..<3).map { packed.sliced(axis: 2, $0 * width..<($0 + 1) * width) }
            let gradients = differentiableBackward(gradient, parts[0], parts[1], parts[2], mask, shape, rule)
            return [concatenated(gradients.compactMap { $0 }, axis: 2)]
        }
        let whole = Tensor(uninitialized: input.shape)
        kernel.backward(gradient.rowMajor, output, logarithms, into: (0..<3).map { (whole, $0 * width) })
        return [whole]
    }
}

/// The sizes of one call.
private struct AttentionShape {
    let samples, queries, keys, width, heads: Int
    var depth: Int { width / heads }
    var scale: Float { 1 / Float(depth).squareRoot() }

    init(_ query: [Int], _ key: [Int], _ value: [Int], _ mask: Tensor?, _ rule: AttentionRule) {
        precondition(
            query.count == 3 && key.count == 3 && key == value && query[0] == key[0] && query[2] == key[2]
                && rule.heads > 0 && query[2] % rule.heads == 0,
            "attention: query \(query), key \(key) and value \(value) do not fit with \(rule.heads) heads")
        precondition(
            mask.map { $0.shape == [key[0], key[1]] } ?? true,
            "attention: a mask of shape \(mask?.shape ?? []) does not fit keys of shape \(key)")
        (samples, queries, keys, width, heads) = (query[0], query[1], key[1], query[2], rule.heads)
    }
}

/// With recorded operations, for second derivatives: the gradients of query, key and value.
private func differentiableBackward(
    _ gradient: Tensor, _ query: Tensor, _ key: Tensor, _ value: Tensor, _ mask: Tensor?, _ shape: AttentionShape,
    _ rule: AttentionRule
) -> [Tensor?] {
    precondition(rule.dropout == nil, "attention: no second derivatives with dropout")
    func split(_ x: Tensor) -> Tensor {
        x.reshaped([x.shape[0], x.shape[1], shape.heads, shape.depth]).transposed([0, 2, 1, 3])
    }
    func joined(_ x: Tensor) -> Tensor {
        x.transposed([0, 2, 1, 3]).reshaped([x.shape[0], x.shape[2], shape.width])
    }
    let (q, k, v, g) = (split(query), split(key), split(value), split(gradient))
    var scores = matmul(q, k, transposeB: true) * shape.scale
    if let mask { scores = scores + mask.reshaped([shape.samples, 1, 1, shape.keys]) }
    if rule.isCausal {
        scores =
            scores
            + Tensor(shape: [shape.queries, shape.keys]) { hidden in
                for i in hidden.indices {
                    hidden[i] = i % shape.keys > i / shape.keys + rule.position ? -.infinity : 0
                }
            }
    }
    let p = softmax(scores)
    let dp = matmul(g, v, transposeB: true)
    let ds = p * (dp - (dp * p).sum(axes: [-1], keepDimensions: true)) * shape.scale
    return [joined(matmul(ds, k)), joined(matmul(ds, q, transposeA: true)), joined(matmul(p, g, transposeA: true))]
}

/// The loops over samples, heads and tiles of queries.
///
/// The rows of one head lie a whole row of all heads apart; they are copied together first, since products of matrices
/// with such gaps take up to four times as long.
private struct AttentionKernel {
    private let shape: AttentionShape
    private let rule: AttentionRule
    private let mask: Tensor?
    /// The distance of the rows of query, key and value, and where each begins in its tensor.
    private let strides: [Int]
    private let places: [(tensor: Tensor, start: Int)]

    init(
        _ shape: AttentionShape, _ rule: AttentionRule, _ mask: Tensor?, strides: [Int],
        places: [(tensor: Tensor, start: Int)]
    ) {
        (self.shape, self.rule, self.mask, self.strides, self.places) = (
            shape, rule, mask?.rowMajor.detached, strides, places
        )
    }

    /// Queries whose scores are in memory at one time: of 64 Ki scores, which stay in the second cache. Causal tiles are
    /// lower, since a tile's keys end where its last query stands.
    private var tileHeight: Int {
        min(shape.queries, rule.isCausal ? 64 : .max, max(16, (1 << 16) / max(1, shape.keys)))
    }

    func forward() -> (output: Tensor, logarithms: Tensor) {
        let output = Tensor(uninitialized: [shape.samples, shape.queries, shape.width])
        let logarithms = Tensor(uninitialized: [shape.samples, shape.heads, shape.queries])
        forEachHead("attention", products: 2, scratch: { (scores(), scores(), heads(4)) }) {
            sample, head, scratch in
            let (scores, factors, parts) = scratch
            for part in 0..<3 { strided(part, sample, head).copy(to: parts[part]) }
            let (query, key, value, result) = (parts[0], parts[1], parts[2], parts[3])
            forEachTile { tile in
                multiply(query.rows(tile.first), key.operand.transposed, scores, tile.rows, tile.keys, shape.depth)
                graft_attention_probabilities(
                    scores.floats, maskRow(sample), logarithms.floats + row(sample, head, tile), tile.rows, tile.keys,
                    shape.scale, rule.isCausal ? 1 : 0, rule.position + tile.first)
                if drop(sample, head, tile, factors) {
                    graft_multiply(scores.floats, factors.floats, scores.floats, tile.rows * tile.keys)
                }
                result.receive(
                    GEMM.Operand(pointer: scores.floats, stride: tile.keys), value.operand, atRow: tile.first,
                    m: tile.rows, k: tile.keys, beta: 0)
            }
            result.copy(
                to: HeadMatrix(
                    pointer: output.floats + sample * shape.queries * shape.width + head * shape.depth,
                    stride: shape.width, rows: shape.queries, depth: shape.depth))
        }
        return (output, logarithms)
    }

    func backward(
        _ gradient: Tensor, _ output: Tensor, _ logarithms: Tensor, into targets: [(tensor: Tensor, start: Int)]
    ) {
        let delta = rowProducts(gradient, output)
        forEachHead(
            "attention gradient", products: 5, scratch: { (scores(), scores(), scores(), heads(7)) }
        ) { sample, head, scratch in
            let (scores, met, factors, parts) = scratch
            for part in 0..<3 { strided(part, sample, head).copy(to: parts[part]) }
            let (query, key, value, upstream) = (parts[0], parts[1], parts[2], parts[3])
            HeadMatrix(
                pointer: gradient.floats + sample * shape.queries * shape.width + head * shape.depth,
                stride: shape.width, rows: shape.queries, depth: shape.depth
            ).copy(to: upstream)
            let slopes = Array(parts[4...])
            for slope in slopes.dropFirst() { slope.clear() }
            forEachTile { tile in
                multiply(query.rows(tile.first), key.operand.transposed, scores, tile.rows, tile.keys, shape.depth)
                multiply(upstream.rows(tile.first), value.operand.transposed, met, tile.rows, tile.keys, shape.depth)
                let drops = drop(sample, head, tile, factors)
                graft_attention_gradient(
                    scores.floats, met.floats, maskRow(sample), logarithms.floats + row(sample, head, tile),
                    delta.floats + row(sample, head, tile), drops ? factors.floats : nil, tile.rows, tile.keys,
                    shape.scale, rule.isCausal ? 1 : 0, rule.position + tile.first)
                let slope = GEMM.Operand(pointer: scores.floats, stride: tile.keys)
                let probabilities = GEMM.Operand(pointer: met.floats, stride: tile.keys)
                slopes[0].receive(slope, key.operand, atRow: tile.first, m: tile.rows, k: tile.keys, beta: 0)
                slopes[1].receive(slope.transposed, query.rows(tile.first), m: tile.keys, k: tile.rows, beta: 1)
                slopes[2].receive(
                    probabilities.transposed, upstream.rows(tile.first), m: tile.keys, k: tile.rows, beta: 1)
            }
            for part in 0..<3 { slopes[part].copy(to: strided(part, sample, head, of: targets[part])) }
        }
    }

    // MARK: Parts

    private struct Tile {
        let first, rows: Int
        /// Keys that any of the rows may see.
        let keys: Int
    }

    /// One head of one sample in memory: rows of `depth` numbers, `stride` apart.
    private struct HeadMatrix {
        let pointer: UnsafeMutablePointer<Float>
        let stride, rows, depth: Int

        var operand: GEMM.Operand { rows(0) }

        func rows(_ first: Int) -> GEMM.Operand {
            GEMM.Operand(pointer: pointer + first * stride, stride: stride)
        }

        func copy(to other: HeadMatrix) {
            for row in 0..<rows {
                (other.pointer + row * other.stride).update(from: pointer + row * stride, count: depth)
            }
        }

        func clear() { pointer.update(repeating: 0, count: rows * depth) }

        func receive(_ a: GEMM.Operand, _ b: GEMM.Operand, atRow row: Int = 0, m: Int, k: Int, beta: Float) {
            GEMM.multiply(a, b, into: pointer + row * stride, strideC: stride, m: m, n: depth, k: k, beta: beta)
        }
    }

    /// Memory for the scores of a tile.
    private func scores() -> Tensor { Tensor(uninitialized: [tileHeight * shape.keys]) }

    /// Memory for heads without gaps: query, key, value, and further ones of queries, queries, keys and keys.
    private func heads(_ count: Int) -> HeadMemory {
        let rows = [shape.queries, shape.keys, shape.keys, shape.queries, shape.queries, shape.keys, shape.keys]
        return HeadMemory(Array(rows.prefix(count)), shape.depth)
    }

    private struct HeadMemory {
        private let memory: Tensor
        private let matrices: [HeadMatrix]

        init(_ rows: [Int], _ depth: Int) {
            memory = Tensor(uninitialized: [rows.reduce(0, +) * depth])
            var next = memory.floats
            matrices = rows.map { rows in
                defer { next += rows * depth }
                return HeadMatrix(pointer: next, stride: depth, rows: rows, depth: depth)
            }
        }

        subscript(index: Int) -> HeadMatrix { matrices[index] }
        subscript(range: PartialRangeFrom<Int>) -> ArraySlice<HeadMatrix> { matrices[range] }
    }

    /// One head in query, key or value, or in what has their shape.
    private func strided(
        _ part: Int, _ sample: Int, _ head: Int, of place: (tensor: Tensor, start: Int)? = nil
    ) -> HeadMatrix {
        let (tensor, start) = place ?? places[part]
        let rows = part == 0 ? shape.queries : shape.keys
        return HeadMatrix(
            pointer: tensor.floats + start + sample * rows * strides[part] + head * shape.depth,
            stride: strides[part], rows: rows, depth: shape.depth)
    }

    private func multiply(_ a: GEMM.Operand, _ b: GEMM.Operand, _ result: Tensor, _ m: Int, _ n: Int, _ k: Int) {
        GEMM.multiply(a, b, into: result.floats, strideC: n, m: m, n: n, k: k)
    }

    /// Σ over a head of gradient · output: N×heads×T.
    private func rowProducts(_ gradient: Tensor, _ output: Tensor) -> Tensor {
        let result = Tensor(uninitialized: [shape.samples, shape.heads, shape.queries])
        Threads.parallelFor(count: shape.samples * shape.heads) { range in
            for pair in range {
                let start = pair / shape.heads * shape.queries * shape.width + pair % shape.heads * shape.depth
                graft_row_products(
                    gradient.floats + start, shape.width, output.floats + start, shape.width,
                    result.floats + pair * shape.queries, shape.queries, shape.depth)
            }
        }
        return result
    }

    /// - Parameter scratch: makes the memory that a thread works in.
    private func forEachHead<Scratch>(
        _ name: StaticString, products: Int, scratch: () -> Scratch,
        _ body: (_ sample: Int, _ head: Int, Scratch) -> Void
    ) {
        let pairs = shape.samples * shape.heads
        let operations = 2 * products * pairs * shape.queries * shape.keys * shape.depth
        let bytes = 4 * (products + 2) * shape.samples * shape.keys * shape.width
        Profile.measure(name, bytes: bytes, operations: rule.isCausal ? operations / 2 : operations) {
            Threads.parallelFor(count: pairs) { range in
                let memory = scratch()
                for pair in range { body(pair / shape.heads, pair % shape.heads, memory) }
                withExtendedLifetime(memory) {}
            }
        }
        ComputationHook.run()
    }

    private func forEachTile(_ body: (Tile) -> Void) {
        for first in stride(from: 0, to: shape.queries, by: tileHeight) {
            let rows = min(tileHeight, shape.queries - first)
            let seen = rule.isCausal ? min(shape.keys, rule.position + first + rows) : shape.keys
            body(Tile(first: first, rows: rows, keys: seen))
        }
    }

    private func maskRow(_ sample: Int) -> UnsafePointer<Float>? {
        mask.map { UnsafePointer($0.floats + sample * shape.keys) }
    }

    private func row(_ sample: Int, _ head: Int, _ tile: Tile) -> Int {
        (sample * shape.heads + head) * shape.queries + tile.first
    }

    /// What dropout multiplies the probabilities of a tile with.
    ///
    /// - Returns: whether there is dropout.
    private func drop(_ sample: Int, _ head: Int, _ tile: Tile, _ factors: Tensor) -> Bool {
        guard let dropout = rule.dropout else { return false }
        let random = PhiloxGenerator(key: dropout.key).cStream
        let start = dropout.offset + row(sample, head, tile) * shape.keys
        for i in 0..<tile.rows {
            graft_dropout_factors(
                random, UInt64(start + i * shape.keys), tile.keys, dropout.rate, factors.floats + i * tile.keys)
        }
        return true
    }
}
