import Archives
import Foundation
import Models

/// One change of the pixels, before they become numbers.
public enum TransformStep: Codable, Equatable, Sendable {
    /// To exactly this size, whatever becomes of the proportions (Keras's `target_size`).
    case resize(width: Int, height: Int, Interpolation)
    /// The short side to this length, proportions kept (torchvision's `Resize(n)`).
    case resizeShortSide(Int, Interpolation)
    /// Proportions kept, as small as covers this size.
    case resizeToCover(width: Int, height: Int, Interpolation)
    /// The middle; smaller images get a black border (torchvision's `CenterCrop`).
    case centerCrop(width: Int, height: Int)
    /// A random part of 8-100 % of the area and 3:4 to 4:3 in shape (by default), resized
    /// (torchvision's `RandomResizedCrop`; Szegedy et al. 2014, https://arxiv.org/abs/1409.4842).
    case randomResizedCrop(
        width: Int, height: Int, minimumArea: Double = 0.08, minimumAspect: Double = 0.75,
        maximumAspect: Double = 4.0 / 3.0, Interpolation)
    /// A random part of the image after a black border of `padding` pixels (CIFAR training; He et al.
    /// 2015, https://arxiv.org/abs/1512.03385, section 4.2).
    case randomCrop(width: Int, height: Int, padding: Int)
    /// The mirror image, with this probability.
    case randomFlip(probability: Double = 0.5)
    case colorJitter(ColorJitter)

    /// Whether the step draws random numbers.
    public var isRandom: Bool {
        switch self {
        case .randomResizedCrop, .randomCrop, .randomFlip, .colorJitter: return true
        case .resize, .resizeShortSide, .resizeToCover, .centerCrop: return false
        }
    }
}

/// From sample values 0-255 to what a network takes: (value / 255 - mean) / standardDeviation, per channel.
public struct Normalization: Codable, Equatable, Sendable {
    /// In units of values scaled to 0…1; one number per channel of the output, or one for all.
    public var mean: [Float]
    /// In the same units; raw 0…255 values are mean 0 and deviation 1/255.
    public var standardDeviation: [Float]
    /// Whether channels are handed on as blue, green, red (Caffe's order).
    public var reversesChannels: Bool

    public init(mean: [Float] = [0], standardDeviation: [Float] = [1], reversesChannels: Bool = false) {
        self.mean = mean
        self.standardDeviation = standardDeviation
        self.reversesChannels = reversesChannels
    }

    /// Values from 0 to 1.
    public static let unit = Normalization()

    /// The image as C×H×W float values; arithmetic in the order torchvision has it.
    public func callAsFunction(_ image: DecodedImage) -> FloatImage {
        let count = image.width * image.height
        let channels = image.channels
        let values = [Float](unsafeUninitializedCapacity: count * channels) { out, filled in
            if let out = out.baseAddress { fill(out, from: image) }
            filled = count * channels
        }
        return FloatImage(width: image.width, height: image.height, channels: channels, values: values)
    }

    /// Writes the image's C×H×W values. Each is one of 256: a table per channel, then a look-up per sample.
    func fill(_ out: UnsafeMutablePointer<Float>, from image: DecodedImage) {
        let count = image.width * image.height
        let channels = image.channels
        guard count > 0 else { return }
        image.pixels.withUnsafeBufferPointer { pixels in
            guard let pixels = pixels.baseAddress else { return }
            for channel in 0..<channels {
                let mean = self.mean[min(channel, self.mean.count - 1)]
                let deviation = standardDeviation[min(channel, standardDeviation.count - 1)]
                let source = pixels + (reversesChannels ? channels - 1 - channel : channel)
                let plane = out + channel * count
                withUnsafeTemporaryAllocation(of: Float.self, capacity: 256) { table in
                    for level in 0..<256 {
                        table.initializeElement(at: level, to: (Float(level) / 255 - mean) / deviation)
                    }
                    for i in 0..<count { plane[i] = table[Int(source[i &* channels])] }
                }
            }
        }
    }

    func validate(channels: Int) throws {
        for (key, values) in [("mean", mean), ("standardDeviation", standardDeviation)] {
            guard values.count == 1 || values.count == channels else {
                throw DatasetError.invalidTransform(
                    key: "normalization.\(key)", value: "\(values)", rule: "give 1 or \(channels) numbers")
            }
            guard values.allSatisfy(\.isFinite), key == "mean" || values.allSatisfy({ $0 > 0 }) else {
                throw DatasetError.invalidTransform(
                    key: "normalization.\(key)", value: "\(values)", rule: "give finite, usable numbers")
            }
        }
    }
}

