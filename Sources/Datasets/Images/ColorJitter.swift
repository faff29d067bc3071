import Foundation

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
        blended(by: Float(factor)) { _, _, _ in (0, 0, 0) }
    }

    /// Pillow's `ImageEnhance.Contrast`: 0 is the mean grey, 1 the image itself.
    package func adjustingContrast(by factor: Double) -> DecodedImage {
        let grey = converted(toChannels: 1).pixels
        let sum = grey.reduce(0) { $0 + Int($1) }
        let mean = UInt8(Double(sum) / Double(grey.count) + 0.5)
        return blended(by: Float(factor)) { _, _, _ in (mean, mean, mean) }
    }

    /// Pillow's `ImageEnhance.Color`: 0 is grey, 1 the image itself.
    package func adjustingSaturation(by factor: Double) -> DecodedImage {
        if channels == 1 { return self }
        return blended(by: Float(factor)) { red, green, blue in
            let grey = luma(red, green, blue)
            return (grey, grey, grey)
        }
    }

    /// Turns every colour by `turn` (-0.5 to 0.5 of the colour circle), through Pillow's 8-bit HSV.
    package func adjustingHue(by turn: Double) -> DecodedImage {
        if channels == 1 { return self }
        let shift = UInt8(truncatingIfNeeded: Int(turn * 255))
        var turned = pixels
        for i in Swift.stride(from: 0, to: turned.count, by: 3) {
            var (hue, saturation, value) = hsv(turned[i], turned[i + 1], turned[i + 2])
            hue = hue &+ shift
            (turned[i], turned[i + 1], turned[i + 2]) = rgb(hue, saturation, value)
        }
        return DecodedImage(width: width, height: height, channels: channels, pixels: turned)
    }

    /// Pillow's `Image.blend(degenerate, image, factor)`.
    private func blended(
        by factor: Float, with degenerate: (UInt8, UInt8, UInt8) -> (UInt8, UInt8, UInt8)
    ) -> DecodedImage {
        if factor == 1 { return self }
        func mix(_ from: UInt8, _ to: UInt8) -> UInt8 {
            UInt8(min(max(Float(from) + factor * (Float(to) - Float(from)), 0), 255))
        }
        var mixed = pixels
        if channels == 1 {
            for i in mixed.indices { mixed[i] = mix(degenerate(mixed[i], mixed[i], mixed[i]).0, mixed[i]) }
        } else {
            for i in Swift.stride(from: 0, to: mixed.count, by: 3) {
                let base = degenerate(mixed[i], mixed[i + 1], mixed[i + 2])
                mixed[i] = mix(base.0, mixed[i])
                mixed[i + 1] = mix(base.1, mixed[i + 1])
                mixed[i + 2] = mix(base.2, mixed[i + 2])
            }
        }
        return DecodedImage(width: width, height: height, channels: channels, pixels: mixed)
    }
}

/// Pillow's `convert("HSV")` of one pixel: float and double where it has them.
private func hsv(_ red: UInt8, _ green: UInt8, _ blue: UInt8) -> (UInt8, UInt8, UInt8) {
    let most = max(red, green, blue)
    let least = min(red, green, blue)
    guard most > least else { return (0, 0, most) }
    let range = Float(most - least)
    let saturation = range / Float(most)
    let (r, g, b) = (Float(most - red) / range, Float(most - green) / range, Float(most - blue) / range)
    let sextant: Float
    if red == most {
        sextant = b - g
    } else if green == most {
        sextant = Float(2.0 + Double(r) - Double(b))
    } else {
        sextant = Float(4.0 + Double(g) - Double(r))
    }
    let hue = Float(fmod(Double(sextant) / 6.0 + 1.0, 1.0))
    return (UInt8(clamping: Int(Double(hue) * 255)), UInt8(clamping: Int(Double(saturation) * 255)), most)
}

/// Pillow's HSV to RGB of one pixel.
private func rgb(_ hue: UInt8, _ saturation: UInt8, _ value: UInt8) -> (UInt8, UInt8, UInt8) {
    guard saturation > 0 else { return (value, value, value) }
    let sextant = Double(hue) * 6.0 / 255.0
    let index = Int(sextant.rounded(.down))
    let fraction = Double(Float(sextant - Double(index)))
    let strength = Double(Float(Double(saturation) / 255.0))
    func level(_ share: Double) -> UInt8 {
        UInt8(clamping: Int((Double(value) * share).rounded(.toNearestOrAwayFromZero)))
    }
    let p = level(1.0 - strength)
    let q = level(1.0 - strength * fraction)
    let t = level(1.0 - strength * (1.0 - fraction))
    switch index % 6 {
    case 0: return (value, t, p)
    case 1: return (q, value, p)
    case 2: return (p, value, t)
    case 3: return (p, q, value)
    case 4: return (t, p, value)
    default: return (value, p, q)
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
