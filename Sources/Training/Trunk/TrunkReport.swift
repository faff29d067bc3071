import Models

/// What became of the frozen part of the network in one phase: printed, logged and in `summary.json`.
public struct TrunkReport: Codable, Equatable, Sendable {
    public var phase: String
    public var path: TrunkPlan.Path
    /// How many stages are frozen, and the last one's name.
    public var stages: Int
    public var lastStage: String
    /// What they are computed with, why not with what was asked for, and of int8 how far its outputs for the images it
    /// was calibrated with are from float32's: the root of the summed squares of differences over that of the outputs.
    public var precision: FrozenTrunk.Precision
    public var precisionFallback: String?
    public var precisionError: Double?
    /// Bytes of outputs that this phase keeps on disk, and where; nothing where it keeps none.
    public var cacheBytes = 0
    public var folder: String?
    /// Why nothing is kept.
    public var reason: String?
    /// Samples (of training in all variants, and of validation) whose outputs were there, and those computed now.
    public var reusedSamples = 0
    public var computedSamples = 0
    public var secondsToFill = 0.0
    /// What was wrong with damaged files, which have been computed anew.
    public var damagedFiles: [String] = []
    /// Epochs that this process trained without running the trunk.
    public var epochsFromCache = 0
    /// An estimate: what the trunk would have taken for the samples read, less what it took to fill the cache.
    public var secondsSaved = 0.0
    /// Of one rank, decoding included.
    var secondsPerSample = 0.0

    init(_ phase: String, _ plan: TrunkPlan) {
        self.phase = phase
        (path, stages, lastStage) = (plan.path, plan.stages, plan.lastStage)
        (precision, precisionFallback) = (plan.precision, plan.precisionFallback)
        fallBack(to: plan)
    }

    mutating func fallBack(to plan: TrunkPlan) {
        path = plan.path
        cacheBytes = plan.path == .cached ? plan.cacheBytes : 0
        (folder, reason) = (plan.folder, plan.reason)
    }

    mutating func add(_ outcome: FeatureFiller.Outcome) {
        reusedSamples += outcome.reusedSamples
        computedSamples += outcome.computedSamples
        secondsToFill += outcome.seconds
        damagedFiles += outcome.damaged
    }
}
