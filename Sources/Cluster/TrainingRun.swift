import Archives
import Collectives
import Datasets
import Foundation
import Layers
import Models
import Recipes
import Tensors
import Training

/// `graft train` from the first line to the last, as every rank plays it.
///
/// 1. Rank 0, as `Coordinator`, reads and checks recipe, data and weights; an agreement ends this, so that all
///    ranks end together where anything is wrong.
/// 2. The coordinator broadcasts the description of the run, then the weights (read once).
/// 3. Each rank opens its data: from the shared file system, or as samples the coordinator sends.
/// 4. All run `TrainingLoop`, gradients meeting in `GradientSynchronizer`.
/// 5. The coordinator waits for its last checkpoint and writes weights and summary.
public final class TrainingRun {
    /// What a run tells about itself; called on rank 0 only.
    public enum Event {
        case began(RunOverview)
        case training(TrainingEvent)
        case note(String)
        case ended(RunSummary)
    }

    private let collectives: Collectives
    private let options: RunOptions
    private let report: (Event) -> Void
    private let dealer: ShardPlan
    private let start = Date()

    private var coordinator: Coordinator?
    private var lastStep: StepReport?
    private var secondsToFirstStep: Double?
    private var trunks: [TrunkReport] = []

    public init(_ options: RunOptions, collectives: Collectives, report: @escaping (Event) -> Void) {
        self.options = options
        self.collectives = collectives
        self.report = report
        dealer = ShardPlan(collectives)
    }

    /// What a run would be, without running it; reads recipe, weights and the list of the data. Not collective.
    public static func overview(_ options: RunOptions, worldSize: Int) throws -> RunOverview {
        try RunOverview(Coordinator(options, worldSize: worldSize), worldSize: worldSize)
    }

    /// Runs. Collective.
    ///
    /// - Returns: `.done`, or `.stopped` where a signal asked to stop and the state was saved.
    /// - Throws: a `GraftError`; after an agreement the same on all ranks.
    public func run() throws -> ExitCode {
        SignalFlag.install()
        let description = try prepare()
        let recipe = try Recipe(yaml: description.recipe, file: description.recipePath)
        if let threads = recipe.run.threads { Threads.count = threads }
        ConvolutionAlgorithms.areExact = recipe.run.exactConvolutions
        let network = try buildNetwork(description, recipe)
        let data = try openData(description, recipe)
        let optimizers = try receiveOptimizers(description, recipe, network)
        if let coordinator {
            report(.began(try RunOverview(coordinator, worldSize: collectives.worldSize)))
            for note in [Self.machine] + coordinator.notes {
                coordinator.log(note: note)
                report(.note(note))
            }
        }
        ComputationHook.set { [collectives] in collectives.progress() }
        defer { ComputationHook.set(nil) }
        let loop = TrainingLoop(
            network: network, plan: recipe.plan(), data: ["train": data.training], validation: data.validation,
            collectives: collectives, settings: settings(recipe), environment: environment(data, recipe),
            progress: description.progress)
        let outcome = try loop.run(resuming: optimizers)
        try finish(outcome, loop)
        return outcome == .finished ? .done : .stopped
    }

    /// What computes: a wrong choice of kernels costs a factor of five, so a log must show it.
    private static var machine: String {
        let blas = OpenBLAS.description
        return "\(Threads.count) thread\(Threads.count == 1 ? "" : "s") per rank, matrix products by \(GEMM.library), "
            + "OpenBLAS kernels \(blas.kernel)"
    }

    // MARK: Before training

    private func prepare() throws -> RunDescription {
        var failure: Error?
        var description: RunDescription?
        do { try OpenBLAS.open() } catch { failure = error }
        if collectives.rank == 0, failure == nil {
            do {
                let coordinator = try Coordinator(options, worldSize: collectives.worldSize)
                try coordinator.openDirectory()
                description = try coordinator.description()
                self.coordinator = coordinator
            } catch {
                failure = error
            }
        }
        try collectives.agree(failure)
        return try collectives.broadcast(description, from: 0)
    }

    /// Builds the network on every rank and gives it rank 0's values.
    private func buildNetwork(_ description: RunDescription, _ recipe: Recipe) throws -> Network {
        let network =
            try coordinator?.network
            ?? description.network.architecture().network(seed: UInt64(max(0, recipe.run.seed)))
        guard collectives.worldSize > 1 else { return network }
        for parameter in network.store.parameters { try parameter.update(broadcast) }
        for buffer in network.store.buffers { try buffer.update(broadcast) }
        return network
    }

