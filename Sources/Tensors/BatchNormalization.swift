import CKernels
import Collectives

/// Mean and variance of each channel over a batch.
public struct BatchMoments {
    /// C
    public var mean: Tensor
    /// C; the mean squared deviation (divided by `count`, not by `count - 1`).
    public var variance: Tensor
    /// Samples × positions that went in, over all ranks where synchronised.
    public var count: Int
    /// Mean and variance as they were computed, channels that pad a block included.
    let exact: (mean: [Double], variance: [Double])
}

/// Batch normalisation with the batch's own statistics (Ioffe and Szegedy 2015, arXiv:1502.03167), with
/// what usually follows it fused in:
///
///     y = activation((x - mean) / sqrt(variance + epsilon) · scale + shift + residual)
///
/// - Parameters:
///   - x: N×C×H×W, any layout.
///   - scale, shift: C.
///   - residual: of x's shape, added before the activation.
///   - collectives: takes the statistics over the batches of all ranks (synchronised batch norm); every
///     rank must then call this, and walk back through it, in the same order.
///   - moments: what this gave for the same x before; taken from x where nil.
/// - Returns: the output in x's layout, and the moments for the running statistics.
/// - Throws: what the collectives throw.
///
/// Sums run in double precision in an order that does not depend on the number of threads. Checked
/// against PyTorch's `batch_norm`.
public func batchNormalization(
    _ x: Tensor, scale: Tensor, shift: Tensor, epsilon: Float, residual: Tensor? = nil,
    activation: Activation = .identity, collectives: Collectives? = nil, moments given: BatchMoments? = nil
) throws -> (output: Tensor, moments: BatchMoments) {
    let planes = NormalizationPlanes(x, scale, shift)
    let (mean, variance, count) =
        try given.map { ($0.exact.mean, $0.exact.variance, $0.count) }
        ?? planes.moments(of: planes.source, collectives)
    let inverse = variance.map { 1 / ($0 + Double(epsilon)).squareRoot() }
    let affine = planes.affine(scale, shift, mean, inverse)
    let output = planes.apply(affine, residual, activation)
    // Without a residual, backward makes the output again from x as it goes.
    let kept = residual == nil ? nil : output.detached
    let recorded = output.recorded(
        "batch norm", from: [x, scale, shift] + (residual.map { [$0] } ?? []), squaredInputs: 1..<3
    ) {
        gradient in
        if Tape.isRecording {
            guard (collectives?.worldSize ?? 1) == 1 else { throw SynchronisedSecondDerivative() }
            return differentiableBackward(
                gradient, x: x, scale: scale, output: kept ?? planes.apply(affine, nil, activation), epsilon: epsilon,
                activation, hasResidual: residual != nil)
        }
        return try planes.backward(
            &gradient, output: kept, affine, scale, mean, inverse, activation,
            wants: NormalizationPlanes.Wanted(x, scale, shift, residual),
            batch: (count, collectives))
    }
    let moments = BatchMoments(
        mean: planes.tensor(mean), variance: planes.tensor(variance), count: count, exact: (mean, variance))
    return (recorded, moments)
}

