import Collectives
import Datasets
import Foundation
import Models

/// How a phase computes the part of the network that it leaves frozen: decided by rank 0 before the phase, printed by
/// `--dry-run`.
public struct TrunkPlan: Codable, Equatable, Sendable {
    public enum Path: String, Codable, Sendable {
        /// No stage is frozen, or the recipe says so: nothing is compiled.
        case whole
        /// The frozen stages are compiled and run for every batch.
        case compiled
        /// Their outputs are kept on disk and read from there.
        case cached
    }

    public var path: Path
    /// How many stages of the network are frozen, from the first on.
    public var stages: Int
    /// Their last one's name (`layer3`); empty where there is none.
    public var lastStage: String
    /// What they are computed with, and why not with what was asked for.
    public var precision: FrozenTrunk.Precision
    public var precisionFallback: String?
    /// What they give for one sample, or for each of its tokens where `longestText` says how many there may be; empty
    /// where images come in several sizes.
    public var outputShape: [Int]
    public var longestText: Int?
    /// How many variants of each training sample there are; epoch e reads variant e mod that.
    public var variants: Int
    /// Those that the epochs of this phase read.
    public var variantsRead: [Int]
    /// The bytes on disk that this phase takes, or would take where only their number or use keeps it from that.
    public var cacheBytes: Int
    /// Where they lie; nil where nothing is kept.
    public var folder: String?
    /// Why nothing is kept; nil where it is.
    public var reason: String?

    /// - Parameters:
    ///   - data: the loaders of the phase's streams, by data set.
    ///   - firstEpoch: the number that the first epoch of the phase has in the run.
    /// - Throws: `TrunkError` where a cache is required that cannot be or does not fit; what the network throws.
    public init(
        _ phase: Phase, network: Network, settings: TrunkSettings, data: [String: BatchLoader],
        validation: BatchLoader?, firstEpoch: Int
    ) throws {
        (path, variants, variantsRead, cacheBytes, lastStage, outputShape) = (.whole, 1, [0], 0, "", [])
        precision = .float32
        stages = try phase.frozenStages(of: network)
        guard stages > 0, settings.compiles else { return }
        path = .compiled
        lastStage = network.stages[stages - 1].name
        precisionFallback = FrozenTrunk.fallback(for: settings.precision, network.architecture)
        precision = precisionFallback == nil ? settings.precision : .float32
        if precision == .int8, !settings.ranksShareFiles { throw TrunkError.cannotCalibrate(phase: phase.name) }
        let loaders = Set(phase.streams.map(\.dataset)).sorted().compactMap { data[$0] }
        let validations = [validation].compactMap { $0 }
        (outputShape, longestText) = try Self.outputShape(of: network, stages, for: loaders + validations)
        let isRandom = loaders.contains { $0.isRandom }
        if isRandom { variants = settings.variants ?? 1 }
        let epochs = loaders.first.map { phase.epochs(samples: $0.dataset.count) } ?? 0
        variantsRead = Set((firstEpoch..<firstEpoch + min(epochs, variants)).map { $0 % variants }).sorted()
        guard let folder = settings.cache.folder else {
            reason = "trunk.cache is off"
            return
        }
        var impossible: String?
        if isRandom, settings.variants == nil {
            let anew =
                longestText == nil
                ? "augmentation makes every image new in every epoch" : "every epoch cuts or masks running text anew"
            impossible = anew + " (trunk.variants: K keeps K of each)"
        } else if outputShape.isEmpty {
            impossible = "the images come in several sizes"
        } else if !settings.ranksShareFiles {
            impossible = "the ranks share no files (data.sharding: scatter)"
        }
        let draft = self
        let uses: [(loader: BatchLoader, variants: [Int])] =
            loaders.map { ($0, draft.variantsRead(of: $0)) } + validations.map { ($0, [0]) }
        if impossible == nil {
            cacheBytes = try uses.reduce(0) { try $0 + bytes(of: $1.loader, variants: $1.variants.count) }
        }
        try decide(phase.name, folder, settings, impossible: impossible, isReadTwice: epochs > variants) {
            try uses.reduce(0) { sum, use in
                let key = try FeatureCache.key(network, draft, use.loader, calibrating: loaders.first)
                return sum + draft.cache(of: use.loader, key: key, variants: use.variants, in: folder).bytesThere
            }
        }
    }

