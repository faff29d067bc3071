import CKernels

/// Sets elements to zero with probability `rate` and scales the others by 1 / (1 - rate) (Srivastava et al.
/// 2014, https://jmlr.org/papers/v15/srivastava14a.html). The mask is not kept: backward makes it again from
/// `key`.
///
/// - Parameters:
///   - rate: in 0..<1.
///   - key: names the mask; the same key drops the same elements, whatever the number of threads.
///   - offset: where x's first element lies in the mask, so that parts of a batch drop what the whole would.
public func dropout(_ x: Tensor, rate: Float, key: RandomKey, offset: Int = 0) -> Tensor {
    precondition(rate >= 0 && rate < 1, "dropout: the rate \(rate) is not in 0..<1")
    guard rate > 0 else { return x }
    let rows = x.rowMajor
    let result = Tensor(uninitialized: x.shape)
    let random = PhiloxGenerator(key: key).cStream
    Profile.measure("dropout", bytes: 8 * x.count) {
        Threads.parallelFor(count: x.count, grain: Elementwise.grain / 4) { range in
            let start = range.lowerBound
            graft_dropout(
                random, UInt64(offset + start), range.count, rate, rows.floats + start, result.floats + start)
        }
    }
    return result.recorded("dropout", from: [x]) { [dropout($0, rate: rate, key: key, offset: offset)] }
}

/// residual + dropout(x + bias), in one pass: how a transformer's block ends.
///
/// - Parameters:
///   - x, residual: …×W.
///   - bias: W.
///   - rate: in 0..<1; 0 drops nothing.
///   - key, offset: as `dropout` takes them.
public func residualSum(
    _ residual: Tensor, _ x: Tensor, bias: Tensor? = nil, rate: Float, key: RandomKey, offset: Int = 0
) -> Tensor {
    precondition(rate >= 0 && rate < 1, "residualSum: the rate \(rate) is not in 0..<1")
    precondition(
        x.shape == residual.shape && bias.map { x.rank >= 1 && $0.shape == [x.shape[x.rank - 1]] } ?? true,
        "residualSum: \(x.shape) and bias \(bias?.shape ?? []) do not fit \(residual.shape)")
    let (input, added, shift) = (x.rowMajor, residual.rowMajor, bias?.rowMajor)
    let result = Tensor(uninitialized: x.shape)
    let random = PhiloxGenerator(key: key).cStream
    let blocks = RowBlocks(x)
    blocks.forEach("residual sum", arrays: 3) { first, rows, _ in
        let start = first * blocks.width
        graft_dropout_add(
            random, UInt64(offset + start), rows, blocks.width, rate, input.floats + start, shift?.floats,
            added.floats + start, result.floats + start)
    }
    return result.recorded(
        "residual sum", from: [residual, x] + (bias.map { [$0] } ?? []), squaredInputs: 2..<3
    ) { gradient in
        let inner = dropout(gradient, rate: rate, key: key, offset: offset)
        return [gradient, inner] + (bias.map { [$0.requiresGradient ? inner.columnSums : nil] } ?? [])
    }
}

extension Tensor {
    /// Sums over all dimensions but the last; of squares per sample where those are asked for.
    var columnSums: Tensor {
        guard Tape.squaresSamples else { return summed(to: [shape.last ?? 1]) }
        return square(reshaped([shape[0], -1, shape.last ?? 1]).sum(axes: [1])).sum(axes: [0])
    }
}

extension PhiloxGenerator {
    /// The stream as the C loops take it.
    var cStream: graft_random_stream {
        graft_random_stream(key: (key[0], key[1]), stream: (stream[0], stream[1]))
    }
}