/// Batch normalisation with given statistics: in evaluation, and in training where the layer is frozen.
/// The statistics are constants to the gradient.
///
///     y = activation((x - mean) / sqrt(variance + epsilon) · scale + shift + residual)
///
/// - Parameters:
///   - x: N×C×H×W, any layout.
///   - scale, shift, mean, variance: C.
///   - residual: of x's shape, added before the activation.
/// - Returns: the output in x's layout.
public func batchNormalization(
    _ x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, epsilon: Float,
    residual: Tensor? = nil, activation: Activation = .identity
) -> Tensor {
    let planes = NormalizationPlanes(x, scale, shift)
    let mean = mean.scalars.map(Double.init)
    let inverse = variance.scalars.map { 1 / (Double($0) + Double(epsilon)).squareRoot() }
    let affine = planes.affine(scale, shift, mean, inverse)
    let output = planes.apply(affine, residual, activation)
    // Without a residual, backward makes the output again from x as it goes.
    let kept = residual == nil ? nil : output.detached
    return output.recorded(
        "batch norm", from: [x, scale, shift] + (residual.map { [$0] } ?? []), squaredInputs: 1..<3
    ) { gradient in
        if Tape.isRecording {
            let channels = [1, scale.count, 1, 1]
            let (centre, slope) = (planes.tensor(mean).reshaped(channels), planes.tensor(inverse).reshaped(channels))
            let g = activationGradient(gradient, output: kept ?? planes.apply(affine, nil, activation), activation)
            return [
                g * (scale.reshaped(channels) * slope), (g * ((x - centre) * slope)).sum(axes: [0, 2, 3]),
                g.sum(axes: [0, 2, 3]),
            ] + (residual == nil ? [] : [g])
        }
        return try planes.backward(
            &gradient, output: kept, affine, scale, mean, inverse, activation,
            wants: NormalizationPlanes.Wanted(x, scale, shift, residual), batch: nil)
    }
}

/// Second derivatives were asked for through batch norm that is synchronised over ranks.
public struct SynchronisedSecondDerivative: GraftError {
    public var exitCode: ExitCode { .usage }
    public var description: String {
        "batch-norm: synchronised has no second derivatives over several ranks; use batch-norm: frozen"
    }
}

/// The backward of a local batch norm written with recorded operations, for second derivatives.
private func differentiableBackward(
    _ gradient: Tensor, x: Tensor, scale: Tensor, output: Tensor, epsilon: Float, _ activation: Activation,
    hasResidual: Bool
) -> [Tensor?] {
    let axes = [0, 2, 3]
    let g = activationGradient(gradient, output: output, activation)
    let centred = x - x.mean(axes: axes, keepDimensions: true)
    let deviation = sqrt((centred * centred).mean(axes: axes, keepDimensions: true) + epsilon)
    let normalized = centred / deviation
    let product = (g * normalized).sum(axes: axes)
    let sum = g.sum(axes: axes)
    let channels = [1, scale.count, 1, 1]
    let count = Float(x.count / scale.count)
    let centredGradient = g - sum.reshaped(channels) / count - normalized * (product.reshaped(channels) / count)
    let inputGradient = centredGradient * scale.reshaped(channels) / deviation
    return [inputGradient, product, sum] + (hasResidual ? [g] : [])
}

/// One input to batch norm, seen as planes of channel blocks that the kernels work on one by one.
private struct NormalizationPlanes {
    let source: Tensor
    let samples, blocks, spatial, inner, channels: Int

    /// Which gradients are wanted.
    struct Wanted {
        let input, parameters, residual: Bool
        let hasResidual: Bool

        init(_ x: Tensor, _ scale: Tensor, _ shift: Tensor, _ residual: Tensor?) {
            input = x.requiresGradient
            parameters = scale.requiresGradient || shift.requiresGradient
            self.residual = residual?.requiresGradient ?? false
            hasResidual = residual != nil
        }
    }

    init(_ x: Tensor, _ scale: Tensor, _ shift: Tensor) {
        precondition(
            x.rank == 4 && scale.shape == [x.shape[1]] && shift.shape == scale.shape,
            "batchNormalization: input \(x.shape) does not fit scale \(scale.shape) and shift \(shift.shape)")
        samples = x.shape[0]
        channels = x.shape[1]
        spatial = x.shape[2] * x.shape[3]
        let order = x.layout.isRowMajor ? ChannelOrder.planes : x.opaqueLayout.channels
        switch order {
        case .planes: (source, blocks, inner) = (x.detached, channels, 1)
        case .blocks(let size): (source, blocks, inner) = (x.detached, (channels + size - 1) / size, size)
        case .last: (source, blocks, inner) = (x.detached, 1, channels)
        case .other: (source, blocks, inner) = (x.rowMajor.detached, channels, 1)
        }
    }

