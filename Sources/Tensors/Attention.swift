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

    /// Queries whose scores are in memory at one time: of 64 Ki scores, which stay in the second cache.
    private var tileHeight: Int { min(shape.queries, max(16, (1 << 16) / max(1, shape.keys))) }

    func forward() -> (output: Tensor, logarithms: Tensor) {
        let output = Tensor(uninitialized: [shape.samples, shape.queries, shape.width])
        let logarithms = Tensor(uninitialized: [shape.samples, shape.heads, shape.queries])
        forEachHead("attention", products: 2) { sample, head in
            let (query, key, value) = (matrix(0, sample, head), matrix(1, sample, head), matrix(2, sample, head))
            let scores = Tensor(uninitialized: [tileHeight * shape.keys])
            let factors = rule.dropout == nil ? nil : Tensor(uninitialized: [tileHeight * shape.keys])
            forEachTile { tile in
                GEMM.multiply(
                    query.rows(tile.first), key.transposed, into: scores.floats, strideC: tile.keys, m: tile.rows,
                    n: tile.keys, k: shape.depth)
                graft_attention_probabilities(
                    scores.floats, maskRow(sample), logarithms.floats + row(sample, head, tile), tile.rows, tile.keys,
                    shape.scale, rule.isCausal ? 1 : 0, rule.position + tile.first)
                if let factors {
                    drop(sample, head, tile, factors)
                    graft_multiply(scores.floats, factors.floats, scores.floats, tile.rows * tile.keys)
                }
                GEMM.multiply(
                    GEMM.Operand(pointer: scores.floats, stride: tile.keys), value.operand,
                    into: output.floats + place(sample, head, tile), strideC: shape.width, m: tile.rows,
                    n: shape.depth, k: tile.keys)
            }
        }
        return (output, logarithms)
    }

    func backward(
        _ gradient: Tensor, _ output: Tensor, _ logarithms: Tensor, into targets: [(tensor: Tensor, start: Int)]
    ) {
        forEachHead("attention gradient", products: 5) { sample, head in
            let (query, key, value) = (matrix(0, sample, head), matrix(1, sample, head), matrix(2, sample, head))
            let target = (0..<3).map { matrix($0, sample, head, of: targets[$0]) }
            for part in target.dropFirst() { part.clear() }
            let size = tileHeight * shape.keys
            let (scores, met) = (Tensor(uninitialized: [size]), Tensor(uninitialized: [size]))
            let factors = rule.dropout == nil ? nil : Tensor(uninitialized: [size])
            let delta = Tensor(uninitialized: [tileHeight])
            forEachTile { tile in
                let at = place(sample, head, tile)
                let upstream = GEMM.Operand(pointer: gradient.floats + at, stride: shape.width)
                GEMM.multiply(
                    query.rows(tile.first), key.transposed, into: scores.floats, strideC: tile.keys, m: tile.rows,
                    n: tile.keys, k: shape.depth)
                GEMM.multiply(
                    upstream, value.transposed, into: met.floats, strideC: tile.keys, m: tile.rows, n: tile.keys,
                    k: shape.depth)
                graft_row_products(
                    gradient.floats + at, shape.width, output.floats + at, shape.width, delta.floats, tile.rows,
                    shape.depth)
                if let factors { drop(sample, head, tile, factors) }
                graft_attention_gradient(
                    scores.floats, met.floats, maskRow(sample), logarithms.floats + row(sample, head, tile),
                    delta.floats, factors?.floats, tile.rows, tile.keys, shape.scale, rule.isCausal ? 1 : 0,
                    rule.position + tile.first)
                let slope = GEMM.Operand(pointer: scores.floats, stride: tile.keys)
                let probabilities = GEMM.Operand(pointer: met.floats, stride: tile.keys)
                target[0].receive(
                    slope, key.operand, atRow: tile.first, m: tile.rows, n: shape.depth, k: tile.keys, beta: 0)
                target[1].receive(
                    slope.transposed, query.rows(tile.first), m: tile.keys, n: shape.depth, k: tile.rows, beta: 1)
                target[2].receive(
                    probabilities.transposed, upstream, m: tile.keys, n: shape.depth, k: tile.rows, beta: 1)
            }
        }
    }

    // MARK: Parts

    private struct Tile {
        let first, rows: Int
        /// Keys that any of the rows may see.
        let keys: Int
    }

    /// One head of one sample in a tensor: rows of `depth` numbers, `stride` apart.
    private struct HeadMatrix {
        let pointer: UnsafeMutablePointer<Float>
        let stride, rows, depth: Int

        var operand: GEMM.Operand { GEMM.Operand(pointer: pointer, stride: stride) }
        var transposed: GEMM.Operand { operand.transposed }

        func rows(_ first: Int) -> GEMM.Operand {
            GEMM.Operand(pointer: pointer + first * stride, stride: stride)
        }

        func clear() {
            for row in 0..<rows { (pointer + row * stride).update(repeating: 0, count: depth) }
        }

        func receive(
            _ a: GEMM.Operand, _ b: GEMM.Operand, atRow row: Int = 0, m: Int, n: Int, k: Int, beta: Float
        ) {
            GEMM.multiply(a, b, into: pointer + row * stride, strideC: stride, m: m, n: n, k: k, beta: beta)
        }
    }

    private func matrix(
        _ part: Int, _ sample: Int, _ head: Int, of place: (tensor: Tensor, start: Int)? = nil
    ) -> HeadMatrix {
        let (tensor, start) = place ?? places[part]
        let rows = part == 0 ? shape.queries : shape.keys
        return HeadMatrix(
            pointer: tensor.floats + start + sample * rows * strides[part] + head * shape.depth,
            stride: strides[part], rows: rows, depth: shape.depth)
    }

    private func forEachHead(_ name: StaticString, products: Int, _ body: (_ sample: Int, _ head: Int) -> Void) {
        let pairs = shape.samples * shape.heads
        let operations = 2 * products * pairs * shape.queries * shape.keys * shape.depth
        let bytes = 4 * (products + 2) * shape.samples * shape.keys * shape.width
        Profile.measure(name, bytes: bytes, operations: rule.isCausal ? operations / 2 : operations) {
            Threads.parallelFor(count: pairs) { range in
                for pair in range { body(pair / shape.heads, pair % shape.heads) }
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

    private func place(_ sample: Int, _ head: Int, _ tile: Tile) -> Int {
        (sample * shape.queries + tile.first) * shape.width + head * shape.depth
    }

    /// What dropout multiplies the probabilities of a tile with.
    private func drop(_ sample: Int, _ head: Int, _ tile: Tile, _ factors: Tensor) {
        guard let dropout = rule.dropout else { return }
        let random = PhiloxGenerator(key: dropout.key).cStream
        let start = dropout.offset + row(sample, head, tile) * shape.keys
        for i in 0..<tile.rows {
            graft_dropout_factors(
                random, UInt64(start + i * shape.keys), tile.keys, dropout.rate, factors.floats + i * tile.keys)
        }
    }
}
