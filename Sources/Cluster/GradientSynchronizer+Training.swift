import Layers
import Tensors
import Training

extension GradientSynchronizer: GradientExchange {
    public func finishStep() throws { try finish() }

    public func gradient(of variable: VariableID) -> UnsafeMutableBufferPointer<Float>? { gradients[variable] }

    public var allGradients: UnsafeMutableBufferPointer<Float> { gradients.all }
}

extension BucketPlan {
    /// The plan for parameters that learn, in their order in the network.
    public init(learning: [Parameter], statisticsCount: Int) {
        self.init(
            trainable: learning.map { PlannedParameter(variable: $0.id, count: $0.count, path: $0.path) },
            statisticsCount: statisticsCount)
    }
}
