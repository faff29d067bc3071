import Archives
import Collectives
import Datasets
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
    var network: NetworkName
    var input: Input
    /// What the network's outputs stand for.
    var classNames: [String]
    var fingerprints: RunFingerprints
    var trainingFingerprint: String
    var validationFingerprint: String?
    var progress: RunProgress
    /// Steps taken by the optimizers of the phase under way; empty in a new run.
    var optimizerSteps: [Int]

    /// What an `Architecture` is made of.
    struct NetworkName: Codable {
        var name: String
        var variant: String
        var sizes: [String: Int]
        var classes: Int
        var inputChannels: Int
        var dropout: Float?
        var rates: [String: Float]

        func architecture() throws -> Architecture {
            try Architecture(
                named: name, variant: variant, sizes: sizes, classes: classes, inputChannels: inputChannels,
                dropout: dropout, rates: rates)
        }
    }

    /// A `RecipeInput`, to be sent.
    struct Input: Codable {
        var preprocessing: Preprocessing?
        var text: Text?

        struct Text: Codable {
            /// `tokenizer.json`
            var tokenizer: String
            var length: Int
            var stride: Int
            var padding: Int32
            var labels: TextLabels
        }

        init(_ input: RecipeInput) throws {
            switch input {
            case .images(let preprocessing): self.preprocessing = preprocessing
            case .texts(let input):
                text = Text(
                    tokenizer: String(decoding: input.tokenizer.json(), as: UTF8.self), length: input.length,
                    stride: input.stride, padding: input.padding, labels: input.labels)
            }
        }

        func received() throws -> RecipeInput {
            if let preprocessing { return .images(preprocessing) }
            guard let text else { throw DatasetError.damagedShard(reason: "neither images nor texts") }
            return .texts(
                TextInput(
                    tokenizer: try Tokenizer(json: Data(text.tokenizer.utf8), name: "the tokenizer of rank 0"),
                    length: text.length, stride: text.stride, padding: text.padding, labels: text.labels))
        }
    }
}
