import Collectives
import Datasets
import Foundation
import Layers
import Models
import Tensors

/// One phase under way.
final class PhaseRun {
    /// A turn made ready: what learns, how it is exchanged and changed.
    private struct ReadyTurn {
        let turn: Turn
        let objective: any Objective
        let learning: [Parameter]
        /// Running statistics that this turn moves.
        let statistics: [Layers.Buffer]
        let optimizer: Optimizer
        let exchange: any GradientExchange
        /// The exchange, where it takes the optimizer's steps itself.
        var immediate: ImmediateUpdate? { exchange as? ImmediateUpdate }
        /// What a rank gives to the all-reduce in every step, or would give if there were others.
        var bytesPerExchange: Int {
            4 * (learning.reduce(0) { $0 + ExchangeLayout.aligned($1.count) } + exchange.statistics.count)
        }
    }

    /// Slots that travel with the statistics in every exchange, each averaged over ranks.
    private enum Slot: Int, CaseIterable { case samples, loss, correct, skipped, stop, failure, save, validate }

    /// How many numbers travel beside gradients and running statistics.
    static let figureCount = Slot.allCases.count

    private let phase: Phase
    private unowned let loop: TrainingLoop
    private let turns: [ReadyTurn]
    private let trunk: PhaseTrunk
    private let stepsPerEpoch: Int
    private let totalSteps: Int
    private var pace = Pace()
    private var lastSave = Date()
    private var lastValidation = Date()
    /// What was wrong with the files that this rank left out in this epoch.
    private var skipped: [String] = []

    init(_ phase: Phase, of loop: TrainingLoop) throws {
        self.phase = phase
        self.loop = loop
        guard let pace = phase.streams.first, let paced = loop.data[pace.dataset] else {
            throw TrainingError.missingField(objective: phase.name, stream: "train", field: "data")
        }
        let samples = paced.dataset.count
        stepsPerEpoch = phase.stepsPerEpoch(samples: samples)
        totalSteps = phase.totalSteps(samples: samples)
        turns = try phase.turns.map { try Self.prepare($0, phase, loop) }
        trunk = try PhaseTrunk(phase, of: loop)
    }

    /// Epochs of this phase, the last one perhaps in part.
    var epochCount: Int { (totalSteps + stepsPerEpoch - 1) / max(1, stepsPerEpoch) }

    private static func prepare(_ turn: Turn, _ phase: Phase, _ loop: TrainingLoop) throws -> ReadyTurn {
        try turn.trainable.apply(to: loop.network)
        let (learning, statistics, numbers) = try turn.exchanged(in: loop.network, phase)
        let optimizer = try Optimizer(turn.optimizer, network: loop.network)
        let gathers = loop.collectives.worldSize > 1 || turn.clipNorm != nil || turn.accumulate > 1
        return ReadyTurn(
            turn: turn, objective: turn.objective.objective(), learning: learning, statistics: statistics,
            optimizer: optimizer,
            exchange: gathers
                ? loop.environment.makeExchange(learning, numbers)
                : ImmediateUpdate(optimizer, learning: learning, statisticsCount: numbers))
    }

    func restore(_ states: [OptimizerState]) throws {
        guard states.count == turns.count else {
            throw TrainingError.optimizerStateMismatch(
                entry: "turns", expected: "\(turns.count)", actual: "\(states.count)")
        }
        for (ready, state) in zip(turns, states) { try ready.optimizer.restore(state) }
    }

    // MARK: The steps

    func run() throws -> TrainingLoop.Outcome {
        if let first = turns.first {
            loop.environment.report(
                .phaseBegan(
                    phase, learning: first.learning.reduce(0) { $0 + $1.count },
                    parameters: loop.network.store.parameterCount,
                    bytesPerExchange: first.bytesPerExchange))
        }
        guard try trunk.prepare() else {
            try save(false)
            return .stopped
        }
        let begin = loop.progress.step
        defer { trunk.finish(epochs: (loop.progress.step - begin) / max(1, stepsPerEpoch)) }
        var streams = try openStreams()
        defer { for stream in streams { stream.prefetcher.cancel() } }
        if loop.progress.owesValidation, try finishStep(validates: true) { return .stopped }
        while loop.progress.step < totalSteps {
            let begin = DispatchTime.now().uptimeNanoseconds
            if streams.contains(where: { $0.end == loop.progress.step }) {
                streams = try openStreams()
                loop.seconds.data += Double(DispatchTime.now().uptimeNanoseconds - begin) * 1e-9
            }
            let figures = try step(streams)
            let seconds = Double(DispatchTime.now().uptimeNanoseconds - begin) * 1e-9
            pace.add(samples: figures.sampleCount, seconds: seconds)
            if loop.seconds.steps == 0 { loop.environment.report(.firstStepEnded) }
            loop.seconds.steps += seconds
            reportStep(figures)
            let validates = isDue(loop.settings.validateEvery, figures.validationIsDue) || isLastStep
            if try finishStep(validates: validates, saves: figures.saveIsDue, stops: figures.asksToStop) {
                return .stopped
            }
        }
        return .finished
    }

