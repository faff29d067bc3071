import Collectives
import Datasets
import Foundation
import Models
import Recipes
import Training

/// What a run is about to do, in numbers: printed at its start and by `--dry-run`.
public struct RunOverview: Encodable, Sendable {
    public struct PhaseOverview: Encodable, Sendable {
        public var name: String
        public var trainableParameters: Int
        /// What each rank gives to the all-reduce in every step.
        public var bytesPerAllReduce: Int
        public var steps: Int
        public var batch: Int
        /// An estimate of one rank's memory at its peak, from the sizes of parameters, optimizer state,
        /// exchange memory and the activations that a training step keeps.
        public var memoryBytesPerRank: Int
        public var trunk: TrunkPlan
    }

    public var name: String
    public var architecture: String
    public var variant: String
    public var classes: Int
    /// Height and width in pixels; the most tokens of a text.
    public var inputSize: Int
    /// Whether samples are texts, and how their tokens are spread over training samples.
    public var text: TextOverview?
    public var parameters: Int
    public var trainingSamples: Int
    public var validationSamples: Int
    public var ranks: Int
    public var output: String
    /// What became of the tensors of the weight file, in a line.
    public var weights: String
    public var phases: [PhaseOverview]
    /// The recipe in full.
    public var recipe: String

    init(_ coordinator: Coordinator, worldSize: Int) throws {
        let network = coordinator.network
        name = coordinator.recipe.name
        architecture = network.architecture.name
        variant = network.architecture.variant
        classes = network.architecture.classes
        inputSize = coordinator.input.shape.last ?? 0
        text = try coordinator.input.text.map { try TextOverview($0, coordinator.training) }
        parameters = network.store.parameterCount
        trainingSamples = coordinator.training.count
        validationSamples = coordinator.validation?.count ?? 0
        ranks = worldSize
        output = coordinator.recipe.outputDirectory
        weights = coordinator.loadReport?.summary ?? "newly initialised"
        recipe = coordinator.recipe.yaml
        phases = try coordinator.plan.phases.map { try Self.phase($0, coordinator, worldSize: worldSize) }
    }

    private static func phase(_ phase: Phase, _ coordinator: Coordinator, worldSize: Int) throws -> PhaseOverview {
        let store = coordinator.network.store
        let batch = phase.streams.first?.batch ?? 0
        let parts = phase.turns.map(\.accumulate).min() ?? 1
        // What is in memory at one time: a part of this rank's share.
        let perPart = (batch + worldSize * parts - 1) / (worldSize * parts)
        var trainable = 0
        var exchanged = 0
        var state = 0
        for turn in phase.turns {
            let (learning, _, numbers) = try turn.exchanged(in: coordinator.network, phase)
            let count = learning.reduce(0) { $0 + $1.count }
            trainable = max(trainable, count)
            exchanged = max(exchanged, BucketPlan.elements(of: learning.map(\.count), statisticsCount: numbers))
            state += count * turn.optimizer.stateBuffers
        }
        let activations = try coordinator.network.keptValues(
            for: [perPart] + coordinator.shape, recomputes: phase.recomputes)
        // Parameters twice: their own layout and the one a convolution wants.
        let values = 2 * store.parameterCount + state + exchanged + activations
        return PhaseOverview(
            name: phase.name, trainableParameters: trainable, bytesPerAllReduce: 4 * exchanged,
            steps: phase.totalSteps(samples: coordinator.training.count), batch: batch,
            memoryBytesPerRank: 4 * values, trunk: try coordinator.trunkPlan(phase, worldSize: worldSize))
    }
}

/// The texts of a run, in numbers.
public struct TextOverview: Encodable, Sendable {
    /// Whether samples are blocks of running text.
    public var isRunningText: Bool
    /// Whether samples are questions with windows of passages.
    public var areQuestions: Bool
    /// Of the tokenizer.
    public var vocabulary: Int
    /// Tokens of the first samples of the training data, at most 1,000: how many samples, their mean and longest length,
    /// and how many of them are cut.
    public var samplesCounted: Int
    public var meanTokens: Double
    public var longestTokens: Int
    public var samplesCut: Int

    private static let mostCounted = 1_000

