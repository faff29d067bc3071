import Foundation

/// The cross-entropy between softmax(logits) and the labels, summed over samples; softmax and logarithm are
/// one operation that keeps one number per sample.
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
    let loss = CrossEntropy(logits, labels, labelSmoothing, ignoreIndex)
    let (result, normalizers) = loss.sum(logits.rowMajor)
    return result.recorded("crossEntropy", from: [logits]) { gradient in
        guard Tape.isRecording else {
            return [loss.gradient(logits.rowMajor, normalizers, scale: gradient.scalar)]
        }
        let target = loss.target()
        let probabilities = softmax(logits.reshaped(target.shape))
        let counted = target.sum(axes: [1], keepDimensions: true)
        return [((probabilities * counted - target) * gradient).reshaped(logits.shape)]
    }
}

private struct CrossEntropy {
    private let shape: [Int]
    private let classes: Int
    private let labels: [Int32]
    private let smoothing: Float
    private let ignored: Int32?

    init(_ logits: Tensor, _ labels: Tensor, _ smoothing: Float, _ ignored: Int32?) {
        let classes = logits.shape.last ?? 0
        precondition(
            logits.rank >= 2 && classes > 0 && labels.elementType == .int32
                && labels.count == logits.count / classes,
            "crossEntropy: \(labels.elementType) labels of shape \(labels.shape) do not fit logits \(logits.shape)")
        precondition((0...1).contains(smoothing), "crossEntropy: the smoothing \(smoothing) is not in 0...1")
        (shape, self.classes, self.smoothing, self.ignored) = (logits.shape, classes, smoothing, ignored)
        self.labels = labels.indices
        for label in self.labels where label != ignored {
            precondition(
                label >= 0 && label < classes, "crossEntropy: the label \(label) is not one of \(classes) classes")
        }
    }

    /// The loss, and log Σ exp of every sample.
    func sum(_ logits: Tensor) -> (Tensor, [Double]) {
        var losses = [Double](repeating: 0, count: labels.count)
        var normalizers = [Double](repeating: 0, count: labels.count)
        let x = logits.floats
        losses.withUnsafeMutableBufferPointer { losses in
            normalizers.withUnsafeMutableBufferPointer { normalizers in
                Threads.parallelFor(count: labels.count, grain: max(1, 4096 / classes)) { rows in
                    for row in rows where labels[row] != ignored {
                        let x = x + row * classes
                        let (largest, sum) = Softmax.exponentials(x, classes)
                        let normalizer = Double(largest) + Foundation.log(sum)
                        normalizers[row] = normalizer
                        losses[row] = loss(x, row, normalizer)
                    }
                }
            }
        }
        withExtendedLifetime(logits) {}
        return (Tensor(Float(losses.reduce(0, +))), normalizers)
    }

    private func loss(_ x: UnsafeMutablePointer<Float>, _ row: Int, _ normalizer: Double) -> Double {
        let ofLabel = normalizer - Double(x[Int(labels[row])])
        guard smoothing > 0 else { return ofLabel }
        var sum = 0.0
        for i in 0..<classes { sum += Double(x[i]) }
        let mean = normalizer - sum / Double(classes)
        return (1 - Double(smoothing)) * ofLabel + Double(smoothing) * mean
    }

    /// (softmax(logits) - target) · scale, in one pass.
    func gradient(_ logits: Tensor, _ normalizers: [Double], scale: Float) -> Tensor {
        let result = Tensor(uninitialized: shape)
        let (x, r) = (logits.floats, result.floats)
        let everywhere = smoothing / Float(classes)
        Threads.parallelFor(count: labels.count, grain: max(1, 4096 / classes)) { rows in
            for row in rows {
                let (x, r) = (x + row * classes, r + row * classes)
                if labels[row] == ignored {
                    r.update(repeating: 0, count: classes)
                    continue
                }
                let normalizer = normalizers[row]
                for i in 0..<classes {
                    r[i] = (Foundation.exp(Float(Double(x[i]) - normalizer)) - everywhere) * scale
                }
                r[Int(labels[row])] -= (1 - smoothing) * scale
            }
        }
        withExtendedLifetime(logits) {}
        return result
    }

    /// What softmax is compared with, N×C; zeros for samples that do not count.
    func target() -> Tensor {
        Tensor(shape: [labels.count, classes]) { target in
            target.update(repeating: 0)
            for (row, label) in labels.enumerated() where label != ignored {
                for i in 0..<classes { target[row * classes + i] = smoothing / Float(classes) }
                target[row * classes + Int(label)] += 1 - smoothing
            }
        }
    }
}