    private func broadcast(_ values: UnsafeMutableBufferPointer<Float>) throws {
        try collectives.broadcast(UnsafeMutableRawBufferPointer(values), from: 0)
    }

    /// Optimizer state of the phase under way: read by rank 0, broadcast to the others.
    private func receiveOptimizers(
        _ description: RunDescription, _ recipe: Recipe, _ network: Network
    ) throws -> [OptimizerState] {
        guard !description.optimizerSteps.isEmpty else { return [] }
        var states = coordinator?.resumed?.optimizers ?? []
        let header = try collectives.broadcast(
            coordinator.map { _ in
                states.map { state in
                    OptimizerState(
                        rule: state.rule, stepCount: state.stepCount,
                        entries: state.entries.map { .init(name: $0.name, path: $0.path, values: []) })
                }
            }, from: 0)
        let counts = try collectives.broadcast(
            coordinator.map { _ in states.map { $0.entries.map(\.values.count) } }, from: 0)
        if coordinator == nil { states = header }
        for turn in states.indices {
            for entry in states[turn].entries.indices {
                if coordinator == nil {
                    states[turn].entries[entry].values = [Float](repeating: 0, count: counts[turn][entry])
                }
                try states[turn].entries[entry].values.withUnsafeMutableBufferPointer { try broadcast($0) }
            }
        }
        return states
    }

    // MARK: Data

    private struct RunData {
        let training: BatchLoader
        let validation: BatchLoader?
        /// Where samples sent by the coordinator go; nil where this rank reads for itself.
        let receivedTraining: ReceivedSamples?
    }

    private func openData(_ description: RunDescription, _ recipe: Recipe) throws -> RunData {
        let scatters = recipe.data.sharding == .scatter && collectives.worldSize > 1
        var training: any Dataset = SampleLessData()
        var validation: (any Dataset)?
        var received: ReceivedSamples?
        var input: RecipeInput?
        var failure: Error?
        do {
            input = try coordinator?.input ?? description.input.received()
            if let coordinator {
                (training, validation) = (coordinator.training, coordinator.validation)
            } else if scatters {
                let samples = ReceivedSamples()
                (training, received) = (samples, samples)
            } else if let input {
                (training, validation) = try recipe.data.open(
                    input.kind, classNames: description.classNames, weights: recipe.model.weights ?? "")
                guard try training.fingerprint() == description.trainingFingerprint,
                    try validation?.fingerprint() == description.validationFingerprint
                else { throw RunError.dataDiffers(rank: collectives.rank, source: training.source) }
            }
        } catch {
            failure = error
        }
        try collectives.agree(failure)
        guard let input else { preconditionFailure("ranks agree that data is open, and nothing says what it is") }
        if scatters { validation = try scatterOnce(description, training, received, validation) }
        let policy = recipe.data.brokenFiles
        let seed = UInt64(max(0, recipe.run.seed))
        return RunData(
            training: BatchLoader(
                dataset: training, input: input.training(recipe.data), seed: seed, brokenFiles: policy),
            // What is masked in validation is the same in every run, and in `graft evaluate`.
            validation: validation.map {
                BatchLoader(dataset: $0, input: input.evaluation, brokenFiles: policy)
            },
            receivedTraining: received)
    }

    /// Sends every rank its part of the validation data, and the labels of the training data.
    private func scatterOnce(
        _ description: RunDescription, _ training: any Dataset, _ received: ReceivedSamples?,
        _ validation: (any Dataset)?
    ) throws -> (any Dataset)? {
        try dealer.deal(from: coordinator?.training, to: received) { _ in [] }
        guard description.validationFingerprint != nil else { return nil }
        let size = collectives.worldSize
        let target = coordinator == nil ? ReceivedSamples() : nil
        try dealer.deal(from: coordinator?.validation, to: target) { rank in
            let count = coordinator?.validation?.count ?? 0
            return Array(Sampler.slice(0..<count, rank: rank, worldSize: size))
        }
        return validation ?? target
    }

    // MARK: Training