    /// The variants of a training data set's samples that the phase reads. Validation always sees variant 0.
    func variantsRead(of loader: BatchLoader) -> [Int] { loader.isRandom ? variantsRead : [0] }

    /// The cache of one data set's outputs.
    func cache(of loader: BatchLoader, key: String, variants: [Int], in folder: String) -> FeatureCache {
        FeatureCache(
            in: folder, key: key, count: loader.dataset.count, shape: outputShape, longestText: longestText,
            variants: variants)
    }

    /// What the outputs for one data set take on disk.
    private func bytes(of loader: BatchLoader, variants: Int) throws -> Int {
        let rows = longestText == nil ? loader.dataset.count : try loader.tokenCount()
        return 4 * outputShape.reduce(1, *) * rows * variants
    }

    private mutating func decide(
        _ phase: String, _ folder: String, _ settings: TrunkSettings, impossible: String?, isReadTwice: Bool,
        bytesThere: () throws -> Int
    ) throws {
        func refuse(_ why: String, _ error: TrunkError) throws {
            if case .required = settings.cache { throw error }
            reason = why
        }
        if let impossible { return try refuse(impossible, .cannotCache(phase: phase, folder, why: impossible)) }
        if case .automatic = settings.cache, !isReadTwice {
            reason = "no sample is read twice in this phase"
            return
        }
        if cacheBytes > settings.maximumBytes {
            let error = TrunkError.tooLarge(phase: phase, folder, bytes: cacheBytes, limit: settings.maximumBytes)
            return try refuse(error.problem, error)
        }
        let room = FeatureCache.freeBytes(at: folder)
        if cacheBytes > room, cacheBytes > room + (try bytesThere()) {
            let error = TrunkError.diskTooSmall(phase: phase, folder, bytes: cacheBytes, room: room)
            return try refuse(error.problem, error)
        }
        (path, self.folder) = (.cached, folder)
    }

    /// What the stages give for one sample of any of the loaders, or for each token of texts of at most `longest`; empty
    /// where that is not known or differs.
    private static func outputShape(
        of network: Network, _ stages: Int, for loaders: [BatchLoader]
    ) throws -> (shape: [Int], longest: Int?) {
        func output(_ input: [Int]) throws -> [Int] {
            Array(try network.outputShape(for: input, ofStage: stages - 1).dropFirst())
        }
        var found: (shape: [Int], longest: Int?)?
        for loader in loaders {
            let next: (shape: [Int], longest: Int?)
            switch loader.input {
            case .images(let transform):
                guard let size = transform.outputSize else { return ([], nil) }
                next = (try output([1, transform.channels, size.height, size.width]), nil)
            case .texts(let input):
                let (one, two) = (try output([1, 1]), try output([1, min(2, input.length)]))
                next = one == two ? (one, nil) : (Array(two.dropFirst()), input.length)
            }
            guard found == nil || found?.shape == next.shape else { return ([], nil) }
            found = (next.shape, found?.longest.map { max($0, next.longest ?? 0) } ?? next.longest)
        }
        return found ?? ([], nil)
    }
}

extension Phase {
    /// Passes over `samples` samples of the first stream, the last one perhaps in part.
    public func epochs(samples: Int) -> Int {
        let perEpoch = max(1, stepsPerEpoch(samples: samples))
        return (totalSteps(samples: samples) + perEpoch - 1) / perEpoch
    }
}

extension TrunkPlan {
    /// What must not change in the middle of a phase: as a run notes it in its progress.
    public struct Record: Codable, Equatable, Sendable {
        public var path: Path
        public var stages: Int
        public var variants: Int
        public var precision: FrozenTrunk.Precision
    }

