import Layers
import Models
import Tensors

extension TrainableSet {
    /// Makes the network's parameters learn or stay as the set says, and says which do.
    ///
    /// - Throws: `TrainingError`, as `resolve`; the network is as it was then.
    @discardableResult
    public func apply(to network: Network) throws -> ResolvedTrainableSet {
        let resolved = try resolve(for: network)
        let learning = Set(resolved.trainable)
        for parameter in network.store.parameters { parameter.isTrainable = learning.contains(parameter.path) }
        return resolved
    }

    /// Which of the network's parameters the set lets learn; the network is left alone.
    public func resolve(for network: Network) throws -> ResolvedTrainableSet {
        try resolve(
            parameterPaths: network.store.parameters.map(\.path), bufferPaths: network.store.buffers.map(\.path),
            headPrefix: network.headPrefix)
    }
}

extension Turn {
    /// The parameters that learn in this turn, and the running statistics that it moves: what ranks exchange in
    /// every step, and how many numbers there are beside the gradients: the statistics and the loop's own.
    ///
    /// - Throws: `TrainingError`, as `TrainableSet.resolve`.
    public func exchanged(
        in network: Network, _ phase: Phase
    ) throws -> (learning: [Parameter], statistics: [Buffer], numbers: Int) {
        let resolved = try trainable.resolve(for: network)
        let names = Set(resolved.trainable)
        let statistics = network.store.buffers.filter { buffer in
            phase.batchNorm != .frozen && buffer.isAveragedOverRanks
                && !resolved.frozenBatchNormPrefixes.contains { buffer.path.hasPrefix($0 + ".") }
        }
        return (
            network.store.parameters.filter { names.contains($0.path) }, statistics,
            statistics.reduce(0) { $0 + $1.count } + PhaseRun.figureCount
        )
    }
}

extension Optimizer {
    /// An optimizer over what learns in a network, its `TrainableSet` applied.
    ///
    /// - Throws: `TrainingError` for a parameter group that covers nothing that learns.
    public convenience init(_ configuration: OptimizerConfiguration, network: Network) throws {
        let parameters = network.store.parameters
        try self.init(
            configuration: configuration, parameters: parameters.filter(\.isTrainable).map(OptimizedParameter.init),
            frozenPaths: parameters.filter { !$0.isTrainable }.map(\.path), headPrefix: network.headPrefix)
    }

    /// Takes the current step for one parameter of the network, or for a stretch of it.
    ///
    /// - Parameters:
    ///   - gradient: row-major, as long as the parameter or the stretch.
    ///   - offset: where in the parameter a stretch begins; nil for all of it.
    public func update(
        _ parameter: Parameter, gradient: UnsafeBufferPointer<Float>, learningRate: Double, gradientScale: Double = 1,
        at offset: Int? = nil
    ) {
        parameter.update { values in
            let stretch = offset.map { $0..<$0 + gradient.count } ?? 0..<values.count
            Profile.measure("optimizer", bytes: 4 * (3 + 2 * configuration.stateBuffers) * gradient.count) {
                update(
                    parameter.path, values: UnsafeMutableBufferPointer(rebasing: values[stretch]), gradient: gradient,
                    learningRate: learningRate, gradientScale: gradientScale, at: offset)
            }
        }
    }
}

extension OptimizedParameter {
    init(_ parameter: Parameter) {
        self.init(path: parameter.path, count: parameter.count, isBiasOrNormalization: parameter.role != .weight)
    }
}

extension OptimizerConfiguration {
    /// Buffers of the parameter's size that the rule keeps.
    public var stateBuffers: Int {
        switch rule {
        case .sgd: momentum == 0 ? 0 : 1
        case .adam, .adamw: 2
        }
    }
}
