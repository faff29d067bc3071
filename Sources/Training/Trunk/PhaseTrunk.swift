import Collectives
import Datasets
import Foundation
import Layers
import Models
import Tensors

/// The frozen part of the network in one phase: where batches come from, and how they become logits.
///
/// Batches hold images or tokens where the trunk runs, and its outputs where those are cached; `callAsFunction` takes
/// either. The trunk runs as in evaluation, compiled or not: dropout and batches' statistics are for layers that learn.
final class PhaseTrunk {
    private let phase: Phase
    private unowned let loop: TrainingLoop
    private(set) var plan: TrunkPlan
    private var cached: [String: FeatureSource] = [:]
    private var cachedValidation: FeatureSource?
    private var compiled: FrozenTrunk?
    private var report: TrunkReport
    /// Samples that were read from the cache in place of going through the trunk.
    private var samplesRead = 0

    init(_ phase: Phase, of loop: TrainingLoop) throws {
        (self.phase, self.loop) = (phase, loop)
        var plan: TrunkPlan?
        var failure: Error?
        if loop.collectives.rank == 0 {
            do { plan = try Self.plan(phase, loop) } catch { failure = error }
        }
        try loop.collectives.agree(failure)
        guard let decided = try loop.collectives.allGather(plan).first ?? nil else {
            preconditionFailure("rank 0 has neither a plan nor an error")
        }
        (self.plan, report) = (decided, TrunkReport(phase.name, decided))
        loop.progress.trunk = decided.record
    }

    private static func plan(_ phase: Phase, _ loop: TrainingLoop) throws -> TrunkPlan {
        let settings = loop.settings.trunk
        let plan = try TrunkPlan(
            phase, network: loop.network, settings: settings, data: loop.data, validation: loop.validation,
            firstEpoch: loop.progress.epochOffset)
        guard loop.progress.step > 0, let begun = loop.progress.trunk else { return plan }
        var isRequired = false
        if case .required = settings.cache { isRequired = true }
        return try plan.continuing(begun, phase.name, isRequired: isRequired)
    }

    // MARK: Before the first step

    /// Compiles the trunk, or completes the cache of its outputs. Collective.
    ///
    /// - Returns: false where a signal asks to stop.
    /// - Throws: what data and network throw, on every rank.
    func prepare() throws -> Bool {
        guard plan.path != .whole else { return true }
        if plan.path == .cached, try !fill() { return false }
        if plan.path == .compiled { _ = try trunk() } else { compiled = nil }
        loop.environment.report(.trunk(report))
        return true
    }

    private func fill() throws -> Bool {
        let names = Set(phase.streams.map(\.dataset)).sorted().filter { loop.data[$0] != nil }
        let learnt = names.compactMap { loop.data[$0] }
        let loaders = learnt + [loop.validation].compactMap { $0 }
        let variants = learnt.map(plan.variantsRead(of:)) + [[0]]
        let caches = try zip(zip(loaders, variants), keys(of: loaders)).map { use, key in
            plan.cache(of: use.0, key: key, variants: use.1, in: plan.folder ?? "")
        }
        for (cache, loader) in zip(caches, loaders) {
            let outcome = try FeatureFiller(
                cache: cache, loader: loader, collectives: loop.collectives, threads: loop.settings.dataThreads,
                isAskedToStop: loop.environment.isAskedToStop, trunk: trunk
            ) { [loop] in loop.environment.report(.trunkFilling(computed: $0, of: $1)) }.fill()
            report.add(outcome)
            if outcome.isStopped { return false }
            if let problem = outcome.unwritable { return try goOnWithout(problem) }
        }
        try open(caches, names)
        report.secondsPerSample = cached.values.first?.secondsPerSample ?? 0
        return true
    }

    /// The keys of the caches, as rank 0 finds them.
    private func keys(of loaders: [BatchLoader]) throws -> [String] {
        var keys: [String] = []
        var failure: Error?
        if loop.collectives.rank == 0 {
            do {
                keys = try loaders.map { try FeatureCache.key(loop.network, plan, $0, calibrating: calibrating) }
            } catch {
                failure = error
            }
        }
        try loop.collectives.agree(failure)
        return try loop.collectives.allGather(keys)[0]
    }

