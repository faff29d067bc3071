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
    let isSynchronised = (collectives?.worldSize ?? 1) > 1
    let statistics =
        try given.map { ($0.exact.mean, $0.exact.variance, $0.count) }
        ?? (isSynchronised ? collectives.map(planes.moments(over:)) : nil)
    let (groups, output) = planes.normalized(scale, shift, epsilon, residual, activation, statistics)
    // Without a residual, backward makes the output again from x as it goes.
    let kept = residual == nil ? nil : output.detached
    let recorded = output.recorded(
        "batch norm", from: [x, scale, shift] + (residual.map { [$0] } ?? []), squaredInputs: 1..<3
    ) {
        gradient in
        if Tape.isRecording {
            guard !isSynchronised else { throw SynchronisedSecondDerivative() }
            return differentiableBackward(
                gradient, x: x, scale: scale, output: kept ?? planes.applied(groups, activation), epsilon: epsilon,
                activation, hasResidual: residual != nil)
        }
        return try planes.backward(
            &gradient, output: kept, groups, scale, activation,
            wants: NormalizationPlanes.Wanted(x, scale, shift, residual), isOfBatch: true,
            isSynchronised ? collectives : nil)
    }
    let (mean, variance) = (groups.flatMap(\.mean), groups.flatMap(\.variance))
    let moments = BatchMoments(
        mean: planes.tensor(mean), variance: planes.tensor(variance), count: groups.first?.count ?? 0,
        exact: (mean, variance))
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
    let statistics = (planes.padded(mean.scalars), planes.padded(variance.scalars), 0)
    let (groups, output) = planes.normalized(scale, shift, epsilon, residual, activation, statistics)
    // Without a residual, backward makes the output again from x as it goes.
    let kept = residual == nil ? nil : output.detached
    return output.recorded(
        "batch norm", from: [x, scale, shift] + (residual.map { [$0] } ?? []), squaredInputs: 1..<3
    ) { gradient in
        if Tape.isRecording {
            let channels = [1, scale.count, 1, 1]
            let inverse = groups.flatMap(\.inverse)
            let (centre, slope) = (mean.detached.reshaped(channels), planes.tensor(inverse).reshaped(channels))
            let g = activationGradient(gradient, output: kept ?? planes.applied(groups, activation), activation)
            return [
                g * (scale.reshaped(channels) * slope), (g * ((x - centre) * slope)).sum(axes: [0, 2, 3]),
                g.sum(axes: [0, 2, 3]),
            ] + (residual == nil ? [] : [g])
        }
        return try planes.backward(
            &gradient, output: kept, groups, scale, activation,
            wants: NormalizationPlanes.Wanted(x, scale, shift, residual), isOfBatch: false, nil)
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
