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
    package var problem: String? {
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

extension Preprocessing {
    /// torchvision's for ImageNet: the shorter side to 256, the centre of 224.
    static let torchvision = torchvision(224, resize: 256)

    /// ImageNet's mean and deviation, as torchvision takes them.
    static func torchvision(_ size: Int, resize: Int? = nil) -> Preprocessing {
        Preprocessing(
            resize: resize, inputSize: size, mean: [0.485, 0.456, 0.406], standardDeviation: [0.229, 0.224, 0.225])
    }

    /// Keras's "caffe": 224 pixels, BGR less the mean of ImageNet, in units of pixels.
    static let kerasCaffe = Preprocessing(
        inputSize: 224, mean: [103.939 / 255, 116.779 / 255, 123.68 / 255],
        standardDeviation: [Float](repeating: 1 / 255, count: 3), channelOrder: .bgr)

    /// Keras's "tf": pixels to -1…1.
    static func kerasSymmetric(_ size: Int) -> Preprocessing {
        let half: [Float] = [0.5, 0.5, 0.5]
        return Preprocessing(inputSize: size, mean: half, standardDeviation: half)
    }
}
