import Layers
import Models
import Tensors
import Training

/// Made-up work for a step: normalised images or tokens, and labels for them.
struct StepWork {
    /// The label of what counts nothing.
    static let ignored: Int32 = -100

    let input: Tensor
    let labels: Tensor
    /// Labels that count.
    let counted: Int

    init(_ network: Network, _ shape: [Int]) {
        let architecture = network.architecture
        if let tokens = architecture.tokens {
            input = Self.tokens(shape, tokens)
            labels = Self.labels(for: input, architecture)
        } else {
            input = Self.random(shape)
            labels = Self.labels(shape[0], architecture.classes)
        }
        counted = max(1, labels.indices.count { $0 != Self.ignored })
    }

    /// Of mean 0 and deviation 1, as normalised images are.
    static func random(_ shape: [Int]) -> Tensor {
        .uniform(shape, in: -1.732..<1.732, key: RandomKey(seed: 0, purpose: .initialization, path: "bench"))
    }

    private static func labels(for tokens: Tensor, _ architecture: Architecture) -> Tensor {
        let (samples, length) = (tokens.shape[0], tokens.shape[1])
        switch architecture.output {
        case .classes: return labels(samples, architecture.classes)
        case .tokenClasses: return labels(tokens.count, architecture.classes).reshaped(tokens.shape)
        case .spans: return labels(2 * samples, length).reshaped([samples, 2])
        case .maskedTokens: return tokens
        case .nextTokens: return nextTokens(of: tokens)
        case .embedding: return Tensor(indices: [], shape: [0])
        }
    }

    private static func labels(_ count: Int, _ classes: Int) -> Tensor {
        Tensor(indices: (0..<count).map { Int32($0 * 7 % classes) }, shape: [count])
    }

    /// Any but the first few, which stand for padding and the like.
    private static func tokens(_ shape: [Int], _ input: TokenInput) -> Tensor {
        let count = shape.reduce(1, *)
        let first = min(1000, input.vocabulary / 2)
        let numbers = input.vocabulary - first
        return Tensor(indices: (0..<count).map { Int32(first + $0 * 7919 % numbers) }, shape: shape)
    }

    /// The labels of a language model: at every position the token that follows; none at the last.
    private static func nextTokens(of tokens: Tensor) -> Tensor {
        let length = tokens.shape[1]
        let all = tokens.indices
        return Tensor(
            indices: all.indices.map { ($0 + 1) % length == 0 ? ignored : all[$0 + 1] }, shape: tokens.shape)
    }
}

/// A training step on one process: what the training loop does, without data and bookkeeping.
final class StepTrainer {
    private let network: Network
    private let exchange: ImmediateUpdate
    private let context: ForwardContext

    init(_ network: Network, recomputes: Bool) throws {
        self.network = network
        context = ForwardContext(isTraining: true, recomputes: recomputes)
        let isText = network.architecture.tokens != nil
        let optimizer = try Optimizer(
            OptimizerConfiguration(
                rule: isText ? .adamw : .sgd, learningRate: isText ? 1e-4 : 0.01, momentum: isText ? 0 : 0.9,
                usesNesterov: false, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: isText ? 0.01 : 1e-4,
                decaysNormalization: true, groups: []), network: network)
        exchange = ImmediateUpdate(optimizer, learning: network.store.parameters, statisticsCount: 0)
        exchange.learningRate = optimizer.configuration.learningRate
    }

    func step(_ work: StepWork) throws {
        exchange.beginStep(passes: 1)
        let loss =
            try network.crossEntropy(work.input, labels: work.labels, context, ignoreIndex: StepWork.ignored)
            * (1 / Float(work.counted))
        try loss.backward(into: exchange)
        exchange.finishStep()
    }
}
