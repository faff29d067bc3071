import CKernels
import Foundation

/// The cross-entropy between softmax(logits) and the labels, summed over samples; softmax and logarithm are
/// one operation that keeps two numbers per sample.
///
/// A sample's loss is (1 - s) · -log p(label) + s / C · Σ -log p(class), with the smoothing s (Szegedy et al.
/// 2016, https://arxiv.org/abs/1512.00567), as PyTorch's `cross_entropy(reduction="sum")` defines it.
///
/// - Parameters:
///   - logits: N×C (or more leading dimensions).
///   - labels: N classes, `Int32` in 0..<C.
///   - labelSmoothing: in 0...1.
///   - ignoreIndex: samples of this label count nothing.
/// - Returns: a scalar.
public func crossEntropy(
    _ logits: Tensor, labels: Tensor, labelSmoothing: Float = 0, ignoreIndex: Int32? = nil
) -> Tensor {
    let classes = logits.shape.last ?? 0
    precondition(
        logits.rank >= 2 && classes > 0 && labels.count == logits.count / classes,
        "crossEntropy: \(labels.elementType) labels of shape \(labels.shape) do not fit logits \(logits.shape)")
    let loss = CrossEntropy(classes, labels, labelSmoothing, ignoreIndex)
    let rows = logits.rowMajor
    let (result, normalizers) = loss.sum(of: rows.floats, rows: 0..<labels.count)
    withExtendedLifetime(rows) {}
    return Tensor(Float(result)).recorded("crossEntropy", from: [logits]) { gradient in
        guard Tape.isRecording else {
            let (rows, slope) = (logits.rowMajor, Tensor(uninitialized: logits.shape))
            loss.gradient(
                of: rows.floats, into: slope.floats, rows: 0..<labels.count, normalizers, scale: gradient.scalar)
            withExtendedLifetime(rows) {}
            return [slope]
        }
        return [loss.differentiableGradient(logits) * gradient]
    }
}

/// crossEntropy(x · weightᵀ), without all logits in memory at one time: for large vocabularies.
///
/// Rows are taken in chunks whose logits fill 128 MiB. Where a gradient is wanted, the first chunk's logits become their
/// own gradient and are kept; backward computes those of further chunks again.
///
/// - Parameters:
///   - x: …×D, R rows in all.
///   - weight: C×D.
///   - labels: R classes, `Int32` in 0..<C.
///   - labelSmoothing, ignoreIndex: as `crossEntropy` takes them.
/// - Returns: a scalar.
public func linearCrossEntropy(
    _ x: Tensor, weight: Tensor, labels: Tensor, labelSmoothing: Float = 0, ignoreIndex: Int32? = nil,
    chunkBytes: Int = 128 << 20
) -> Tensor {
    precondition(
        x.rank >= 2 && weight.rank == 2 && x.shape.last == weight.shape[1] && weight.shape[0] > 0
            && labels.count == x.count / max(1, weight.shape[1]),
        "linearCrossEntropy: x \(x.shape), weight \(weight.shape) and labels \(labels.shape) do not fit")
    let loss = CrossEntropy(weight.shape[0], labels, labelSmoothing, ignoreIndex)
    let product = LogitChunks(x.rowMajor.detached, weight.rowMajor.detached, loss, chunkBytes: chunkBytes)
    let learns = Tape.isRecording && (x.requiresGradient || weight.requiresGradient)
    let (sum, kept) = product.sum(keepsGradient: learns)
    return Tensor(Float(sum)).recorded("linear cross-entropy", from: [x, weight]) { gradient in
        guard !Tape.isRecording else {
            let logits = linear(x, weight: weight)
            let slope = (loss.differentiableGradient(logits) * gradient).reshaped([-1, weight.shape[0]])
            let rows = x.reshaped([-1, weight.shape[1]])
            return [matmul(slope, weight).reshaped(x.shape), matmul(slope, rows, transposeA: true)]
        }
        return product.backward(
            scale: gradient.scalar, kept, wantsInput: x.requiresGradient,
            weightGradient: weight.requiresGradient ? weight.memoryForGradient() : nil)
    }
}