    private var isLastStep: Bool { loop.progress.step == totalSteps }
    private var isEpochEnd: Bool { loop.progress.step % stepsPerEpoch == 0 || isLastStep }

    /// What comes after a step: validation, the end of an epoch, saving.
    ///
    /// - Returns: whether to stop; the state is saved then.
    private func finishStep(validates: Bool, saves: Bool = false, stops: Bool = false) throws -> Bool {
        var validation: (summary: MetricsSummary, isBest: Bool)?
        // Stopping takes precedence: a scheduler does not wait for a long validation.
        loop.progress.owesValidation = validates && stops && loop.validation != nil
        if validates, !stops, let loader = loop.validation {
            validation = try validate(on: loader)
            loop.progress.owesValidation = validation == nil
        }
        if loop.progress.owesValidation {
            try save(false)
            return true
        }
        if isEpochEnd { try endEpoch(validation?.summary) }
        let isBest = validation?.isBest ?? false
        if stops || isBest || isDue(loop.settings.saveEvery, saves) || isLastStep { try save(isBest) }
        return stops
    }

    /// One optimizer step: see `TrainingLoop`.
    private func step(_ streams: [OpenStream]) throws -> StepFigures {
        let progress = loop.progress
        let ready = turns[progress.step % turns.count]
        let learning = Set(ready.learning.map(\.path))
        for parameter in loop.network.store.parameters { parameter.isTrainable = learning.contains(parameter.path) }

        var batches = try nextBatches(streams)
        let ownCount = Double(phase.streams.first.flatMap { batches[$0.name]?.count } ?? 0)
        let lengths = TextLengths(batches, loop.network.architecture, ranks: loop.collectives.worldSize)
        var denominators = try sumOverRanks(
            ready.objective.denominators(of: batches.mapValues(\.fields)) + [ownCount] + lengths.marks)
        batches = lengths.padded(batches, marks: denominators.suffix(lengths.marks.count))
        denominators.removeLast(lengths.marks.count)
        let count = denominators.removeLast()
        // Where every file of a batch was left out, all ranks' statistics stay and count alike.
        let share = count > 0 ? ownCount / count : 1 / Double(loop.collectives.worldSize)
        var context = ForwardContext(
            isTraining: true, seed: loop.settings.seed, epoch: progress.epochOffset + progress.step / stepsPerEpoch,
            collectives: loop.collectives, batchNorm: phase.batchNorm, recomputes: phase.recomputes)

        let parts = Self.split(batches, into: ready.turn.accumulate)
        let skipped = batches.values.flatMap(\.skipped)
        self.skipped += skipped
        var local = TrainingFigures(skipped: Double(skipped.count))
        ready.immediate?.learningRate = learningRate(of: ready.turn, step: progress.step)
        ready.exchange.beginStep(passes: parts.count)
        for (index, part) in parts.enumerated() {
            context.position = phase.streams.first.flatMap { part[$0.name]?.position } ?? 0
            let value = try ready.objective.evaluate(part.mapValues(\.fields), through: forward(context))
            local.add(TrainingFigures(value))
            let isLast = index == parts.count - 1
            if isLast { writeStatistics(local, share: share, to: ready) }
            try value.loss(denominators: denominators).backward(into: ready.exchange)
            if !isLast { ready.exchange.endPass() }
        }
        try ready.exchange.finishStep()
        loop.seconds.exchange += ready.exchange.waitedSeconds
        var figures = readStatistics(from: ready)
        figures.sampleCount = count
        try requireHealth(figures)
        try update(ready)
        advance(by: figures.figures)
        return figures
    }

