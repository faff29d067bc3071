/// What travels with weights, so that `predict` and `evaluate` need to be told nothing.
///
/// Foreign formats say little: what they do not say is nil.
public struct WeightMetadata: Codable, Equatable, Sendable {
    /// The architecture by the name that `Architecture(named:)` knows.
    public var architecture: String?
    /// Which variant of it, such as `keras`.
    public var variant: String?
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
        architecture: String? = nil, variant: String? = nil, preprocessing: Preprocessing? = nil,
        classNames: [String]? = nil, provenance: String? = nil, license: String? = nil,
        notes: [String: String] = [:]
    ) {
        self.architecture = architecture
        self.variant = variant
        self.preprocessing = preprocessing
        self.classNames = classNames
        self.provenance = provenance
        self.license = license
        self.notes = notes
    }

    public init(from decoder: Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        architecture = try container.decodeIfPresent(String.self, forKey: .architecture)
        variant = try container.decodeIfPresent(String.self, forKey: .variant)
        preprocessing = try container.decodeIfPresent(Preprocessing.self, forKey: .preprocessing)
        classNames = try container.decodeIfPresent([String].self, forKey: .classNames)
        provenance = try container.decodeIfPresent(String.self, forKey: .provenance)
        license = try container.decodeIfPresent(String.self, forKey: .license)
        notes = try container.decodeIfPresent([String: String].self, forKey: .notes) ?? [:]
    }
}

/// From a decoded picture to a network's input (N×C×H×W, float32).
///
/// In order: resize the shorter side to `resize`, crop the centre to `inputSize`, scale pixels to 0…1,
/// subtract `mean`, divide by `standardDeviation`, order the channels.
public struct Preprocessing: Codable, Equatable, Sendable {
    /// How pixels between pixels are computed; Pillow's rules, antialiased.
    public enum Interpolation: String, Codable, Sendable { case nearest, bilinear, bicubic }
    /// The order of channels of the input; grey is one channel.
    public enum ChannelOrder: String, Codable, Sendable { case rgb, bgr, grey }

    /// What the shorter side becomes before the crop, in pixels; nil resizes straight to `inputSize`.
    public var resize: Int?
    /// Height and width of the network's input in pixels.
    public var inputSize: Int
    public var interpolation: Interpolation
    /// Per channel, in the units of pixels scaled to 0…1, in the order of `channelOrder`.
    public var mean: [Float]
    /// Per channel, in the units of pixels scaled to 0…1. Raw 0…255 input is mean 0 and deviation 1/255.
    public var standardDeviation: [Float]
    public var channelOrder: ChannelOrder

    public init(
        resize: Int? = nil, inputSize: Int, interpolation: Interpolation = .bilinear, mean: [Float],
        standardDeviation: [Float], channelOrder: ChannelOrder = .rgb
    ) {
        self.resize = resize
        self.inputSize = inputSize
        self.interpolation = interpolation
        self.mean = mean
        self.standardDeviation = standardDeviation
        self.channelOrder = channelOrder
    }
}

extension Preprocessing {
    /// The most pixels that a side may be set to.
    public static let longestSide = 65_536

    /// How many channels the network's input has.
    public var channels: Int { channelOrder == .grey ? 1 : 3 }

    /// What makes it impossible to use, in words; nil where nothing does.
    var problem: String? {
        for (name, size) in [("inputSize", inputSize), ("resize", resize ?? 1)]
        where !(1...Self.longestSide).contains(size) {
            return "\(name) is \(size), not 1 to \(Self.longestSide)"
        }
        for (name, values) in [("mean", mean), ("standardDeviation", standardDeviation)] {
            guard [1, channels].contains(values.count) else {
                return "\(name) has \(values.count) numbers for \(channels) channel\(channels == 1 ? "" : "s")"
            }
            guard values.allSatisfy(\.isFinite), name == "mean" || values.allSatisfy({ $0 > 0 }) else {
                return "\(name) is \(values)"
            }
        }
        return nil
    }
}
