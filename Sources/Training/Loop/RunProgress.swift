import Tensors

/// Where a run stands: everything a resumed run needs to go on as if it had never stopped, beside
/// parameters, buffers and optimizer state. There is no random state: all random numbers are keyed.
public struct RunProgress: Codable, Equatable, Sendable {
    /// The phase under way; the number of phases when all are done.
    public var phase = 0
    /// Optimizer steps taken in this phase.
    public var step = 0
    /// Optimizer steps taken in the run.
    public var totalSteps = 0
    /// Epochs of the phases before this one: epochs are numbered through, so that no order repeats.
    public var epochOffset = 0
    /// Training figures of the epoch under way.
    public var epochFigures = TrainingFigures()
    /// A signal stopped the run in the middle of a validation: what is left to do at this step begins with it.
    public var owesValidation = false
    /// How the frozen stages of the phase under way are computed.
    public var trunk: TrunkPlan.Record?
    /// The best validation so far and the step it was made at.
    public var best: MetricsSummary?
    public var bestStep = 0
    /// The last validation.
    public var last: MetricsSummary?
    /// One entry per finished epoch.
    public var history: [EpochRecord] = []

    public init() {}
}

/// Sums over the samples trained on; over tokens, where those are predicted.
public struct TrainingFigures: Codable, Equatable, Sendable {
    public var samples: Double
    /// Sum over samples of the loss.
    public var lossSum: Double
    /// Samples whose class was the first choice.
    public var correct: Double
    /// Broken files that were left out.
    public var skipped: Double

    public init(samples: Double = 0, lossSum: Double = 0, correct: Double = 0, skipped: Double = 0) {
        (self.samples, self.lossSum, self.correct, self.skipped) = (samples, lossSum, correct, skipped)
    }

    public var loss: Double { lossSum / max(1, samples) }
    /// The part of samples whose class was the first choice.
    public var accuracy: Double { correct / max(1, samples) }

    /// The figures of one part of a batch. The loss is the weighted sum of the objective's terms.
    init(_ value: ObjectiveValue) {
        let loss = zip(value.terms, value.sums).reduce(0) { $0 + $1.0.weight * Double($1.1.scalar) }
        guard let logits = value.logits, let labels = value.labels?.indices else {
            self.init(samples: Double(value.count ?? 1), lossSum: loss)
            return
        }
        self.init(samples: Double(labels.count), lossSum: loss, correct: Double(Self.correctCount(logits, labels)))
    }

    /// How many rows of `logits` (N×classes) are largest at their label.
    private static func correctCount(_ logits: Tensor, _ labels: [Int32]) -> Int {
        let classes = logits.shape[1]
        return logits.withScalars { logits in
            labels.indices.filter { row in
                let own = UnsafeBufferPointer(rebasing: logits[row * classes..<(row + 1) * classes])
                return ClassificationMetrics.place(of: Int(labels[row]), in: own) == 0
            }.count
        }
    }

    mutating func add(_ other: TrainingFigures) {
        samples += other.samples
        lossSum += other.lossSum
        correct += other.correct
        skipped += other.skipped
    }
}

/// What one epoch came to.
public struct EpochRecord: Codable, Equatable, Sendable {
    public var phase: String
    /// From 1, within the phase.
    public var epoch: Int
    public var totalSteps: Int
    public var trainingLoss: Double
    /// nil where tokens are predicted.
    public var trainingAccuracy: Double?
    /// Broken files left out of training, where the recipe says `broken-files: skip`.
    public var skippedFiles: Int
    public var validation: MetricsSummary?
}
