import Tensors

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101), as in
/// PyTorch (`torch.optim.AdamW`): the parameter shrinks by learningRate * weightDecay before the step of
/// Adam, so that large gradients do not shield it from decay. Checked against PyTorch 2.13.
public struct AdamW: UpdateRule {
    private let adam: Adam

    /// - Parameters:
    ///   - beta1: decay of the first moment, in 0..<1.
    ///   - beta2: decay of the second moment, in 0..<1.
    ///   - epsilon: added to the denominator, above 0.
    public init(beta1: Double, beta2: Double, epsilon: Double) {
        adam = Adam(beta1: beta1, beta2: beta2, epsilon: epsilon)
    }

    public var stateNames: [String] { adam.stateNames }

    public func update(
        values: UnsafeMutableBufferPointer<Float>, gradient: UnsafeBufferPointer<Float>,
        state: [UnsafeMutableBufferPointer<Float>], settings: StepSettings
    ) {
        OptimizerKernels.adam(
            values: values, gradient: gradient, firstMoment: state[0], secondMoment: state[1],
            factors: adam.factors(settings, isDecoupled: true))
    }

    public func referenceUpdate(
        values: inout [Float], gradient: [Float], state: inout [[Float]], settings: StepSettings
    ) {
        adamReference(
            values: &values, gradient: gradient, state: &state,
            factors: adam.factors(settings, isDecoupled: true))
    }
}