    private var planeSize: Int { spatial * inner }
    private var grain: Int { max(1, (1 << 14) / max(1, planeSize)) }

    /// A tensor like the source, its elements not yet written.
    private func uninitializedLikeSource() -> Tensor {
        Tensor(
            shape: source.shape, storage: Storage(byteCount: source.storage.byteCount), layout: source.layout)
    }

    func tensor(_ values: [Double]) -> Tensor {
        Tensor(values.prefix(channels).map { Float($0) }, shape: [channels])
    }

    /// Values per channel, with zeros for the channels that only pad a block, so that padding stays zero.
    private func padded(_ values: (Int) -> Double) -> [Float] {
        (0..<blocks * inner).map { $0 < channels ? Float(values($0)) : 0 }
    }

    /// Runs `body(plane, block)` for every sample and block, on all threads.
    ///
    /// - Parameter arrays: how many arrays of the input's size are read or written.
    private func forEachPlane(_ name: StaticString, arrays: Int, _ body: (_ plane: Int, _ block: Int) -> Void) {
        Profile.measure(name, bytes: arrays * source.storage.byteCount) {
            Threads.parallelFor(count: samples * blocks, grain: grain) { range in
                for plane in range { body(plane, plane % blocks) }
            }
        }
    }

    /// Two quantities summed over the positions of each sample and channel, in double precision.
    private struct SampleSums {
        /// First quantity, then second: samples × channels (padding included).
        var values: [Double]
        let samples, width: Int

        /// The sums over samples, in their order.
        func totals(of power: (Double) -> Double = { $0 }) -> (first: [Double], second: [Double]) {
            func total(from start: Int) -> [Double] {
                var sum = [Double](repeating: 0, count: width)
                for sample in 0..<samples {
                    for c in 0..<width { sum[c] += power(values[start + sample * width + c]) }
                }
                return sum
            }
            return (total(from: 0), total(from: samples * width))
        }
    }

    private func sums(
        _ name: StaticString, arrays: Int,
        _ body: (_ plane: Int, _ block: Int, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>) -> Void
    ) -> SampleSums {
        let count = samples * blocks * inner
        var partial = [Double](repeating: 0, count: 2 * count)
        partial.withUnsafeMutableBufferPointer { partial in
            guard let base = partial.baseAddress else { return }
            // Each plane writes its own entries.
            nonisolated(unsafe) let first = base
            forEachPlane(name, arrays: arrays) { plane, block in
                body(plane, block, first + plane * inner, first + count + plane * inner)
            }
        }
        return SampleSums(values: partial, samples: samples, width: blocks * inner)
    }

    /// Mean and variance per channel. Sums are taken about a value near the mean, so that little cancels.
    func moments(
        of x: Tensor, _ collectives: Collectives?
    ) throws -> (mean: [Double], variance: [Double], count: Int) {
        let shift = firstRowMeans(x)
        let (sum, square) = sums("batch norm moments", arrays: 1) { plane, block, sum, square in
            shift.withUnsafeBufferPointer { shift in
                guard let first = shift.baseAddress else { return }
                graft_norm_sums(
                    x.storage.floats + plane * planeSize, spatial, inner, first + block * inner, sum, square)
            }
        }.totals()
        var count = samples * spatial
        let n = Double(max(1, count))
        var mean = (0..<blocks * inner).map { Double(shift[$0]) + sum[$0] / n }
        var variance = (0..<blocks * inner).map { max(0, square[$0] / n - (sum[$0] / n) * (sum[$0] / n)) }
        if let collectives, collectives.worldSize > 1 {
            (mean, variance, count) = try combine(mean, variance, count, collectives)
        }
        return (mean, variance, count)
    }