/// The labels of some rows of logits, and what they make of the logits. Row numbers count all rows.
private struct CrossEntropy {
    /// Of one row: the largest logit, and Σ exp(logit - largest).
    struct Normalizer {
        var largest: Float = 0
        var sum = 1.0
    }

    let classes: Int
    private let labels: [Int32]
    private let smoothing: Float
    private let ignored: Int32?

    init(_ classes: Int, _ labels: Tensor, _ smoothing: Float, _ ignored: Int32?) {
        precondition(labels.elementType == .int32, "crossEntropy: labels are int32, not \(labels.elementType)")
        precondition((0...1).contains(smoothing), "crossEntropy: the smoothing \(smoothing) is not in 0...1")
        (self.classes, self.smoothing, self.ignored) = (classes, smoothing, ignored)
        self.labels = labels.indices
        for label in self.labels where label != ignored {
            precondition(
                label >= 0 && label < classes, "crossEntropy: the label \(label) is not one of \(classes) classes")
        }
    }

    var rowCount: Int { labels.count }
    private var grain: Int { max(1, (1 << 14) / classes) }

    /// The loss of the rows whose logits begin at `x`, and what normalises each.
    func sum(of x: UnsafeMutablePointer<Float>, rows: Range<Int>) -> (Double, [Normalizer]) {
        var losses = [Double](repeating: 0, count: rows.count)
        var normalizers = [Normalizer](repeating: Normalizer(), count: rows.count)
        losses.withUnsafeMutableBufferPointer { losses in
            normalizers.withUnsafeMutableBufferPointer { normalizers in
                nonisolated(unsafe) let (losses, normalizers) = (losses, normalizers)
                Profile.measure("cross-entropy", bytes: 4 * rows.count * classes) {
                    Threads.parallelFor(count: rows.count, grain: grain) { range in
                        for i in range where labels[rows.lowerBound + i] != ignored {
                            let (largest, sum) = Softmax.exponentials(x + i * classes, classes)
                            normalizers[i] = Normalizer(largest: largest, sum: sum)
                            losses[i] = loss(x + i * classes, labels[rows.lowerBound + i], normalizers[i])
                        }
                    }
                }
            }
        }
        return (losses.reduce(0, +), normalizers)
    }

    private func loss(_ x: UnsafeMutablePointer<Float>, _ label: Int32, _ normalizer: Normalizer) -> Double {
        let logarithm = Double(normalizer.largest) + Foundation.log(normalizer.sum)
        let ofLabel = logarithm - Double(x[Int(label)])
        guard smoothing > 0 else { return ofLabel }
        var sum = 0.0
        for i in 0..<classes { sum += Double(x[i]) }
        return (1 - Double(smoothing)) * ofLabel + Double(smoothing) * (logarithm - sum / Double(classes))
    }

    /// (softmax(logits) - target) · scale, in one pass; `result` may be `x`.
    func gradient(
        of x: UnsafeMutablePointer<Float>, into result: UnsafeMutablePointer<Float>, rows: Range<Int>,
        _ normalizers: [Normalizer], scale: Float
    ) {
        let everywhere = smoothing / Float(classes) * scale
        Profile.measure("cross-entropy gradient", bytes: 8 * rows.count * classes) {
            Threads.parallelFor(count: rows.count, grain: grain) { range in
                for i in range {
                    let (label, row) = (labels[rows.lowerBound + i], result + i * classes)
                    if label == ignored {
                        row.update(repeating: 0, count: classes)
                        continue
                    }
                    let (largest, factor) = (normalizers[i].largest, scale / Float(normalizers[i].sum))
                    graft_exponentials(x + i * classes, row, classes, largest, factor, everywhere)
                    row[Int(label)] -= (1 - smoothing) * scale
                }
            }
        }
    }

