import Archives
import Collectives
import Foundation
import Models
import Recipes
import Training

/// What `graft train` was asked for.
public struct RunOptions: Codable, Sendable {
    /// Where to go on from.
    public enum Resume: Codable, Equatable, Sendable {
        /// A new run.
        case no
        /// From the newest valid checkpoint of the output folder; a new run where it has none.
        case auto
        /// From this checkpoint.
        case checkpoint(String)
    }

    public var recipePath: String
    /// `key.path=value`, as given with `--set`.
    public var overrides: [String]
    /// The run directory in place of the recipe's.
    public var output: String?
    public var resume: Resume

    public init(recipePath: String, overrides: [String] = [], output: String? = nil, resume: Resume = .no) {
        self.recipePath = recipePath
        self.overrides = overrides
        self.output = output
        self.resume = resume
    }
}

/// What the coordinator tells every rank before training: with it, the weights and its shard of the data, a
/// worker needs no file of its own.
struct RunDescription: Codable {
    /// The recipe, resolved.
    var recipe: String
    var recipePath: String
    var architecture: String
    var variant: String
    var classes: Int
    var inputChannels: Int
    var preprocessing: Preprocessing
    /// What the network's outputs stand for.
    var classNames: [String]
    var fingerprints: RunFingerprints
    var trainingFingerprint: String
    var validationFingerprint: String?
    var progress: RunProgress
    /// Steps taken by the optimizers of the phase under way; empty in a new run.
    var optimizerSteps: [Int]
}
