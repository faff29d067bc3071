import Foundation
import Tensors

/// Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980), as in PyTorch (`torch.optim.Adam`,
/// no AMSGrad): weight decay enters the gradient (L2).
///
///     g = gradient + weightDecay * value
///     m = beta1 * m + (1 - beta1) * g          s = beta2 * s + (1 - beta2) * g²
///     value -= learningRate / (1 - beta1^t) * m / (√s / √(1 - beta2^t) + epsilon)
///
/// Checked against PyTorch 2.13.
public struct Adam: UpdateRule {
    public let beta1: Double
    public let beta2: Double
    public let epsilon: Double

    /// - Parameters:
    ///   - beta1: decay of the first moment, in 0..<1.
    ///   - beta2: decay of the second moment, in 0..<1.
    ///   - epsilon: added to the denominator, above 0.
    public init(beta1: Double, beta2: Double, epsilon: Double) {
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
    }

    public var stateNames: [String] { ["first_moment", "second_moment"] }

    public func update(
        values: UnsafeMutableBufferPointer<Float>, gradient: UnsafeBufferPointer<Float>,
        state: [UnsafeMutableBufferPointer<Float>], settings: StepSettings
    ) {
        OptimizerKernels.adam(
            values: values, gradient: gradient, firstMoment: state[0], secondMoment: state[1],
            factors: factors(settings, isDecoupled: false))
    }

    public func referenceUpdate(
        values: inout [Float], gradient: [Float], state: inout [[Float]], settings: StepSettings
    ) {
        adamReference(
            values: &values, gradient: gradient, state: &state, factors: factors(settings, isDecoupled: false))
    }

    /// What a step needs beside the buffers; `isDecoupled` for AdamW.
    func factors(_ settings: StepSettings, isDecoupled: Bool) -> OptimizerKernels.AdamFactors {
        let step = Double(settings.step)
        return OptimizerKernels.AdamFactors(
            gradientScale: Float(settings.gradientScale),
            shrink: isDecoupled ? Float(1 - settings.learningRate * settings.weightDecay) : 1,
            weightDecay: isDecoupled ? 0 : Float(settings.weightDecay),
            oneMinusBeta1: Float(1 - beta1), beta2: Float(beta2), oneMinusBeta2: Float(1 - beta2),
            stepSize: Float(settings.learningRate / (1 - pow(beta1, step))),
            rootCorrection: Float((1 - pow(beta2, step)).squareRoot()), epsilon: Float(epsilon))
    }
}

/// The loop of `graft_adam` in plain Swift.
func adamReference(
    values: inout [Float], gradient: [Float], state: inout [[Float]], factors: OptimizerKernels.AdamFactors
) {
    for i in values.indices {
        let g = gradient[i] * factors.gradientScale + factors.weightDecay * values[i]
        let m = state[0][i] + factors.oneMinusBeta1 * (g - state[0][i])
        let s = factors.beta2 * state[1][i] + factors.oneMinusBeta2 * (g * g)
        state[0][i] = m
        state[1][i] = s
        let denominator = s.squareRoot() / factors.rootCorrection + factors.epsilon
        values[i] = values[i] * factors.shrink - factors.stepSize * (m / denominator)
    }
}
