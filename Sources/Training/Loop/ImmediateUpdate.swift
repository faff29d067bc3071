import Layers
import Tensors

/// The exchange of a run on one rank that neither clips nor accumulates: each parameter takes its step as soon as
/// backward has finished its gradient, so that gradients are never in memory together. The bits are those of a run that
/// gathers them first.
///
/// Nothing reads a parameter after its gradient is finished: that comes after the backward of its last consumer.
public final class ImmediateUpdate: GradientExchange {
    private let optimizer: Optimizer
    private let learning: [VariableID: Parameter]
    /// Those whose gradient has not come in this step.
    private var missing: Set<VariableID> = []
    /// After the schedule; set before every step.
    public var learningRate = 0.0

    public let statistics: UnsafeMutableBufferPointer<Float>
    public let waitedSeconds = 0.0
    public let prefersFactors = true

    /// - Parameters:
    ///   - optimizer: of these parameters.
    ///   - statisticsCount: how many numbers `statistics` has room for.
    public init(_ optimizer: Optimizer, learning: [Parameter], statisticsCount: Int) {
        self.optimizer = optimizer
        self.learning = Dictionary(learning.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        statistics = .allocate(capacity: statisticsCount)
        statistics.initialize(repeating: 0)
    }

    deinit { statistics.deallocate() }

    public func beginStep(passes: Int) {
        precondition(passes == 1, "ImmediateUpdate: gradients of \(passes) passes cannot be summed")
        missing = Set(learning.keys)
        optimizer.beginStep()
    }

    public func endPass() { preconditionFailure("ImmediateUpdate: a step has one pass") }

    public func gradientReady(_ gradient: Gradient, for variable: VariableID) {
        guard let parameter = learning[variable], missing.remove(variable) != nil else { return }
        gradient.forEachPart { offset, values in
            optimizer.update(parameter, gradient: values, learningRate: learningRate, at: offset)
        }
    }

    /// Momentum and weight decay go on where there was no gradient.
    public func finishStep() {
        for variable in missing {
            guard let parameter = learning[variable] else { continue }
            Tensor.zeros(parameter.shape).withScalars {
                optimizer.update(parameter, gradient: $0, learningRate: learningRate)
            }
        }
    }

    public func gradient(of variable: VariableID) -> UnsafeMutableBufferPointer<Float>? { nil }
    public var allGradients: UnsafeMutableBufferPointer<Float> { UnsafeMutableBufferPointer(start: nil, count: 0) }
}
