import Datasets
import Layers
import Models
import Tensors

/// What a turn minimises: one or more terms, each a sum over something divided by how much of it there
/// is on all ranks together. Never a mean of means: uneven shards and small last batches count exactly.
///
///     denominators = objective.denominators(of: fields)        summed over ranks and parts, before backward
///     value = objective.evaluate(…)                             forward
///     value.loss(denominators: global).backward(…)              gradients of ranks and parts add up
///
/// With frozen or synchronised batch norm, N ranks with batch B/N give the gradient of one rank with B.
public protocol Objective {
    /// What messages call it.
    var name: String { get }
    /// What the loss is the sum of.
    var terms: [ObjectiveTerm] { get }

    /// How much of each term there is in this part of the batch, from the fields alone, before anything is
    /// computed: one number per term.
    ///
    /// - Parameter streams: the fields of the batch (`images`, `labels`, …) of each stream.
    /// - Throws: `TrainingError.missingField`.
    func denominators(of streams: [String: [String: Tensor]]) throws -> [Double]

    /// Computes the terms of this part of the batch; a rank's part may be empty.
    ///
    /// - Parameter forward: the network in training mode.
    /// - Throws: what the network throws, `TrainingError.missingField`, `TrainingError.labelOutOfRange`.
    func evaluate(_ streams: [String: [String: Tensor]], through forward: ForwardPass) throws -> ObjectiveValue
}

/// The network in training mode, as objectives call it: with the fields of a batch, of which `images` or `tokens` go in.
public struct ForwardPass {
    /// Logits N×classes, of what predicts tokens N×T×vocabulary, and those of an auxiliary classifier.
    public let output: (_ fields: [String: Tensor]) throws -> NetworkOutput
    /// The cross-entropy between logits and labels, summed over labels other than `Batch.ignoredLabel`; all logits of a
    /// large vocabulary are never in memory at one time.
    public let crossEntropy: (_ fields: [String: Tensor], _ labels: Tensor, _ smoothing: Float) throws -> Tensor

    public init(
        output: @escaping (_ fields: [String: Tensor]) throws -> NetworkOutput,
        crossEntropy: @escaping (_ fields: [String: Tensor], _ labels: Tensor, _ smoothing: Float) throws -> Tensor
    ) {
        (self.output, self.crossEntropy) = (output, crossEntropy)
    }

    /// A pass from what goes in to logits.
    public init(_ logits: @escaping (Tensor) throws -> Tensor) {
        func run(_ fields: [String: Tensor]) throws -> NetworkOutput {
            guard let input = fields.input else {
                throw TrainingError.missingField(objective: "forward", stream: "train", field: "images")
            }
            return NetworkOutput(logits: try logits(input))
        }
        self.init(output: run) { fields, labels, smoothing in
            try run(fields).crossEntropy(
                labels: labels, labelSmoothing: smoothing, ignoreIndex: Batch.ignoredLabel)
        }
    }
}

/// One summand of an objective.
public struct ObjectiveTerm: Equatable, Sendable {
    /// How a term is reduced across samples and ranks.
    public enum Reduction: Equatable, Sendable {
        /// Divided by the global number of samples, tokens, …
        case globalMean
        /// As it is.
        case sum
    }

    public let name: String
    public let weight: Double
    public let reduction: Reduction

    public init(name: String, weight: Double = 1, reduction: Reduction = .globalMean) {
        self.name = name
        self.weight = weight
        self.reduction = reduction
    }
}

/// The terms of one part of a batch, not yet divided by anything.
public struct ObjectiveValue {
    public let terms: [ObjectiveTerm]
    /// One scalar per term, on the tape.
    public let sums: [Tensor]
    /// N×classes, off the tape, where the objective trains a classifier: what accuracy is counted from.
    public let logits: Tensor?
    /// The labels of `logits`.
    public let labels: Tensor?
    /// How many samples or tokens the sums are over, where there are no logits to count.
    public let count: Int?

    public init(
        terms: [ObjectiveTerm], sums: [Tensor], logits: Tensor? = nil, labels: Tensor? = nil, count: Int? = nil
    ) {
        self.terms = terms
        self.sums = sums
        self.logits = logits
        self.labels = labels
        self.count = count
    }

    /// This part's share of the loss: what backward starts from. Shares of parts and ranks add up to the loss.
    ///
    /// - Parameter denominators: one per term, summed over all parts and ranks; a term of which there is
    ///   nothing anywhere is left out.
    public func loss(denominators: [Double]) -> Tensor {
        precondition(
            denominators.count == sums.count, "objective: \(denominators.count) denominators for \(sums.count) terms")
        var loss: Tensor?
        for (index, term) in terms.enumerated() {
            let divisor = term.reduction == .sum ? 1 : denominators[index]
            guard divisor > 0 else { continue }
            let share = sums[index] * Float(term.weight / divisor)
            loss = loss.map { $0 + share } ?? share
        }
        return loss ?? .zeros([])
    }
}

extension ObjectiveConfiguration {
    /// The objective these settings ask for, over the stream `train`.
    public func objective() -> any Objective {
        switch self {
        case .crossEntropy(let labelSmoothing): CrossEntropyObjective(labelSmoothing: labelSmoothing)
        }
    }
}
