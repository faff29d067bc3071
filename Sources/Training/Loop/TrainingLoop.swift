import Collectives
import Datasets
import Foundation
import Layers
import Models
import Tensors

/// THE loop: runs the phases of a plan, the same on one rank and on a thousand.
///
/// One optimizer step, in `PhaseRun.step`:
///
/// 1. take this rank's batch of every stream: images, texts, or what `PhaseTrunk` has kept of their way through the
///    frozen stages;
/// 2. add up the denominators over ranks;
/// 3. forward and backward; each finished gradient goes to the exchange, which sums it over ranks
///    while backward goes on; running statistics and figures travel along;
/// 4. wait for the sums, clip, let the optimizer change the parameters.
///
/// Saving, validating and stopping happen at step boundaries, on all ranks at the same one.
public final class TrainingLoop {
    /// What the loop is to do beside training.
    public struct Settings {
        public var seed: UInt64 = 0
        public var saveEvery = Interval.epochs(1)
        public var validateEvery = Interval.epochs(1)
        /// Steps between progress events.
        public var logEvery = 10
        /// Batches prepared ahead, and the threads that prepare them.
        public var prefetch = 4
        public var dataThreads = 1
        /// Samples per forward pass of one rank in validation.
        public var validationBatch = 32
        public var trunk = TrunkSettings()

        public init() {}
    }

    /// How often something happens.
    public enum Interval: Equatable, Sendable {
        case epochs(Int)
        case steps(Int)
        case minutes(Double)
    }

    public enum Outcome: Sendable {
        case finished
        /// At a step boundary, after saving, because a signal asked for it.
        case stopped
    }

    /// What the loop asks of whoever runs it.
    public struct Environment {
        /// Makes the gradient exchange for parameters that learn, with room for so many statistics.
        public var makeExchange: (_ learning: [Parameter], _ statistics: Int) -> any GradientExchange
        /// Whether a signal asks this rank to stop.
        public var isAskedToStop: () -> Bool = { false }
        /// Takes a snapshot. Called on all ranks at the same step; `optimizers` copies their state, for who needs it.
        public var save:
            (_ progress: RunProgress, _ optimizers: () -> [OptimizerState], _ isBest: Bool) throws -> Void =
                { _, _, _ in }
        /// A failure of this rank beside the loop, such as a checkpoint that could not be written.
        public var failure: () -> Error? = { nil }
        public var report: (TrainingEvent) -> Void = { _ in }
        /// Where samples are sent to ranks that cannot read them: sends every rank the samples it needs until
        /// the end of the epoch. Collective. nil where all ranks read for themselves.
        public var deal: ((_ indices: (_ rank: Int) -> [Int]) throws -> Void)?

        public init(makeExchange: @escaping (_ learning: [Parameter], _ statistics: Int) -> any GradientExchange) {
            self.makeExchange = makeExchange
        }
    }

    let network: Network
    let plan: TransferPlan
    let data: [String: BatchLoader]
    let validation: BatchLoader?
    let collectives: Collectives
    let settings: Settings
    let environment: Environment
    public internal(set) var progress: RunProgress
    /// Of this run, over all phases.
    public internal(set) var seconds = StepSeconds()

    /// - Parameters:
    ///   - data: by the names that the streams of the plan give.
    ///   - progress: where to start; from a checkpoint when resuming.
    public init(
        network: Network, plan: TransferPlan, data: [String: BatchLoader], validation: BatchLoader?,
        collectives: Collectives, settings: Settings, environment: Environment, progress: RunProgress = RunProgress()
    ) {
        self.network = network
        self.plan = plan
        self.data = data
        self.validation = validation
        self.collectives = collectives
        self.settings = settings
        self.environment = environment
        self.progress = progress
    }

    /// Runs what is left of the plan. Collective.
    ///
    /// - Parameter optimizers: state of the phase under way, when resuming in its middle.
    /// - Throws: `TrainingError` when training diverges, on every rank; what data, network, exchange and
    ///   `save` throw.
    public func run(resuming optimizers: [OptimizerState] = []) throws -> Outcome {
        var resumed = optimizers
        while progress.phase < plan.phases.count {
            let phase = try PhaseRun(plan.phases[progress.phase], of: self)
            if progress.step > 0 { try phase.restore(resumed) }
            resumed = []
            if try phase.run() == .stopped { return .stopped }
            progress.epochOffset += phase.epochCount
            progress.phase += 1
            progress.step = 0
        }
        return .finished
    }
}

/// What the loop tells while it runs.
public enum TrainingEvent {
    case phaseBegan(Phase, learning: Int, parameters: Int, bytesPerExchange: Int)
    /// Once in a run, after its first optimizer step.
    case firstStepEnded
    case step(StepReport)
    case epochEnded(EpochRecord)
    /// So many samples have gone through the frozen stages, before the first step.
    case trunkFilling(computed: Int, of: Int)
    /// The frozen stages are compiled or their outputs there; and what that has saved at the end of the phase.
    case trunk(TrunkReport)
    case trunkFinished(TrunkReport)
    /// Broken files that were left out of an epoch or a validation, each with what is wrong.
    case filesSkipped(source: String, messages: [String])
}

/// How far a phase is, and how fast.
public struct StepReport {
    public var phase: String
    /// From 1.
    public var epoch: Int
    public var epochs: Int
    /// Steps done in this epoch, and how many it has.
    public var step: Int
    public var stepsPerEpoch: Int
    public var totalSteps: Int
    /// Means over this epoch so far; no accuracy where tokens are predicted.
    public var loss: Double
    public var accuracy: Double?
    /// The loss of this step's global batch.
    public var stepLoss: Double
    public var learningRate: Double
    /// Samples, which may be texts.
    public var imagesPerSecond: Double
    public var secondsLeft: Double
    public var seconds: StepSeconds
}

/// What this rank's optimizer steps of a run took, in seconds: validation and saving not counted, the first step is.
public struct StepSeconds: Sendable {
    /// All of it.
    public var steps = 0.0
    /// Of it, waiting for batches that were not ready.
    public var data = 0.0
    /// Of it, waiting for other ranks.
    public var exchange = 0.0

    public init() {}

    /// The part of the time that went into waiting for data, in percent.
    public var dataPercent: Double { steps > 0 ? 100 * data / steps : 0 }
}
