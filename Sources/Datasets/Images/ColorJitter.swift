import Foundation
import Tensors

/// Random brightness, contrast, saturation and hue, in random order: torchvision's `ColorJitter` on
/// 8-bit images. Each number v draws a factor from [max(0, 1 - v), 1 + v]; hue draws a shift from
/// [-v, v] turns. Grey images keep their saturation and hue.
public struct ColorJitter: Codable, Equatable, Sendable {
    public var brightness: Double
    public var contrast: Double
    public var saturation: Double
    /// At most 0.5: half a turn either way.
    public var hue: Double

    public init(brightness: Double = 0, contrast: Double = 0, saturation: Double = 0, hue: Double = 0) {
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
    }

    /// What brightness, contrast and saturation may be; all is black or white long before the end.
    package static let strengths = 0.0...100.0

    func validate() throws {
        for (key, value) in [("brightness", brightness), ("contrast", contrast), ("saturation", saturation)]
        where !Self.strengths.contains(value) {
            throw DatasetError.invalidTransform(
                key: "colorJitter.\(key)", value: "\(value)", rule: "give a number from 0 to 100")
        }
        guard hue >= 0 && hue <= 0.5 else {
            throw DatasetError.invalidTransform(
                key: "colorJitter.hue", value: "\(hue)", rule: "give a number from 0 to 0.5")
        }
    }

    func callAsFunction<G: RandomNumberGenerator>(_ image: DecodedImage, using generator: inout G) -> DecodedImage {
        var order = [0, 1, 2, 3]
        for i in stride(from: 3, to: 0, by: -1) { order.swapAt(i, generator.index(below: i + 1)) }
        // Every factor is drawn whether used or not: one setting does not shift another's draws.
        let factors = [brightness, contrast, saturation].map {
            generator.uniform(max(0, 1 - $0), 1 + $0)
        }
        let turn = generator.uniform(-hue, hue)
        var result = image
        for kind in order {
            switch kind {
            case 0 where brightness > 0: result = result.adjustingBrightness(by: factors[0])
            case 1 where contrast > 0: result = result.adjustingContrast(by: factors[1])
            case 2 where saturation > 0: result = result.adjustingSaturation(by: factors[2])
            case 3 where hue > 0: result = result.adjustingHue(by: turn)
            default: break
            }
        }
        return result
    }
}

extension DecodedImage {
    /// Pillow's `ImageEnhance.Brightness`: 0 is black, 1 the image itself.
    package func adjustingBrightness(by factor: Double) -> DecodedImage {
        blended(from: 0, by: Float(factor))
    }

    /// Pillow's `ImageEnhance.Contrast`: 0 is the mean grey, 1 the image itself.
    package func adjustingContrast(by factor: Double) -> DecodedImage {
        let grey = converted(toChannels: 1).pixels
        let sum = grey.reduce(0) { $0 &+ Int($1) }
        return blended(from: UInt8(Double(sum) / Double(grey.count) + 0.5), by: Float(factor))
    }

    /// Pillow's `ImageEnhance.Color`: 0 is grey, 1 the image itself.
    package func adjustingSaturation(by factor: Double) -> DecodedImage {
        if channels == 1 || Float(factor) == 1 { return self }
        var changed = pixels
        ImageKernels.saturate(&changed, by: Float(factor))
        return DecodedImage(width: width, height: height, channels: channels, pixels: changed)
    }

    /// Turns every colour by `turn` (-0.5 to 0.5 of the colour circle), through Pillow's 8-bit HSV.
    package func adjustingHue(by turn: Double) -> DecodedImage {
        if channels == 1 { return self }
        var changed = pixels
        ImageKernels.turnHue(&changed, by: UInt8(truncatingIfNeeded: Int(turn * 255)))
        return DecodedImage(width: width, height: height, channels: channels, pixels: changed)
    }

    /// Pillow's `Image.blend` with an image of one level everywhere: a table of the 256 results.
    private func blended(from base: UInt8, by factor: Float) -> DecodedImage {
        if factor == 1 { return self }
        let table = (0..<256).map { level in
            UInt8(min(max(Float(base) + factor * (Float(level) - Float(base)), 0), 255))
        }
        let mixed = [UInt8](unsafeUninitializedCapacity: pixels.count) { out, filled in
            table.withUnsafeBufferPointer { table in
                pixels.withUnsafeBufferPointer { pixels in
                    for i in pixels.indices { out[i] = table[Int(pixels[i])] }
                }
            }
            filled = pixels.count
        }
        return DecodedImage(width: width, height: height, channels: channels, pixels: mixed)
    }
}

extension RandomNumberGenerator {
    /// Evenly distributed in [low, high). Own arithmetic, so that no new standard library changes runs.
    mutating func uniform(_ low: Double = 0, _ high: Double = 1) -> Double {
        low + (high - low) * (Double(next() >> 11) * 0x1p-53)
    }

    /// Evenly distributed in 0..<bound, by the high half of a product (bias below 2⁻³²).
    mutating func index(below bound: Int) -> Int {
        Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }
}