/// What happens to an image between the file and the network.
///
/// 8-bit images go through all steps and the normalisation. Float images (HDF5 datasets of float32) are
/// taken as already normalised: crops and flips apply; steps that resize or change colours are an error.
public struct Transform: Codable, Equatable, Sendable {
    /// 1 or 3; images are converted first.
    public var channels: Int
    public var steps: [TransformStep]
    public var normalization: Normalization

    public init(channels: Int = 3, steps: [TransformStep] = [], normalization: Normalization = .unit) {
        self.channels = channels
        self.steps = steps
        self.normalization = normalization
    }

    /// Whether two calls on one image can differ.
    public var isRandom: Bool { steps.contains(where: \.isRandom) }

    /// The size of what comes out, where every image comes out alike.
    public var outputSize: (width: Int, height: Int)? {
        for step in steps.reversed() {
            switch step {
            case .resize(let width, let height, _), .centerCrop(let width, let height),
                .randomResizedCrop(let width, let height, _, _, _, _), .randomCrop(let width, let height, _):
                return (width, height)
            case .resizeShortSide, .resizeToCover: return nil
            case .randomFlip, .colorJitter: continue
            }
        }
        return nil
    }

    /// - Throws: `DatasetError.invalidTransform` for sizes, probabilities and ranges that make no sense.
    public func validate() throws {
        guard channels == 1 || channels == 3 else {
            throw DatasetError.invalidTransform(key: "channels", value: "\(channels)", rule: "give 1 or 3")
        }
        for step in steps { try step.validate() }
        try normalization.validate(channels: channels)
    }

    /// The image as the network takes it, C×H×W. Draws from `generator` only in random steps.
    /// - Throws: `DatasetError` where a step does not fit the image; `name` is what it calls the image.
    public func callAsFunction<G: RandomNumberGenerator>(
        _ image: SampleImage, name: String, using generator: inout G
    ) throws -> FloatImage {
        try self(.image(image), name: name, using: &generator)
    }

    /// The stored image decoded, and as the network takes it. Where the first step is a random resized crop that keeps a
    /// quarter of the pixels or fewer, a JPEG is decoded at a half, a quarter or an eighth of its size: see
    /// `Resizing.denominator`.
    /// - Throws: `DatasetError` as above, and for what is no image.
    public func callAsFunction<G: RandomNumberGenerator>(
        _ stored: StoredSample, name: String, using generator: inout G
    ) throws -> FloatImage {
        var seconds = LoadingSeconds()
        switch try changed(stored, name: name, using: &generator, &seconds) {
        case .pixels(let image): return normalization(image)
        case .values(let image): return image
        }
    }

    /// The stored image decoded and after all steps, not yet normalised where it has pixels.
    func changed<G: RandomNumberGenerator>(
        _ stored: StoredSample, name: String, using generator: inout G, _ seconds: inout LoadingSeconds
    ) throws -> SampleImage {
        switch stored {
        case .image(.values(let values)):
            return .values(try seconds.measure(\.augment) { try changed(values, name: name, using: &generator) })
        case .image(.pixels(let pixels)):
            return .pixels(try changed(pixels, name: name, using: &generator, &seconds))
        case .encoded(let bytes):
            return .pixels(try changed(encoded: bytes, name: name, using: &generator, &seconds))
        case .text, .words, .question, .tokens:
            throw DatasetError.notAnImage(path: name)
        }
    }

    /// The image after all steps, still in 8 bits.
    public func changed<G: RandomNumberGenerator>(
        _ image: DecodedImage, name: String, using generator: inout G
    ) throws -> DecodedImage {
        var seconds = LoadingSeconds()
        return try changed(image, name: name, using: &generator, &seconds)
    }

    private func changed<G: RandomNumberGenerator>(
        _ image: DecodedImage, name: String, using generator: inout G, _ seconds: inout LoadingSeconds
    ) throws -> DecodedImage {
        try checkOutput(name: name)
        return try apply(
            steps[...], to: image.converted(toChannels: channels), name: name, using: &generator, &seconds)
    }

    /// A JPEG or PNG file after all steps.
    private func changed<G: RandomNumberGenerator>(
        encoded bytes: [UInt8], name: String, using generator: inout G, _ seconds: inout LoadingSeconds
    ) throws -> DecodedImage {
        guard JPEG.recognizes(bytes) else {
            let image = try seconds.measure(\.decode) { try ImageDecoder.decode(bytes, name: name) }
            return try changed(image, name: name, using: &generator, &seconds)
        }
        try checkOutput(name: name)
        let file = try seconds.measure(\.decode) { try JPEG(bytes, name: name) }
        let first = try Resizing(steps[...], of: file.size, name: name, using: &generator)
        let wanted = first?.denominator ?? 1
        let denominator = file.canShrink(by: wanted) ? wanted : 1
        var image = try seconds.measure(\.decode) {
            try file.decoded(denominator: denominator).converted(toChannels: channels)
        }
        if let first { image = seconds.measure(\.resize) { image.resized(first, denominator: denominator) } }
        return try apply(
            steps[(first?.stepCount ?? 0)...], to: image, name: name, using: &generator, &seconds)
    }