    /// softmax(logits) - target with recorded operations.
    func differentiableGradient(_ logits: Tensor) -> Tensor {
        let target = self.target()
        let probabilities = softmax(logits.reshaped(target.shape))
        let counted = target.sum(axes: [1], keepDimensions: true)
        return (probabilities * counted - target).reshaped(logits.shape)
    }

    /// What softmax is compared with, N×C; zeros for samples that do not count.
    private func target() -> Tensor {
        Tensor(shape: [labels.count, classes]) { target in
            target.update(repeating: 0)
            for (row, label) in labels.enumerated() where label != ignored {
                for i in 0..<classes { target[row * classes + i] = smoothing / Float(classes) }
                target[row * classes + Int(label)] += 1 - smoothing
            }
        }
    }
}

/// The logits x · weightᵀ, some rows at a time.
private struct LogitChunks {
    private let x, weight: Tensor
    private let loss: CrossEntropy
    private let height: Int

    init(_ x: Tensor, _ weight: Tensor, _ loss: CrossEntropy, chunkBytes: Int) {
        (self.x, self.weight, self.loss) = (x, weight, loss)
        height = max(1, min(loss.rowCount, chunkBytes / (4 * loss.classes)))
    }

    private var width: Int { weight.shape[1] }
    private var chunks: [Range<Int>] {
        stride(from: 0, to: loss.rowCount, by: height).map { $0..<min($0 + height, loss.rowCount) }
    }

    /// The loss, and the gradient of the first chunk's logits where that is to be kept.
    func sum(keepsGradient: Bool) -> (Double, Tensor?) {
        var (total, kept): (Double, Tensor?) = (0, nil)
        let memory = Tensor(uninitialized: [height, loss.classes])
        // The first chunk last: its logits stay.
        for (index, rows) in chunks.enumerated().reversed() {
            fill(memory, rows)
            let (sum, normalizers) = loss.sum(of: memory.floats, rows: rows)
            total += sum
            if keepsGradient, index == 0 {
                loss.gradient(of: memory.floats, into: memory.floats, rows: rows, normalizers, scale: 1)
                kept = memory
            }
        }
        return (total, kept)
    }

    private func fill(_ memory: Tensor, _ rows: Range<Int>) {
        GEMM.multiply(
            x.floats + rows.lowerBound * width, transposed: false, weight.floats, transposed: true,
            into: memory.floats, m: rows.count, n: loss.classes, k: width)
    }

    func backward(scale: Float, _ kept: Tensor?, wantsInput: Bool, weightGradient: Tensor?) -> [Tensor?] {
        let inputGradient = wantsInput ? Tensor(uninitialized: x.shape) : nil
        if chunks.isEmpty { weightGradient?.floats.update(repeating: 0, count: weight.count) }
        var memory: Tensor?
        for (index, rows) in chunks.enumerated() {
            var slopes = index == 0 ? kept : nil
            if slopes == nil {
                let again = memory ?? Tensor(uninitialized: [height, loss.classes])
                fill(again, rows)
                let (_, normalizers) = loss.sum(of: again.floats, rows: rows)
                loss.gradient(of: again.floats, into: again.floats, rows: rows, normalizers, scale: 1)
                (memory, slopes) = (again, again)
            }
            guard let slopes else { continue }
            let start = rows.lowerBound * width
            if let inputGradient {
                GEMM.multiply(
                    slopes.floats, transposed: false, weight.floats, transposed: false,
                    into: inputGradient.floats + start, m: rows.count, n: width, k: loss.classes, alpha: scale)
            }
            if let weightGradient {
                GEMM.multiply(
                    slopes.floats, transposed: true, x.floats + start, transposed: false,
                    into: weightGradient.floats, m: loss.classes, n: width, k: rows.count, alpha: scale,
                    beta: index == 0 ? 0 : 1)
            }
        }
        return [inputGradient, weightGradient]
    }
}