    /// The network as this phase computes it.
    private func forward(_ context: ForwardContext) -> ForwardPass {
        let (network, trunk) = (loop.network, trunk)
        return ForwardPass {
            try trunk($0, context)
        } crossEntropy: { fields, labels, smoothing in
            let classes = network.architecture.classes
            for label in labels.indices where label != Batch.ignoredLabel && !(0..<classes).contains(Int(label)) {
                // Those of spans are positions.
                if network.architecture.output == .spans { break }
                throw TrainingError.labelOutOfRange(label: Int(label), classes: classes)
            }
            return try trunk.crossEntropy(fields, labels: labels, labelSmoothing: smoothing, context)
        }
    }

    private func learningRate(of turn: Turn, step: Int) -> Double {
        turn.optimizer.learningRate
            * turn.schedule.factor(step: step, stepsPerEpoch: stepsPerEpoch, totalSteps: totalSteps)
    }

    private func update(_ ready: ReadyTurn) throws {
        guard ready.immediate == nil else { return }
        let learningRate = learningRate(of: ready.turn, step: loop.progress.step)
        var scale = 1.0
        if let maximum = ready.turn.clipNorm {
            let norm = GradientClipping.globalNorm(of: [UnsafeBufferPointer(ready.exchange.allGradients)])
            guard norm.isFinite else {
                // Sums are the same on all ranks, so all of them get here.
                return try loop.collectives.agree(
                    TrainingError.divergedGradient(phase: phase.name, step: loop.progress.step + 1))
            }
            scale = GradientClipping.scale(norm: norm, maximum: maximum)
        }
        ready.optimizer.beginStep()
        for parameter in ready.learning {
            guard let gradient = ready.exchange.gradient(of: parameter.id) else { continue }
            ready.optimizer.update(
                parameter, gradient: UnsafeBufferPointer(gradient),
                learningRate: learningRate, gradientScale: scale)
        }
    }

    private func advance(by figures: TrainingFigures) {
        loop.progress.step += 1
        loop.progress.totalSteps += 1
        loop.progress.epochFigures.add(figures)
    }

    // MARK: Data

    private struct OpenStream {
        let name: String
        /// The step before which it must be opened again.
        let end: Int
        let prefetcher: Prefetcher
    }

    /// Starts reading every stream at the step the phase stands at: to the end of the phase, or of the epoch
    /// where samples are dealt out. The first stream paces the epochs; the others go round at their own.
    private func openStreams() throws -> [OpenStream] {
        let begin = loop.progress.step
        let epochEnd = (begin / max(1, stepsPerEpoch) + 1) * stepsPerEpoch
        let end = loop.environment.deal == nil ? totalSteps : min(epochEnd, totalSteps)
        return try phase.streams.map { stream in
            guard let loader = loop.data[stream.dataset] else {
                throw TrainingError.missingField(objective: phase.name, stream: stream.name, field: "data")
            }
            let sampler = Sampler(count: loader.dataset.count, seed: loop.settings.seed, shuffles: true)
            try sampler.validate(batch: stream.batch, worldSize: loop.collectives.worldSize)
            let steps = sampler.stepCount(batch: stream.batch)
            let (offset, size) = (loop.progress.epochOffset, loop.collectives.worldSize)
            func requests(_ rank: Int) -> LazyRequests {
                (begin..<max(end, begin)).lazy.compactMap { step in
                    sampler.requests(
                        epoch: offset + step / steps, batch: stream.batch, firstStep: step % steps, rank: rank,
                        worldSize: size
                    ).first { _ in true }
                }
            }
            try loop.environment.deal? { rank in Array(Set(requests(rank).flatMap(\.indices))).sorted() }
            return OpenStream(
                name: stream.name, end: end,
                prefetcher: Prefetcher(
                    trunk.source(loader, of: stream.dataset), requests: requests(loop.collectives.rank),
                    threads: loop.settings.dataThreads, depth: loop.settings.prefetch))
        }
    }

    private typealias LazyRequests = LazyMapSequence<
        LazyFilterSequence<LazyMapSequence<Range<Int>, BatchRequest?>>, BatchRequest
    >