    init(_ input: TextInput, _ dataset: any Dataset) throws {
        isRunningText = input.labels == .nextTokens || input.labels == .maskedTokens
        areQuestions = input.labels == .spans
        vocabulary = input.tokenizer.vocabularyCount
        var lengths: [Int] = []
        for index in 0..<min(dataset.count, Self.mostCounted) {
            switch try dataset.storedSample(at: index) {
            case .text(let text): lengths.append(try input.fullLength(text))
            case .words(let words, _): lengths.append(try input.fullLength(words))
            case .question(let question):
                let window = try input.windows(question.question, context: question.context)
                lengths.append(window[min(question.window, window.count - 1)].count)
            case .tokens(let tokens):
                lengths.append(min(tokens.count - input.blockOverlap + input.length - input.blockLength, input.length))
            case .encoded, .image: break
            }
        }
        samplesCounted = lengths.count
        meanTokens = Double(lengths.reduce(0) { $0 + min($1, input.length) }) / Double(max(1, lengths.count))
        longestTokens = lengths.max() ?? 0
        samplesCut = lengths.count { $0 > input.length }
    }
}

/// What a run came to: `summary.json`.
public struct RunSummary: Encodable, Sendable {
    public var ranks: Int
    public var threadsPerRank: Int
    /// Over all ranks, the last phase.
    public var imagesPerSecond: Double
    /// From the first line to the last.
    public var seconds: Double
    /// From the start of the process to the end of the first optimizer step; nil where there was none.
    public var secondsToFirstStep: Double?
    /// Rank 0's optimizer steps of this run, validation and saving not counted.
    public var trainingSeconds: Double
    /// Of those, rank 0's wait for batches that were not ready, also in percent, and for other ranks.
    public var dataSeconds: Double
    public var dataPercent: Double
    public var exchangeSeconds: Double
    /// Rank 0's time for computing parts of forward passes again, in all phases that do.
    public var recomputeSeconds: Double
    public var steps: Int
    /// False where a signal stopped the run.
    public var finished: Bool
    public var last: MetricsSummary?
    public var best: MetricsSummary?
    /// One entry per phase with frozen stages.
    public var trunks: [TrunkReport]
}

extension Coordinator {
    /// Writes an event to `log.jsonl`.
    func log(_ event: TrainingEvent) {
        switch event {
        case .phaseBegan(let phase, let learning, _, let bytes):
            directory?.append(PhaseLine(phase: phase.name, trainableParameters: learning, bytesPerAllReduce: bytes))
        case .firstStepEnded: break  // Logged with its time: see `log(secondsToFirstStep:)`.
        case .step(let step):
            directory?.append(
                StepLine(
                    phase: step.phase, epoch: step.epoch, step: step.totalSteps, loss: step.stepLoss,
                    meanLoss: step.loss, accuracy: step.accuracy, learningRate: step.learningRate,
                    imagesPerSecond: step.imagesPerSecond, dataSeconds: step.seconds.data,
                    dataPercent: step.seconds.dataPercent))
        case .epochEnded(let record):
            directory?.append(EpochLine(record: record))
        case .trunkFilling: break
        case .trunk(let report): directory?.append(TrunkLine(trunk: report))
        case .trunkFinished(let report): directory?.append(TrunkLine(event: "trunk-finished", trunk: report))
        case .filesSkipped(let source, let messages):
            directory?.append(SkippedLine(source: source, count: messages.count, messages: messages))
        }
    }

    /// Waits for the last checkpoint, then writes `weights.h5` (of a finished run) and `summary.json`.
    func finish(_ summary: RunSummary, _ isFinished: Bool) throws {
        try checkpoints?.wait()
        guard let directory else { return }
        if isFinished { try weights().write(to: directory.weights) }
        let text = String(decoding: try JSONEncoder.forScripts(.prettyPrinted).encode(summary), as: UTF8.self)
        try directory.write(text + "\n", to: "summary.json")
    }

    private struct PhaseLine: Encodable {
        var event = "phase"
        let phase: String
        let trainableParameters: Int
        let bytesPerAllReduce: Int
    }

    private struct StepLine: Encodable {
        var event = "step"
        let phase: String
        let epoch: Int
        let step: Int
        let loss, meanLoss: Double
        let accuracy: Double?
        let learningRate, imagesPerSecond, dataSeconds, dataPercent: Double
    }

    private struct TrunkLine: Encodable {
        var event = "trunk"
        let trunk: TrunkReport
    }

    private struct SkippedLine: Encodable {
        var event = "skipped"
        let source: String
        let count: Int
        let messages: [String]
    }

    private struct NoteLine: Encodable {
        var event = "note"
        let text: String
    }

    /// Writes a remark to `log.jsonl`.
    func log(note: String) { directory?.append(NoteLine(text: note)) }

    private struct FirstStepLine: Encodable {
        var event = "first_step"
        let secondsToFirstStep: Double
    }

    /// Writes to `log.jsonl` how long the start took.
    func log(secondsToFirstStep: Double) {
        directory?.append(FirstStepLine(secondsToFirstStep: secondsToFirstStep))
    }

    private struct EpochLine: Encodable {
        var event = "epoch"
        let record: EpochRecord
    }
}
