/// One optimizer's arithmetic over flat buffers; `Optimizer` keeps the state and the settings.
///
/// A rule works on any range of a parameter by itself, so that ranges can be spread over threads.
public protocol UpdateRule: Sendable {
    /// What is kept per parameter between steps, each as long as the parameter and 0 at first.
    var stateNames: [String] { get }

    /// Updates `values` and `state` by one step.
    ///
    /// - Parameters:
    ///   - values: the parameter, or a range of it.
    ///   - gradient: as long as `values`; multiplied by `settings.gradientScale` first.
    ///   - state: one buffer per name of `stateNames`, each as long as `values`.
    func update(
        values: UnsafeMutableBufferPointer<Float>, gradient: UnsafeBufferPointer<Float>,
        state: [UnsafeMutableBufferPointer<Float>], settings: StepSettings)

    /// The same in plain Swift, to the last bit: what `update` is tested against.
    func referenceUpdate(values: inout [Float], gradient: [Float], state: inout [[Float]], settings: StepSettings)
}

/// What one step does to one parameter.
public struct StepSettings: Sendable {
    /// After the schedule and the group's factor.
    public var learningRate: Double
    public var weightDecay: Double
    /// Times the gradient: 1, or less where the gradient is clipped.
    public var gradientScale: Double
    /// The number of this step, from 1.
    public var step: Int

    public init(learningRate: Double, weightDecay: Double, gradientScale: Double = 1, step: Int) {
        self.learningRate = learningRate
        self.weightDecay = weightDecay
        self.gradientScale = gradientScale
        self.step = step
    }
}

extension OptimizerConfiguration {
    /// The arithmetic these settings ask for.
    public var updateRule: any UpdateRule {
        switch rule {
        case .sgd: SGD(momentum: momentum, usesNesterov: usesNesterov)
        case .adam: Adam(beta1: beta1, beta2: beta2, epsilon: epsilon)
        case .adamw: AdamW(beta1: beta1, beta2: beta2, epsilon: epsilon)
        }
    }
}