    private func nextBatches(_ streams: [OpenStream]) throws -> [String: Batch] {
        var batches: [String: Batch] = [:]
        for stream in streams {
            let waited = stream.prefetcher.secondsWaiting
            batches[stream.name] = try stream.prefetcher.next()
            loop.seconds.data += stream.prefetcher.secondsWaiting - waited
        }
        return batches
    }

    /// Parts of a batch that are computed one after the other; a part may be empty.
    private static func split(_ batches: [String: Batch], into count: Int) -> [[String: Batch]] {
        guard count > 1 else { return [batches] }
        return (0..<count).map { part in
            batches.mapValues { batch in
                let range = Sampler.slice(0..<batch.count, rank: part, worldSize: count)
                return Batch(
                    fields: batch.fields.mapValues { $0.sliced(axis: 0, range) }, count: range.count,
                    epoch: batch.epoch, step: batch.step, position: batch.position + range.lowerBound,
                    indices: Array(batch.indices[range]))
            }
        }
    }

    // MARK: What travels beside the gradients

    private struct StepFigures {
        var figures: TrainingFigures
        /// Samples of the global batch.
        var sampleCount = 0.0
        var asksToStop: Bool
        var hasFailure: Bool
        /// By rank 0's clock, where the recipe counts in minutes.
        var saveIsDue: Bool
        var validationIsDue: Bool
    }

    private func sumOverRanks(_ values: [Double]) throws -> [Double] {
        var values = values
        try values.withUnsafeMutableBufferPointer { try loop.collectives.allReduceSum($0) }
        return values
    }

    /// - Parameter share: this rank's part of the samples. Running statistics are averaged with it as weight, so
    ///   that a rank with few or no samples of a last batch does not count like the others.
    private func writeStatistics(_ local: TrainingFigures, share: Double, to ready: ReadyTurn) {
        let room = ready.exchange.statistics
        let weight = Float(share * Double(loop.collectives.worldSize))
        var next = 0
        for buffer in ready.statistics {
            buffer.value.withScalars { values in
                for value in values {
                    room[next] = value * weight
                    next += 1
                }
            }
        }
        let isFirst = loop.collectives.rank == 0
        let slots: [Slot: Double] = [
            .samples: local.samples, .loss: local.lossSum, .correct: local.correct, .skipped: local.skipped,
            .stop: loop.environment.isAskedToStop() ? 1 : 0, .failure: loop.environment.failure() == nil ? 0 : 1,
            .save: isFirst && isDueByClock(loop.settings.saveEvery, since: lastSave) ? 1 : 0,
            .validate: isFirst && isDueByClock(loop.settings.validateEvery, since: lastValidation) ? 1 : 0,
        ]
        for slot in Slot.allCases { room[next + slot.rawValue] = Float(slots[slot] ?? 0) }
    }

    private func readStatistics(from ready: ReadyTurn) -> StepFigures {
        let room = ready.exchange.statistics
        var next = 0
        for buffer in ready.statistics {
            buffer.update { values in
                for index in values.indices {
                    values[index] = room[next]
                    next += 1
                }
            }
        }
        let ranks = Double(loop.collectives.worldSize)
        func sum(_ slot: Slot) -> Double { Double(room[next + slot.rawValue]) * ranks }
        return StepFigures(
            figures: TrainingFigures(
                samples: sum(.samples).rounded(), lossSum: sum(.loss), correct: sum(.correct).rounded(),
                skipped: sum(.skipped).rounded()),
            asksToStop: sum(.stop) > 0.5, hasFailure: sum(.failure) > 0.5, saveIsDue: sum(.save) > 0.5,
            validationIsDue: sum(.validate) > 0.5)
    }

    /// Throws on every rank what is wrong on any.
    private func requireHealth(_ figures: StepFigures) throws {
        let loss = figures.figures.loss
        if !loss.isFinite {
            try loop.collectives.agree(
                TrainingError.divergedLoss(value: loss, phase: phase.name, step: loop.progress.step + 1))
        }
        if figures.hasFailure { try loop.collectives.agree(loop.environment.failure()) }
    }

    // MARK: Step boundaries

    private func isDue(_ interval: TrainingLoop.Interval, _ clockSaysSo: Bool) -> Bool {
        switch interval {
        case .epochs(let epochs):
            return loop.progress.step % (max(1, epochs) * stepsPerEpoch) == 0
        case .steps(let steps): return loop.progress.totalSteps % max(1, steps) == 0
        case .minutes: return clockSaysSo
        }
    }

