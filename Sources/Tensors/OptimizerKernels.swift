import CKernels

/// The compiled loops of the optimizers, over flat row-major buffers of equal length.
///
/// Each call works on the whole of the buffers it is given; callers split long ones into ranges and
/// spread them over threads. The bits do not depend on the CPU. The formulas, and the plain Swift
/// versions these are tested against, are in the target `Training`.
package enum OptimizerKernels {
    /// Stochastic gradient descent; `momentum` nil where no momentum is kept.
    package static func sgd(
        values: UnsafeMutableBufferPointer<Float>, gradient: UnsafeBufferPointer<Float>,
        momentum: (buffer: UnsafeMutableBufferPointer<Float>, factor: Float, isNesterov: Bool)?,
        gradientScale: Float, learningRate: Float, weightDecay: Float
    ) {
        precondition(gradient.count == values.count, "sgd: \(gradient.count) gradients for \(values.count) values")
        guard let value = values.baseAddress, let slope = gradient.baseAddress else { return }
        guard let momentum, let buffer = momentum.buffer.baseAddress else {
            graft_sgd(values.count, value, slope, gradientScale, learningRate, weightDecay)
            return
        }
        precondition(momentum.buffer.count == values.count, "sgd: momentum of another size")
        graft_sgd_momentum(
            values.count, value, slope, buffer, gradientScale, learningRate, weightDecay, momentum.factor,
            momentum.isNesterov ? 1 : 0)
    }

    /// What one step of Adam or AdamW needs beside the buffers, each rounded once from double.
    package struct AdamFactors: Sendable {
        package var gradientScale, shrink, weightDecay, oneMinusBeta1, beta2, oneMinusBeta2: Float
        package var stepSize, rootCorrection, epsilon: Float

        package init(
            gradientScale: Float, shrink: Float, weightDecay: Float, oneMinusBeta1: Float, beta2: Float,
            oneMinusBeta2: Float, stepSize: Float, rootCorrection: Float, epsilon: Float
        ) {
            self.gradientScale = gradientScale
            self.shrink = shrink
            self.weightDecay = weightDecay
            self.oneMinusBeta1 = oneMinusBeta1
            self.beta2 = beta2
            self.oneMinusBeta2 = oneMinusBeta2
            self.stepSize = stepSize
            self.rootCorrection = rootCorrection
            self.epsilon = epsilon
        }
    }

    /// Adam and AdamW.
    package static func adam(
        values: UnsafeMutableBufferPointer<Float>, gradient: UnsafeBufferPointer<Float>,
        firstMoment: UnsafeMutableBufferPointer<Float>, secondMoment: UnsafeMutableBufferPointer<Float>,
        factors: AdamFactors
    ) {
        let count = values.count
        precondition(
            gradient.count == count && firstMoment.count == count && secondMoment.count == count,
            "adam: buffers of different sizes")
        guard let value = values.baseAddress, let slope = gradient.baseAddress,
            let first = firstMoment.baseAddress, let second = secondMoment.baseAddress
        else { return }
        graft_adam(
            count, value, slope, first, second, factors.gradientScale, factors.shrink, factors.weightDecay,
            factors.oneMinusBeta1, factors.beta2, factors.oneMinusBeta2, factors.stepSize,
            factors.rootCorrection, factors.epsilon)
    }

    /// The sum of squares of `values`, accumulated in double in a fixed order.
    package static func sumOfSquares(_ values: UnsafeBufferPointer<Float>) -> Double {
        guard let start = values.baseAddress else { return 0 }
        return graft_sum_of_squares(values.count, start)
    }
}