    private func checkOutput(name: String) throws {
        if let size = outputSize { try ImageDecoder.checkSize(width: size.width, height: size.height, name: name) }
    }

    private func apply<G: RandomNumberGenerator>(
        _ steps: ArraySlice<TransformStep>, to image: DecodedImage, name: String, using generator: inout G,
        _ seconds: inout LoadingSeconds
    ) throws -> DecodedImage {
        var (rest, image) = (steps, image)
        while let step = rest.first {
            let resizing = try Resizing(rest, of: (image.width, image.height), name: name, using: &generator)
            if let resizing {
                image = seconds.measure(\.resize) { image.resized(resizing) }
            } else {
                image = try seconds.measure(\.augment) { try step.apply(to: image, name: name, using: &generator) }
            }
            rest = rest.dropFirst(resizing?.stepCount ?? 1)
        }
        return image
    }

    /// A float image after the steps that exist for it.
    private func changed<G: RandomNumberGenerator>(
        _ image: FloatImage, name: String, using generator: inout G
    ) throws -> FloatImage {
        guard image.channels == channels else {
            throw DatasetError.wrongImageSize(
                path: name, expected: [channels, image.height, image.width],
                actual: [image.channels, image.height, image.width])
        }
        return try steps.reduce(image) { try $1.apply(to: $0, name: name, using: &generator) }
    }
}

extension Transform {
    /// What a network's metadata asks for when it is evaluated or used.
    public static func evaluation(_ preprocessing: Preprocessing) -> Transform {
        let size = preprocessing.inputSize
        var steps: [TransformStep] = []
        if let shortSide = preprocessing.resize {
            steps = [
                .resizeShortSide(shortSide, preprocessing.interpolation),
                .centerCrop(width: size, height: size),
            ]
        } else {
            steps = [.resize(width: size, height: size, preprocessing.interpolation)]
        }
        return Transform(
            channels: preprocessing.channels, steps: steps,
            normalization: Normalization(
                mean: preprocessing.mean, standardDeviation: preprocessing.standardDeviation,
                reversesChannels: preprocessing.channelOrder == .bgr))
    }
}

extension TransformStep {
    /// Width by height that a random crop may be asked for.
    package static let aspects = 0.001...1000.0

    func validate() throws {
        func positive(_ key: String, _ sizes: Int...) throws {
            for size in sizes where !(1...Preprocessing.longestSide).contains(size) {
                throw DatasetError.invalidTransform(
                    key: key, value: "\(size)", rule: "give a number of pixels from 1 to 65536")
            }
        }
        switch self {
        case .resize(let width, let height, _): try positive("resize", width, height)
        case .resizeShortSide(let size, _): try positive("resize", size)
        case .resizeToCover(let width, let height, _): try positive("resize", width, height)
        case .centerCrop(let width, let height): try positive("centerCrop", width, height)
        case .randomResizedCrop(let width, let height, let area, let low, let high, _):
            try positive("randomResizedCrop", width, height)
            let aspects = Self.aspects
            guard area > 0, area <= 1, low <= high, aspects.contains(low), aspects.contains(high) else {
                throw DatasetError.invalidTransform(
                    key: "randomResizedCrop", value: "area \(area), aspect \(low) to \(high)",
                    rule: "give an area above 0 and up to 1 and a rising range of aspects from 0.001 to 1000")
            }
        case .randomCrop(let width, let height, let padding):
            try positive("randomCrop", width, height)
            guard (0...Preprocessing.longestSide).contains(padding) else {
                throw DatasetError.invalidTransform(
                    key: "randomCrop.padding", value: "\(padding)", rule: "give 0 to 65536 pixels")
            }
        case .randomFlip(let probability):
            guard probability >= 0, probability <= 1 else {
                throw DatasetError.invalidTransform(
                    key: "randomFlip.probability", value: "\(probability)", rule: "give a number from 0 to 1")
            }
        case .colorJitter(let jitter): try jitter.validate()
        }
    }