    private func isDueByClock(_ interval: TrainingLoop.Interval, since last: Date) -> Bool {
        guard case .minutes(let minutes) = interval else { return false }
        return Date().timeIntervalSince(last) >= minutes * 60
    }

    /// - Returns: nil where a signal asks to stop before all samples were seen.
    private func validate(on loader: BatchLoader) throws -> (summary: MetricsSummary, isBest: Bool)? {
        let evaluation = try evaluate(
            loop.network, on: trunk.validationSource(loader), batch: loop.settings.validationBatch,
            collectives: loop.collectives, threads: loop.settings.dataThreads,
            isAskedToStop: loop.environment.isAskedToStop
        ) { [self] in try trunk($0.fields, $1).logits }
        guard !evaluation.isStopped else { return nil }
        reportSkipped(evaluation.skipped, of: loader)
        let summary = evaluation.metrics.summary
        lastValidation = Date()
        loop.progress.last = summary
        let isBest = loop.progress.best.map { summary.isBetter(than: $0) } ?? true
        if isBest {
            loop.progress.best = summary
            loop.progress.bestStep = loop.progress.totalSteps
        }
        return (summary, isBest)
    }

    private func reportSkipped(_ messages: [String], of loader: BatchLoader) {
        guard !messages.isEmpty else { return }
        loop.environment.report(.filesSkipped(source: loader.dataset.source, messages: messages))
    }

    private func endEpoch(_ validation: MetricsSummary?) throws {
        // The sum is the same on all ranks, so all of them get here.
        if loop.progress.epochFigures.skipped > 0, let stream = phase.streams.first,
            let loader = loop.data[stream.dataset]
        {
            reportSkipped(try loop.collectives.allGather(skipped).flatMap { $0 }, of: loader)
            skipped = []
        }
        let record = EpochRecord(
            phase: phase.name, epoch: (loop.progress.step + stepsPerEpoch - 1) / stepsPerEpoch,
            totalSteps: loop.progress.totalSteps, trainingLoss: loop.progress.epochFigures.loss,
            trainingAccuracy: epochAccuracy,
            skippedFiles: Int(loop.progress.epochFigures.skipped), validation: validation)
        loop.progress.history.append(record)
        loop.progress.epochFigures = TrainingFigures()
        loop.environment.report(.epochEnded(record))
    }

    private var epochAccuracy: Double? {
        loop.network.architecture.output == .classes ? loop.progress.epochFigures.accuracy : nil
    }

    private func save(_ isBest: Bool) throws {
        lastSave = Date()
        try loop.environment.save(loop.progress, { turns.map(\.optimizer.state) }, isBest)
    }

    private func reportStep(_ figures: StepFigures) {
        let progress = loop.progress
        guard isEpochEnd || progress.totalSteps % max(1, loop.settings.logEvery) == 0 else { return }
        let ready = turns[(progress.step - 1) % turns.count]
        let stepInEpoch = (progress.step - 1) % stepsPerEpoch + 1
        let rate = pace.samplesPerSecond
        let samplesLeft = Double(totalSteps - progress.step) * Double(phase.streams.first?.batch ?? 0)
        loop.environment.report(
            .step(
                StepReport(
                    phase: phase.name, epoch: (progress.step - 1) / stepsPerEpoch + 1, epochs: epochCount,
                    step: stepInEpoch, stepsPerEpoch: stepsPerEpoch, totalSteps: progress.totalSteps,
                    loss: progress.epochFigures.loss, accuracy: epochAccuracy,
                    stepLoss: figures.figures.loss,
                    learningRate: learningRate(of: ready.turn, step: progress.step - 1),
                    imagesPerSecond: rate, secondsLeft: rate > 0 ? samplesLeft / rate : 0,
                    seconds: loop.seconds)))
    }
}

/// Samples per second of steps, validation and saving not counted; nor the first step, in which everything is
/// prepared, as soon as there is a second.
private struct Pace {
    private var samples = 0.0
    private var seconds = 0.0
    private var steps = 0

    mutating func add(samples more: Double, seconds moreSeconds: Double) {
        steps += 1
        if steps == 2 { (samples, seconds) = (0, 0) }
        samples += more
        seconds += moreSeconds
    }

    var samplesPerSecond: Double { seconds > 0 ? samples / seconds : 0 }
}
