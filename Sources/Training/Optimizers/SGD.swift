import Tensors

/// Stochastic gradient descent with optional momentum, as in PyTorch (`torch.optim.SGD`, no dampening):
///
///     g = gradient + weightDecay * value
///     buffer = momentum * buffer + g
///     value -= learningRate * (nesterov ? g + momentum * buffer : buffer)
///
/// The learning rate multiplies the buffer rather than entering it, unlike in Sutskever et al. (2013,
/// https://proceedings.mlr.press/v28/sutskever13.html). Checked against PyTorch 2.13.
public struct SGD: UpdateRule {
    public let momentum: Double
    public let usesNesterov: Bool

    /// - Parameters:
    ///   - momentum: in 0..<1; 0 keeps no state.
    ///   - usesNesterov: takes the gradient's effect on the buffer ahead; has no effect without momentum.
    public init(momentum: Double, usesNesterov: Bool) {
        self.momentum = momentum
        self.usesNesterov = usesNesterov
    }

    public var stateNames: [String] { momentum == 0 ? [] : ["momentum"] }

    public func update(
        values: UnsafeMutableBufferPointer<Float>, gradient: UnsafeBufferPointer<Float>,
        state: [UnsafeMutableBufferPointer<Float>], settings: StepSettings
    ) {
        OptimizerKernels.sgd(
            values: values, gradient: gradient,
            momentum: state.first.map { ($0, Float(momentum), usesNesterov) },
            gradientScale: Float(settings.gradientScale), learningRate: Float(settings.learningRate),
            weightDecay: Float(settings.weightDecay))
    }

    public func referenceUpdate(
        values: inout [Float], gradient: [Float], state: inout [[Float]], settings: StepSettings
    ) {
        let rate = Float(settings.learningRate), decay = Float(settings.weightDecay)
        let scale = Float(settings.gradientScale), mu = Float(momentum)
        for i in values.indices {
            let g = gradient[i] * scale + decay * values[i]
            guard momentum != 0 else {
                values[i] -= rate * g
                continue
            }
            let b = mu * state[0][i] + g
            state[0][i] = b
            values[i] -= rate * (usesNesterov ? g + mu * b : b)
        }
    }
}
