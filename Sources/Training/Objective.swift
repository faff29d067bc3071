import Datasets
import Layers
import Models
import Tensors

/// What a turn minimises, and how it reduces over ranks.
///
/// An objective is a sum of terms, each divided by a number that belongs to the whole batch: samples, tokens,
/// positives. Every rank counts its own share (`denominators`), the shares are added up over ranks *before*
/// the forward pass, and each rank then computes its part of the loss with the global numbers. Parts and
/// their gradients simply add up; nothing is ever a mean of means.
public protocol Objective {
    /// This rank's share of the denominators, always the same number of them.
    func denominators(of batches: [String: Batch]) -> [Double]

    /// This rank's part of the loss.
    ///
    /// - Parameters:
    ///   - batches: one per stream of the phase; a batch may hold no samples.
    ///   - denominators: summed over all ranks (and over all parts of an accumulated step).
    /// - Throws: `TrainingError` for fields that are missing or labels that do not fit, or what the
    ///   network throws.
    func part(
        of batches: [String: Batch], network: Network, context: ForwardContext, denominators: [Double]
    ) throws -> ObjectivePart
}

/// One rank's contribution to a step.
public struct ObjectivePart {
    /// Scalar; the sum over ranks is the loss of the global batch.
    public var loss: Tensor
    /// What progress shows.
    public var figures: TrainingFigures

    public init(loss: Tensor, figures: TrainingFigures) {
        self.loss = loss
        self.figures = figures
    }
}

extension ObjectiveConfiguration {
    /// The objective this describes.
    public func objective() -> any Objective {
        switch self {
        case .crossEntropy(let labelSmoothing): CrossEntropyObjective(labelSmoothing: Float(labelSmoothing))
        }
    }
}

/// Softmax cross-entropy of a classifier over the stream `train`: the mean over all samples of the global batch.
public struct CrossEntropyObjective: Objective {
    /// The share of the target spread evenly over all classes (Szegedy et al. 2016,
    /// https://arxiv.org/abs/1512.00567), in 0..<1.
    public let labelSmoothing: Float

    public init(labelSmoothing: Float = 0) { self.labelSmoothing = labelSmoothing }

    public func denominators(of batches: [String: Batch]) -> [Double] {
        [Double(batches["train"]?.count ?? 0)]
    }

    public func part(
        of batches: [String: Batch], network: Network, context: ForwardContext, denominators: [Double]
    ) throws -> ObjectivePart {
        guard let batch = batches["train"], let images = batch["images"], let labels = batch["labels"] else {
            throw TrainingError.missingField(objective: "cross-entropy", stream: "train", field: "images, labels")
        }
        let answers = labels.indices
        try requireLabels(answers, classes: network.architecture.classes)
        let logits = try network(images, context)
        let sum = crossEntropy(logits, labels: labels, labelSmoothing: labelSmoothing)
        let figures = TrainingFigures(
            samples: Double(batch.count), lossSum: Double(sum.scalar), correct: Double(correctCount(logits, answers)))
        return ObjectivePart(loss: sum * Float(1 / max(1, denominators[0])), figures: figures)
    }
}

/// - Throws: `TrainingError.labelOutOfRange` for a label that the network has no output for.
func requireLabels(_ labels: [Int32], classes: Int) throws {
    for label in labels where label < 0 || Int(label) >= classes {
        throw TrainingError.labelOutOfRange(label: Int(label), classes: classes)
    }
}

/// How many rows of `logits` (N×classes) are largest at their label.
private func correctCount(_ logits: Tensor, _ labels: [Int32]) -> Int {
    let classes = logits.shape[1]
    return logits.withScalars { logits in
        labels.indices.filter { row in
            let own = logits[row * classes + Int(labels[row])]
            return (0..<classes).allSatisfy { logits[row * classes + $0] <= own }
        }.count
    }
}
