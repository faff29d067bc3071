import Layers

/// Which parameters learn, from which data, against which objective, for how long.
///
/// A phase is named data streams times a cycle of turns. Ordinary training has one stream, `train`,
/// and one turn; adversarial schemes have two or three turns that take steps in rotation.
public struct Phase: Codable, Equatable, Sendable {
    /// Unique within the plan; shown in logs and stored in checkpoints.
    public var name: String
    public var length: PhaseLength
    /// The data the turns read; the first one paces the epochs.
    public var streams: [DataStream]
    /// Taken in rotation, one optimizer step each.
    public var turns: [Turn]
    /// Whose statistics batch norm uses while this phase trains.
    public var batchNorm: BatchNormStatistics
    /// Whether backward computes segments of the network again to save the memory of what they keep.
    public var recomputes: Bool

    public init(
        name: String, length: PhaseLength, streams: [DataStream], turns: [Turn],
        batchNorm: BatchNormStatistics = .local, recomputes: Bool = false
    ) {
        self.name = name
        self.length = length
        self.streams = streams
        self.turns = turns
        self.batchNorm = batchNorm
        self.recomputes = recomputes
    }

    /// Optimizer steps in one epoch over `samples` samples of the first stream; the last, smaller
    /// batch counts.
    public func stepsPerEpoch(samples: Int) -> Int {
        guard let batch = streams.first?.batch, batch > 0 else { return 0 }
        return (samples + batch - 1) / batch
    }

    /// Optimizer steps in the whole phase over `samples` samples of the first stream.
    public func totalSteps(samples: Int) -> Int {
        switch length {
        case .epochs(let epochs): epochs * stepsPerEpoch(samples: samples)
        case .steps(let steps): steps
        }
    }
}

/// How long a phase lasts, in passes over its first stream or in optimizer steps.
public enum PhaseLength: Codable, Equatable, Sendable {
    case epochs(Int)
    case steps(Int)
}

/// One source of batches in a phase.
public struct DataStream: Codable, Equatable, Sendable {
    /// What turns call it: `train`, or `source` and `target`, …
    public var name: String
    /// Which data set of the run it draws from.
    public var dataset: String
    /// Samples per optimizer step over all ranks together.
    public var batch: Int

    public init(name: String, dataset: String, batch: Int) {
        self.name = name
        self.dataset = dataset
        self.batch = batch
    }
}

/// One kind of optimizer step: what is minimised, what learns, how.
public struct Turn: Codable, Equatable, Sendable {
    public var objective: ObjectiveConfiguration
    public var trainable: TrainableSet
    public var optimizer: OptimizerConfiguration
    public var schedule: Schedule
    /// The largest global norm of the gradient; nil leaves it alone.
    public var clipNorm: Double?
    /// In how many parts a batch is computed one after the other before its one optimizer step:
    /// less memory, the same gradient.
    public var accumulate: Int

    public init(
        objective: ObjectiveConfiguration, trainable: TrainableSet = .everything,
        optimizer: OptimizerConfiguration, schedule: Schedule = Schedule(), clipNorm: Double? = nil,
        accumulate: Int = 1
    ) {
        self.objective = objective
        self.trainable = trainable
        self.optimizer = optimizer
        self.schedule = schedule
        self.clipNorm = clipNorm
        self.accumulate = accumulate
    }
}

/// Whose statistics a batch-norm layer normalises with while a phase trains. Layers whose parameters
/// are frozen always use their running statistics, and keep them.
public typealias BatchNormStatistics = ForwardContext.BatchNormMode

/// Which objective a turn minimises, as data; `ObjectiveConfiguration.objective()` makes it.
public enum ObjectiveConfiguration: Codable, Equatable, Sendable {
    /// Softmax cross-entropy of a classifier, `labelSmoothing` in 0..<1.
    case crossEntropy(labelSmoothing: Double)
}
