import Tensors

/// How a family of networks normalises: the small constant, and how running statistics follow.
public struct NormalizationRule: Equatable, Sendable {
    /// Added to the variance under the root.
    public var epsilon: Float
    /// The weight of the new batch in the running statistics.
    public var momentum: Float
    /// Whether running variances follow the unbiased variance of a batch (divided by n − 1).
    public var usesUnbiasedVariance: Bool
    /// Whether the layer counts its batches in `num_batches_tracked`, as PyTorch does.
    public var countsBatches: Bool
    /// Whether the layer learns a scale besides the shift; the Inception networks of Keras do not.
    public var hasScale = true

    /// `torch.nn.BatchNorm2d`: ε 1e-5, running ← 0.9 running + 0.1 batch, unbiased variance.
    public static let pytorch = NormalizationRule(
        epsilon: 1e-5, momentum: 0.1, usesUnbiasedVariance: true, countsBatches: true)

    /// `keras.layers.BatchNormalization`: ε 1e-3, running ← 0.99 running + 0.01 batch, biased variance
    /// as Keras 3 does (the fused kernel under Keras 2 divided by n − 1).
    public static let keras = NormalizationRule(
        epsilon: 1e-3, momentum: 0.01, usesUnbiasedVariance: false, countsBatches: false)

    public func with(
        epsilon: Float? = nil, momentum: Float? = nil, hasScale: Bool? = nil
    ) -> NormalizationRule {
        var rule = self
        rule.epsilon = epsilon ?? self.epsilon
        rule.momentum = momentum ?? self.momentum
        rule.hasScale = hasScale ?? self.hasScale
        return rule
    }
}

/// Batch normalisation of images, fused with an activation and a residual sum:
/// activation((x − mean)/√(variance + ε) · scale + shift + residual), per channel
/// (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167).
///
/// Input and output N×C×H×W. Parameters `weight` (scale; 1 where the rule has none) and `bias` (shift), buffers
/// `running_mean`, `running_var` (and `num_batches_tracked` with PyTorch's rule), each of C.
///
/// In training it normalises by the moments of the batch (of all ranks where synchronised) and moves
/// the running ones towards them. In evaluation, and where it `isFrozen`, it uses the running
/// statistics, which stay put. The running statistics of a rank follow that rank's batch: the
/// training loop averages buffers over ranks in every step.
public struct BatchNorm2D {
    public let path: String
    public let scale: Parameter?
    public let shift: Parameter
    public let runningMean: Buffer
    public let runningVariance: Buffer
    public let batchesTracked: Buffer?
    public let rule: NormalizationRule
    /// Takes the place of a scale.
    private let ones: Tensor

    /// Registers parameters and buffers in `scope`.
    ///
    /// - Parameter startsAtZero: a scale of 0 lets a residual block begin as the identity; else it is 1.
    public init(
        _ scope: Scope, channels: Int, rule: NormalizationRule = .pytorch, startsAtZero: Bool = false
    ) {
        path = scope.path
        self.rule = rule
        scale =
            rule.hasScale
            ? scope.parameter(
                "weight", shape: [channels], role: .normalizationScale,
                initializer: startsAtZero ? .zeros : .ones)
            : nil
        ones = rule.hasScale ? .ones([]) : .ones([channels])
        shift = scope.parameter("bias", shape: [channels], role: .normalizationShift, initializer: .zeros)
        runningMean = scope.buffer("running_mean", shape: [channels], value: 0)
        runningVariance = scope.buffer("running_var", shape: [channels], value: 1)
        batchesTracked =
            rule.countsBatches
            ? scope.buffer("num_batches_tracked", shape: [], value: 0, isCounter: true) : nil
    }

    /// Whether a training pass leaves the statistics alone: neither scale nor shift learns, or the
    /// context says so.
    public func isFrozen(in context: ForwardContext) -> Bool {
        context.batchNorm == .frozen || !(scale?.isTrainable ?? false || shift.isTrainable)
    }

    /// C; ones where the rule has no scale.
    var scales: Tensor { scale?.value ?? ones }

    /// - Parameters:
    ///   - residual: added before the activation; of the input's shape.
    /// - Throws: `LayerError` where channels differ, or what a synchronised sum throws.
    public func callAsFunction(
        _ input: Tensor, residual: Tensor? = nil, activation: Activation = .identity, _ context: ForwardContext
    ) throws -> Tensor {
        try check(input.shape)
        if let residual, residual.shape != input.shape {
            throw LayerError.branchesDiffer(path: path, main: input.shape, shortcut: residual.shape)
        }
        guard context.isTraining, !isFrozen(in: context) else {
            return batchNormalization(
                input, scale: scales, shift: shift.value, mean: runningMean.value,
                variance: runningVariance.value, epsilon: rule.epsilon, residual: residual,
                activation: activation)
        }
        let earlier = context.firstPass?.nextMoments()
        let result = try batchNormalization(
            input, scale: scales, shift: shift.value, epsilon: rule.epsilon, residual: residual,
            activation: activation, collectives: context.batchNorm == .synchronised ? context.collectives : nil,
            moments: earlier)
        if earlier == nil {
            context.firstPass?.note(result.moments)
            follow(result.moments)
        }
        return result.output
    }

    func check(_ input: [Int]) throws {
        guard input.count == 4, input[1] == shift.count else {
            throw LayerError.wrongInput(path: path, expected: "N×\(shift.count)×H×W", actual: input)
        }
    }

    /// running ← (1 − momentum) running + momentum batch.
    private func follow(_ moments: BatchMoments) {
        // A rank may have no samples of a small last batch.
        guard moments.count > 0 else { return }
        let n = Float(moments.count)
        let correction = rule.usesUnbiasedVariance && moments.count > 1 ? n / (n - 1) : 1
        Self.move(runningMean, towards: moments.mean, by: rule.momentum, correction: 1)
        Self.move(runningVariance, towards: moments.variance, by: rule.momentum, correction: correction)
        batchesTracked?.update { $0[0] += 1 }
    }

    private static func move(_ buffer: Buffer, towards batch: Tensor, by momentum: Float, correction: Float) {
        batch.withScalars { batch in
            buffer.update { running in
                for c in running.indices {
                    running[c] = (1 - momentum) * running[c] + momentum * (batch[c] * correction)
                }
            }
        }
    }
}
