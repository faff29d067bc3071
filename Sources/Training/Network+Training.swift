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

    /// Takes the current step for one parameter of the network.
    ///
    /// - Parameter gradient: row-major, as long as the parameter.
    public func update(
        _ parameter: Parameter, gradient: UnsafeBufferPointer<Float>, learningRate: Double, gradientScale: Double = 1
    ) {
        parameter.update {
            update(
                parameter.path, values: $0, gradient: gradient, learningRate: learningRate,
                gradientScale: gradientScale)
        }
    }
}

extension OptimizedParameter {
    init(_ parameter: Parameter) {
        self.init(path: parameter.path, count: parameter.count, isBiasOrNormalization: parameter.role != .weight)
    }
}
