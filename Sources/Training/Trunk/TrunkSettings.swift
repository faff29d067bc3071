import Models

/// What the loop is to do with the part of a network that a phase leaves frozen.
public struct TrunkSettings: Equatable, Sendable {
    /// Where outputs are kept.
    public enum Cache: Equatable, Sendable {
        case off
        /// In this folder, where it saves time and they fit.
        case automatic(folder: String)
        /// In this folder; that they do not fit is an error.
        case required(folder: String)

        var folder: String? {
            switch self {
            case .off: nil
            case .automatic(let folder), .required(let folder): folder
            }
        }
    }

    /// Whether the trunk is compiled; else the network runs as a whole.
    public var compiles = true
    /// What the compiled trunk computes with; float32 where the processor cannot compute with 8 bits.
    public var precision = FrozenTrunk.Precision.float32
    public var cache = Cache.off
    /// The most bytes on disk that one phase may take.
    public var maximumBytes = Int.max
    /// With random augmentation: how many variants of each sample are kept; epoch e reads variant e mod that.
    public var variants: Int?
    /// Whether all ranks see the folder, and every rank can read every sample.
    public var ranksShareFiles = true

    public init() {}
}