    var record: Record {
        Record(path: path, stages: stages, variants: path == .cached ? variants : 1, precision: precision)
    }

    /// The plan for going on with a phase that has begun: as it began. A cache that is not required is left aside where
    /// the phase has begun without.
    ///
    /// - Throws: `TrunkError.changed` where that is not possible.
    func continuing(_ begun: Record, _ phase: String, isRequired: Bool) throws -> TrunkPlan {
        var plan = self
        if path == .cached, begun.path == .compiled, !isRequired {
            (plan.path, plan.folder, plan.reason) = (.compiled, nil, "the phase began without")
        }
        guard plan.record == begun else {
            throw TrunkError.changed(phase: phase, was: begun, now: plan.record, reason: reason)
        }
        return plan
    }
}

/// What can be wrong with keeping the outputs of a frozen trunk.
public enum TrunkError: GraftError, Equatable {
    case cannotCache(phase: String, String, why: String)
    case tooLarge(phase: String, String, bytes: Int, limit: Int)
    case diskTooSmall(phase: String, String, bytes: Int, room: Int)
    /// int8 where not every rank can read the images that it is calibrated with.
    case cannotCalibrate(phase: String)
    /// A phase was begun in another way than it would go on.
    case changed(phase: String, was: TrunkPlan.Record, now: TrunkPlan.Record, reason: String?)

    public var exitCode: ExitCode { .usage }

    public var description: String {
        switch self {
        case .cannotCache(let phase, let folder, _):
            return "trunk.cache is \(folder), but in phase '\(phase)' \(problem); set trunk.cache to auto or off"
        case .cannotCalibrate(let phase):
            return "trunk.precision is int8, but in phase '\(phase)' ranks cannot read the images to calibrate with "
                + "(data.sharding: scatter); set trunk.precision to float32"
        case .tooLarge(let phase, let folder, _, _):
            return "trunk.cache is \(folder), but in phase '\(phase)' \(problem); raise it, take fewer images or "
                + "variants, or set trunk.cache to auto or off"
        case .diskTooSmall(let phase, let folder, _, _):
            return "trunk.cache is \(folder), but in phase '\(phase)' \(problem); make room, name a folder on another "
                + "disk, or set trunk.cache to auto or off"
        case .changed(let phase, let was, let now, let reason):
            return "phase '\(phase)' began with its frozen stages \(Self.words(was)) and would go on with them "
                + "\(Self.words(now))\(reason.map { " because \($0)" } ?? ""), which rounds otherwise; undo the change to "
                + "resume, or resume from a checkpoint at the end of a phase"
        }
    }

    /// What is wrong, without where and what to do.
    var problem: String {
        switch self {
        case .cannotCache(_, _, let why): return why
        case .tooLarge(_, _, let bytes, let limit):
            return "the outputs take \(Self.text(bytes)), more than trunk.max-size (\(Self.text(limit)))"
        case .diskTooSmall(_, let folder, let bytes, let room):
            return "the outputs take \(Self.text(bytes)), and the disk of \(folder) has room for \(Self.text(room))"
        case .changed, .cannotCalibrate: return "the path changed"
        }
    }

    private static func words(_ record: TrunkPlan.Record) -> String {
        switch record.path {
        case .whole: "part of the whole"
        case .compiled: "compiled (\(record.stages) stages, \(record.precision.rawValue))"
        case .cached:
            "cached (\(record.stages) stages, \(record.precision.rawValue), \(record.variants) "
                + "variant\(record.variants == 1 ? "" : "s"))"
        }
    }

    private static func text(_ bytes: Int) -> String {
        switch bytes {
        case ..<1_000_000: String(format: "%.1f kB", Double(bytes) / 1e3)
        case ..<1_000_000_000: String(format: "%.1f MB", Double(bytes) / 1e6)
        default: String(format: "%.2f GB", Double(bytes) / 1e9)
        }
    }
}