    private func settings(_ recipe: Recipe) -> TrainingLoop.Settings {
        var settings = TrainingLoop.Settings()
        settings.seed = UInt64(max(0, recipe.run.seed))
        settings.saveEvery = TrainingLoop.Interval(recipe.run.saveEvery)
        settings.validateEvery = TrainingLoop.Interval(recipe.run.validateEvery)
        settings.logEvery = recipe.run.logEvery
        settings.prefetch = recipe.data.prefetch
        settings.dataThreads = max(1, Threads.count)
        settings.trunk = recipe.trunkSettings
        settings.trunk.ranksShareFiles = recipe.data.sharding == .shared || collectives.worldSize == 1
        let batch = recipe.phases.map(\.batch).max() ?? 32
        settings.validationBatch = max(1, min(64, (batch + collectives.worldSize - 1) / collectives.worldSize))
        return settings
    }

    private func environment(_ data: RunData, _ recipe: Recipe) -> TrainingLoop.Environment {
        let collectives = collectives
        var environment = TrainingLoop.Environment { learning, statistics in
            GradientSynchronizer(
                plan: BucketPlan(learning: learning, statisticsCount: statistics), collectives: collectives)
        }
        environment.isAskedToStop = { SignalFlag.isRaised }
        if recipe.data.sharding == .scatter, collectives.worldSize > 1 {
            environment.deal = { [dealer, coordinator] indices in
                try dealer.deal(from: coordinator?.training, to: data.receivedTraining, indices)
            }
        }
        guard let coordinator else { return environment }
        environment.save = { progress, optimizers, isBest in
            try coordinator.save(progress, optimizers(), isBest: isBest)
        }
        environment.failure = { coordinator.checkpoints?.failureSoFar() }
        environment.report = { [weak self] event in self?.note(event) }
        return environment
    }

    private func note(_ event: TrainingEvent) {
        switch event {
        case .step(let step): lastStep = step
        case .trunk(let report): trunks.append(report)
        case .trunkFinished(let report): trunks[trunks.count - 1] = report
        case .firstStepEnded:
            if let age = ProcessAge.seconds {
                secondsToFirstStep = age
                coordinator?.log(secondsToFirstStep: age)
            }
        case .phaseBegan, .epochEnded, .filesSkipped, .trunkFilling: break
        }
        coordinator?.log(event)
        report(.training(event))
    }

    private func finish(_ outcome: TrainingLoop.Outcome, _ loop: TrainingLoop) throws {
        var failure: Error?
        if let coordinator {
            do {
                let summary = RunSummary(
                    ranks: collectives.worldSize, threadsPerRank: Threads.count,
                    imagesPerSecond: lastStep?.imagesPerSecond ?? 0, seconds: Date().timeIntervalSince(start),
                    secondsToFirstStep: secondsToFirstStep, trainingSeconds: loop.seconds.steps,
                    dataSeconds: loop.seconds.data, dataPercent: loop.seconds.dataPercent,
                    exchangeSeconds: loop.seconds.exchange, recomputeSeconds: Recomputation.seconds,
                    steps: loop.progress.totalSteps,
                    finished: outcome == .finished, last: loop.progress.last, best: loop.progress.best,
                    trunks: trunks)
                try coordinator.finish(summary, outcome == .finished)
                report(.ended(summary))
            } catch {
                failure = error
            }
        }
        try collectives.agree(failure)
    }
}

extension TrainingLoop.Interval {
    init(_ interval: Recipe.Interval) {
        switch interval {
        case .epochs(let epochs): self = .epochs(epochs)
        case .steps(let steps): self = .steps(steps)
        case .minutes(let minutes): self = .minutes(minutes)
        }
    }
}

extension Collectives {
    /// Gives every rank the value that `root` has. Collective; other ranks pass nil.
    func broadcast<Value: Codable>(_ value: Value?, from root: Int) throws -> Value {
        if worldSize == 1, let value { return value }
        var bytes = try value.map { [UInt8](try JSONEncoder().encode($0)) } ?? []
        var count = [Double(bytes.count)]
        try count.withUnsafeMutableBytes { try broadcast($0, from: root) }
        if rank != root { bytes = [UInt8](repeating: 0, count: Int(count[0])) }
        try bytes.withUnsafeMutableBytes { try broadcast($0, from: root) }
        return try JSONDecoder().decode(Value.self, from: Data(bytes))
    }
}

/// Stands for data that could not be opened until the agreement has said so.
private final class SampleLessData: Dataset, @unchecked Sendable {
    let source = ""
    let classNames: [String] = []
    let labels: [Int32] = []
    func name(at index: Int) -> String { "" }
    func storedSample(at index: Int) throws -> StoredSample { throw DatasetError.sampleNotHeld(index: index) }
    func fingerprint() throws -> String { "" }
}
