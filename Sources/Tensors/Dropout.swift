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
    let (generator, scale, count) = (PhiloxGenerator(key: key), 1 / (1 - rate), x.count)
    let (source, target) = (rows.floats, result.floats)
    let first = offset / 4
    Threads.parallelFor(count: (offset + count + 3) / 4 - first, grain: Elementwise.grain / 16) { blocks in
        for number in blocks {
            let words = generator.block(UInt64(first + number))
            let start = (first + number) * 4 - offset
            for i in max(0, start)..<min(count, start + 4) {
                target[i] = PhiloxGenerator.uniform(words[i - start]) < rate ? 0 : source[i] * scale
            }
        }
    }
    withExtendedLifetime(rows) {}
    return result.recorded("dropout", from: [x]) { [dropout($0, rate: rate, key: key, offset: offset)] }
}