    /// Chan's formula over ranks: total mean first, then the deviations about it.
    private func combine(
        _ mean: [Double], _ variance: [Double], _ count: Int, _ collectives: Collectives
    ) throws -> ([Double], [Double], Int) {
        var first = mean.map { $0 * Double(count) } + [Double(count)]
        try first.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
        let total = max(1, first[mean.count])
        let globalMean = (0..<mean.count).map { first[$0] / total }
        var second = (0..<mean.count).map { c in
            let distance = mean[c] - globalMean[c]
            return Double(count) * (variance[c] + distance * distance)
        }
        try second.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
        return (globalMean, second.map { $0 / total }, Int(total))
    }

    /// The mean of the first few positions of the first sample, per channel.
    private func firstRowMeans(_ x: Tensor) -> [Float] {
        guard samples > 0, spatial > 0 else { return [Float](repeating: 0, count: blocks * inner) }
        let positions = min(spatial, 32)
        return (0..<blocks * inner).map { c in
            let start = x.storage.floats + (c / inner) * planeSize + c % inner
            return (0..<positions).reduce(Float(0)) { $0 + start[$1 * inner] } / Float(positions)
        }
    }

    /// What normalising is, per channel: x · factor + offset, the factors of all channels before the offsets.
    func affine(_ scale: Tensor, _ shift: Tensor, _ mean: [Double], _ inverse: [Double]) -> [Float] {
        let (gamma, beta) = (scale.scalars, shift.scalars)
        return padded { Double(gamma[$0]) * inverse[$0] }
            + padded { Double(beta[$0]) - mean[$0] * Double(gamma[$0]) * inverse[$0] }
    }

    /// Calls `body` with the first of some values per channel.
    private func withFirst(_ values: [Float], _ body: (UnsafePointer<Float>) -> Void) {
        values.withUnsafeBufferPointer { values in
            guard let first = values.baseAddress else { return }
            body(first)
        }
    }

    func apply(_ affine: [Float], _ residual: Tensor?, _ activation: Activation) -> Tensor {
        let output = uninitializedLikeSource()
        let added = residual?.converted(toLayoutOf: source)
        withFirst(affine) { affine in
            nonisolated(unsafe) let affine = affine
            forEachPlane("batch norm", arrays: added == nil ? 2 : 3) { plane, block in
                let (start, c) = (plane * planeSize, block * inner)
                graft_norm_apply(
                    source.storage.floats + start, added.map { $0.storage.floats + start },
                    output.storage.floats + start, spatial, inner, affine + c, affine + blocks * inner + c,
                    activation.code, activation.slope)
            }
        }
        return output
    }

    /// - Parameters:
    ///   - output: what forward gave; nil where there was no residual.
    ///   - batch: how many samples × positions the statistics were taken over, and whose; nil where the statistics were
    ///     given.
    func backward(
        _ gradient: inout Tensor, output: Tensor?, _ affine: [Float], _ scale: Tensor, _ mean: [Double],
        _ inverse: [Double], _ activation: Activation, wants: Wanted, batch: (count: Int, collectives: Collectives?)?
    ) throws -> [Tensor?] {
        gradient = gradient.converted(toLayoutOf: source)
        let masks = activation != .identity
        // Written over where nobody else reads it: by the first pass or by the second.
        let own = wants.residual && !masks ? nil : gradient.takeIfUnique()
        let dy = gradient
        // The residual's gradient is the masked one; where it has to be made anyway, the second pass reads it.
        let masked = wants.residual && masks ? own ?? uninitializedLikeSource() : nil
        var scaleGradient: Tensor?
        var shiftGradient: Tensor?
        var (sum, product) = ([Double](), [Double]())
        if wants.parameters || batch != nil || masked != nil {
            let sums = gradientSums(dy, output, affine, masked, mean, activation)
            (sum, product) = sums.totals()
            if Tape.squaresSamples {
                let squares = sums.totals { $0 * $0 }
                scaleGradient = tensor((0..<channels).map { squares.second[$0] * inverse[$0] * inverse[$0] })
                shiftGradient = tensor(squares.first)
            } else {
                scaleGradient = tensor((0..<channels).map { product[$0] * inverse[$0] })
                shiftGradient = tensor(sum)
            }
        }
        var inputGradient: Tensor?
        if wants.input {
            var perElement: (sum: [Double], product: [Double])?
            if let batch {
                if let collectives = batch.collectives, collectives.worldSize > 1 {
                    var both = sum + product
                    try both.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
                    (sum, product) = (Array(both.prefix(sum.count)), Array(both.suffix(sum.count)))
                }
                let n = Double(max(1, batch.count))
                perElement = (sum.map { $0 / n }, product.map { $0 / n })
            }
            inputGradient = self.inputGradient(
                masked ?? dy, output, affine, scale, mean, inverse, perElement,
                masked == nil ? activation : .identity,
                into: (masked == nil ? own : nil) ?? uninitializedLikeSource())
        }
        let gradients = [inputGradient, scaleGradient, shiftGradient]
        return wants.hasResidual ? gradients + [wants.residual ? masked ?? gradient : nil] : gradients
    }

