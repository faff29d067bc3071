import Foundation
import Models

/// What travels with weights, so that `predict` and `evaluate` need to be told nothing.
///
/// Foreign formats say little: what they do not say is nil.
public struct WeightMetadata: Codable, Equatable, Sendable {
    /// The architecture by the name that `Architecture(named:)` knows.
    public var architecture: String?
    /// Which variant of it, such as `keras`.
    public var variant: String?
    /// Numbers that the name does not say, as `Architecture.sizes` has them.
    public var sizes: [String: Int]?
    /// The rate of dropout where it is not the published one.
    public var dropout: Float?
    /// Other rates that are not the published ones, as `Architecture.rates` has them.
    public var rates: [String: Float]?
    /// What is done to a picture before the network sees it.
    public var preprocessing: Preprocessing?
    /// One name per output, in output order.
    public var classNames: [String]?
    /// Where the weights come from: file, recipe, data.
    public var provenance: String?
    public var license: String?
    /// Whatever else the file says: scalars of a checkpoint, other metadata, what was left out.
    public var notes: [String: String]

    public init(
        architecture: String? = nil, variant: String? = nil, sizes: [String: Int]? = nil, dropout: Float? = nil,
        rates: [String: Float]? = nil, preprocessing: Preprocessing? = nil,
        classNames: [String]? = nil, provenance: String? = nil, license: String? = nil,
        notes: [String: String] = [:]
    ) {
        self.architecture = architecture
        self.variant = variant
        self.sizes = sizes
        self.dropout = dropout
        self.rates = rates
        self.preprocessing = preprocessing
        self.classNames = classNames
        self.provenance = provenance
        self.license = license
        self.notes = notes
    }

    /// Hugging Face's `config.json`, where the weights came with one: a note of that name.
    public var huggingFaceConfiguration: String? {
        get { notes["config.json"] }
        set { notes["config.json"] = newValue }
    }

    /// What the file that the weights came from called the tensors that have other names now, by these; empty where
    /// none has. A note.
    var sourceNames: [String: String] {
        get {
            notes["names"].flatMap { try? JSONDecoder().decode([String: String].self, from: Data($0.utf8)) } ?? [:]
        }
        set {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            let text = (try? encoder.encode(newValue)).map { String(decoding: $0, as: UTF8.self) }
            notes["names"] = newValue.isEmpty ? nil : text
        }
    }

    public init(from decoder: Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        architecture = try container.decodeIfPresent(String.self, forKey: .architecture)
        variant = try container.decodeIfPresent(String.self, forKey: .variant)
        sizes = try container.decodeIfPresent([String: Int].self, forKey: .sizes)
        dropout = try container.decodeIfPresent(Float.self, forKey: .dropout)
        rates = try container.decodeIfPresent([String: Float].self, forKey: .rates)
        preprocessing = try container.decodeIfPresent(Preprocessing.self, forKey: .preprocessing)
        classNames = try container.decodeIfPresent([String].self, forKey: .classNames)
        provenance = try container.decodeIfPresent(String.self, forKey: .provenance)
        license = try container.decodeIfPresent(String.self, forKey: .license)
        notes = try container.decodeIfPresent([String: String].self, forKey: .notes) ?? [:]
    }
}