    fileprivate func apply<G: RandomNumberGenerator>(
        to image: DecodedImage, name: String, using generator: inout G
    ) throws -> DecodedImage {
        switch self {
        case .resize, .resizeShortSide, .resizeToCover, .randomResizedCrop:
            return image  // `Resizing` has done these.
        case .centerCrop(let width, let height):
            return image.centerCropped(width: width, height: height)
        case .randomCrop(let width, let height, let padding):
            let (left, top) = try cropOrigin(
                width, height, padding, [image.channels, image.height, image.width], name, using: &generator)
            try ImageDecoder.checkSize(
                width: image.width + 2 * padding, height: image.height + 2 * padding, name: name)
            return image.padded(by: padding).cropped(left: left, top: top, width: width, height: height)
        case .randomFlip(let probability):
            return generator.uniform() < probability ? image.flippedHorizontally() : image
        case .colorJitter(let jitter):
            return jitter(image, using: &generator)
        }
    }

    func apply<G: RandomNumberGenerator>(
        to image: FloatImage, name: String, using generator: inout G
    ) throws -> FloatImage {
        let shape = [image.channels, image.height, image.width]
        switch self {
        case .randomResizedCrop:
            throw DatasetError.notForFloats(path: name, key: "data.augment.random-resized-crop")
        case .colorJitter:
            throw DatasetError.notForFloats(path: name, key: "data.augment.jitter")
        case .resize(let width, let height, _) where width == image.width && height == image.height:
            return image
        case .resizeShortSide(let size, _) where size == min(image.width, image.height):
            return image
        case .centerCrop(let width, let height) where width <= image.width && height <= image.height:
            return image.part(
                left: centered(image.width - width), top: centered(image.height - height), width: width,
                height: height)
        case .resize(let width, let height, _), .resizeToCover(let width, let height, _),
            .centerCrop(let width, let height):
            throw DatasetError.wrongImageSize(
                path: name, expected: [image.channels, height, width], actual: shape)
        case .resizeShortSide(let size, _):
            throw DatasetError.wrongImageSize(
                path: name, expected: [image.channels, size, size], actual: shape)
        case .randomCrop(let width, let height, let padding):
            let (left, top) = try cropOrigin(width, height, padding, shape, name, using: &generator)
            return image.part(left: left - padding, top: top - padding, width: width, height: height)
        case .randomFlip(let probability):
            return generator.uniform() < probability ? image.flippedHorizontally() : image
        }
    }

    private func cropOrigin<G: RandomNumberGenerator>(
        _ width: Int, _ height: Int, _ padding: Int, _ shape: [Int], _ name: String, using generator: inout G
    ) throws -> (left: Int, top: Int) {
        let spare = (shape[2] + 2 * padding - width, shape[1] + 2 * padding - height)
        guard spare.0 >= 0, spare.1 >= 0 else {
            throw DatasetError.wrongImageSize(
                path: name, expected: [shape[0], height, width], actual: shape)
        }
        let top = generator.index(below: spare.1 + 1)
        return (generator.index(below: spare.0 + 1), top)
    }
}

/// torchvision's `int(round(x / 2))`: halves go to the even number.
func centered(_ spare: Int) -> Int { Int((Double(spare) / 2).rounded(.toNearestOrEven)) }

extension DecodedImage {
    /// The middle of the image; where it is smaller, with a black border (torchvision's `CenterCrop`).
    public func centerCropped(width newWidth: Int, height newHeight: Int) -> DecodedImage {
        let (missingWidth, missingHeight) = (max(newWidth - width, 0), max(newHeight - height, 0))
        let framed = padded(
            left: missingWidth / 2, top: missingHeight / 2, right: (missingWidth + 1) / 2,
            bottom: (missingHeight + 1) / 2)
        return framed.cropped(
            left: centered(framed.width - newWidth), top: centered(framed.height - newHeight),
            width: newWidth, height: newHeight)
    }
}

extension FloatImage {
    /// A rectangle that may reach beyond the image; there it is 0.
    func part(left: Int, top: Int, width newWidth: Int, height newHeight: Int) -> FloatImage {
        var out = [Float](repeating: 0, count: channels * newWidth * newHeight)
        for channel in 0..<channels {
            for y in 0..<newHeight where (0..<height).contains(y + top) {
                for x in 0..<newWidth where (0..<width).contains(x + left) {
                    out[(channel * newHeight + y) * newWidth + x] =
                        values[(channel * height + y + top) * width + x + left]
                }
            }
        }
        return FloatImage(width: newWidth, height: newHeight, channels: channels, values: out)
    }

    func flippedHorizontally() -> FloatImage {
        var out = values
        for row in 0..<(channels * height) { out[(row * width)..<((row + 1) * width)].reverse() }
        return FloatImage(width: width, height: height, channels: channels, values: out)
    }
}