    private func gradientSums(
        _ dy: Tensor, _ output: Tensor?, _ affine: [Float], _ masked: Tensor?, _ mean: [Double],
        _ activation: Activation
    ) -> SampleSums {
        let parameters = affine + padded { mean[$0] }
        let arrays = 2 + (output == nil ? 0 : 1) + (masked == nil ? 0 : 1)
        return parameters.withUnsafeBufferPointer { parameters in
            nonisolated(unsafe) let parameters = parameters
            return sums("batch norm gradient sums", arrays: arrays) { plane, block, sum, product in
                guard let first = parameters.baseAddress else { return }
                let (start, c, width) = (plane * planeSize, block * inner, blocks * inner)
                graft_norm_gradient_sums(
                    dy.storage.floats + start, output.map { $0.storage.floats + start },
                    source.storage.floats + start, masked.map { $0.storage.floats + start }, spatial, inner, first + c,
                    first + width + c, first + 2 * width + c, activation.code, activation.slope, sum, product)
            }
        }
    }

    /// Writes to `result`, which may be `g`,
    /// dx = scale · inverse · (g - Σg/n - x̂ · Σ(g·x̂)/n), one multiply-add per term and channel.
    private func inputGradient(
        _ g: Tensor, _ output: Tensor?, _ affine: [Float], _ scale: Tensor, _ mean: [Double], _ inverse: [Double],
        _ perElement: (sum: [Double], product: [Double])?, _ activation: Activation, into result: Tensor
    ) -> Tensor {
        let gamma = scale.scalars
        let a = padded { Double(gamma[$0]) * inverse[$0] }
        func ofX(_ c: Int) -> Double {
            guard let perElement else { return 0 }
            return -Double(gamma[c]) * inverse[c] * inverse[c] * inverse[c] * perElement.product[c]
        }
        let b = padded(ofX)
        let d = padded { c in
            guard let perElement else { return 0 }
            return -Double(gamma[c]) * inverse[c] * perElement.sum[c] - ofX(c) * mean[c]
        }
        withFirst(affine + a + b + d) { first in
            nonisolated(unsafe) let first = first
            forEachPlane("batch norm input gradient", arrays: output == nil ? 3 : 4) { plane, block in
                let (start, c, width) = (plane * planeSize, block * inner, blocks * inner)
                graft_norm_gradient_apply(
                    g.storage.floats + start, output.map { $0.storage.floats + start },
                    source.storage.floats + start, result.storage.floats + start, spatial, inner, first + c,
                    first + width + c, first + 2 * width + c, first + 3 * width + c, first + 4 * width + c,
                    activation.code, activation.slope)
            }
        }
        return result
    }
}