    /// Opens the files on every rank.
    private func open(_ caches: [FeatureCache], _ names: [String]) throws {
        var failure: Error?
        do {
            for (name, cache) in zip(names, caches) {
                guard let loader = loop.data[name] else { continue }
                let variants = loader.isRandom ? plan.variants : 1
                cached[name] = try FeatureSource(loader, cache, variantCount: variants)
            }
            if let loader = loop.validation, let cache = caches.last {
                cachedValidation = try FeatureSource(loader, cache, variantCount: 1)
            }
        } catch {
            failure = error
        }
        try loop.collectives.agree(failure)
    }

    /// The disk took nothing: an error where the cache is required, else the trunk runs for every batch.
    private func goOnWithout(_ problem: String) throws -> Bool {
        let (folder, hasBegun) = (plan.folder ?? "", loop.progress.step > 0)
        if case .required = loop.settings.trunk.cache {
            throw TrunkError.cannotCache(phase: phase.name, folder, why: problem)
        }
        var without = plan
        (without.path, without.folder, without.reason) = (.compiled, nil, problem)
        if hasBegun, let begun = loop.progress.trunk {
            throw TrunkError.changed(phase: phase.name, was: begun, now: without.record, reason: problem)
        }
        plan = without
        report.fallBack(to: plan)
        loop.progress.trunk = plan.record
        return true
    }

    private func trunk() throws -> (Batch) throws -> Tensor {
        let trunk = try compiled ?? compile()
        compiled = trunk
        return { try trunk($0.input, segments: $0["segments"]) }
    }

    private func compile() throws -> FrozenTrunk {
        let trunk = try FrozenTrunk(loop.network, stages: 0..<plan.stages, precision: plan.precision)
        guard plan.precision == .int8, let calibrating else { return trunk }
        report.precisionError = try Calibration(calibrating, sizesAgree: !plan.outputShape.isEmpty)
            .calibrate(trunk, of: loop.network)
        return trunk
    }

    /// The data that an int8 trunk is calibrated with: that of the stream that paces the phase.
    private var calibrating: BatchLoader? { phase.streams.first.flatMap { loop.data[$0.dataset] } }

    // MARK: In every step

    /// Where batches of a data set come from.
    func source(_ loader: BatchLoader, of dataset: String) -> any BatchSource { cached[dataset] ?? loader }

    /// Where batches for validation come from.
    func validationSource(_ loader: BatchLoader) -> any BatchSource { cachedValidation ?? loader }

    /// What the sources give, as logits N×classes, of what predicts tokens N×T×vocabulary; in training with those of an
    /// auxiliary classifier where the stages before it are not of the trunk.
    func callAsFunction(_ fields: [String: Tensor], _ context: ForwardContext) throws -> NetworkOutput {
        let (features, context) = try features(of: fields, context)
        return try loop.network.output(features, context, startingAt: plan.stages)
    }

    /// The cross-entropy of what the sources give, summed over labels other than `Batch.ignoredLabel`.
    func crossEntropy(
        _ fields: [String: Tensor], labels: Tensor, labelSmoothing: Float, _ context: ForwardContext
    ) throws -> Tensor {
        let (features, context) = try features(of: fields, context)
        return try loop.network.crossEntropy(
            features, labels: labels, context, labelSmoothing: labelSmoothing, ignoreIndex: Batch.ignoredLabel,
            startingAt: plan.stages)
    }

    /// What goes in at the first stage behind the trunk, and the context for the stages from there on.
    private func features(
        of fields: [String: Tensor], _ context: ForwardContext
    ) throws -> (Tensor, ForwardContext) {
        let network = loop.network
        var context = context.reading(fields)
        guard plan.stages > 0 else { return (try network.input(of: fields), context) }
        context.keyMask = fields["tokens"].flatMap { network.keyMask(of: $0) }
        if let features = fields["features"] {
            samplesRead += features.shape[0]
            return (features, context)
        }
        let input = try network.input(of: fields)
        if let compiled, input.shape[0] > 0 {
            return (try withoutTape { try compiled(input, segments: context.segments) }, context)
        }
        var evaluation = context
        evaluation.isTraining = false
        return (try withoutTape { try network.run(input, stages: 0..<plan.stages, evaluation) }, context)
    }

    // MARK: After the last step

    /// Reports what the cache has saved in `epochs` epochs.
    func finish(epochs: Int) {
        guard plan.path == .cached, epochs > 0 else { return }
        report.epochsFromCache = epochs
        // Ranks see about as many samples each; the computed ones were shared too.
        let computed = Double(report.computedSamples) / Double(loop.collectives.worldSize)
        report.secondsSaved = report.secondsPerSample * (Double(samplesRead) - computed)
        loop.environment.report(.trunkFinished(report))
    }
}
