import Archives
import Foundation

/// How pixels between pixels are made up: `nearest` takes the pixel under the centre; `bilinear` is a
/// triangle filter and `bicubic` a cubic one with a = -0.5, both widened when shrinking (antialiased).
public typealias Interpolation = Preprocessing.Interpolation

extension DecodedImage {
    /// The image at another size, with Pillow's `Image.resize` arithmetic: weights in 22-bit fixed
    /// point, one pass per direction, each rounded to 8 bits. Bit-exact against Pillow 13.
    ///
    /// - Precondition: positive sizes.
    public func resized(width: Int, height: Int, _ interpolation: Interpolation = .bilinear) -> DecodedImage {
        resized(
            left: 0, top: 0, width: self.width, height: self.height, toWidth: width, height: height,
            interpolation)
    }

    /// A part of the image at another size: `cropped` and then `resized`, without the copy between.
    package func resized(
        left: Int, top: Int, width cropWidth: Int, height cropHeight: Int, toWidth newWidth: Int,
        height newHeight: Int, _ interpolation: Interpolation
    ) -> DecodedImage {
        precondition(newWidth > 0 && newHeight > 0, "resize to \(newWidth)×\(newHeight)")
        if newWidth == cropWidth && newHeight == cropHeight {
            return cropped(left: left, top: top, width: cropWidth, height: cropHeight)
        }
        if interpolation == .nearest {
            return cropped(left: left, top: top, width: cropWidth, height: cropHeight)
                .resizedToNearest(width: newWidth, height: newHeight)
        }
        let part = SampleRows(pixels, start: (top * width + left) * channels, stride: width * channels)
        let across = ResamplingWeights(from: cropWidth, to: newWidth, interpolation)
        let down = ResamplingWeights(from: cropHeight, to: newHeight, interpolation)
        // Pillow 13 does the pass first that leaves less to do, by this rule (found by comparing pixels:
        // the order shows in the last bit).
        let isVerticalFirst = newHeight < cropHeight && 2 * (cropWidth - newWidth) < cropHeight - newHeight
        let result: SampleRows
        if isVerticalFirst {
            result = part.resampledDown(down, rowSamples: cropWidth * channels)
                .resampledAcross(across, rows: newHeight, channels: channels)
        } else {
            result = part.resampledAcross(across, rows: cropHeight, channels: channels)
                .resampledDown(down, rowSamples: newWidth * channels)
        }
        return DecodedImage(
            width: newWidth, height: newHeight, channels: channels,
            pixels: result.packed(rows: newHeight, rowSamples: newWidth * channels))
    }

    private func resizedToNearest(width newWidth: Int, height newHeight: Int) -> DecodedImage {
        let columns = nearestSources(from: width, to: newWidth)
        let rows = nearestSources(from: height, to: newHeight)
        var out: [UInt8] = []
        out.reserveCapacity(newWidth * newHeight * channels)
        for row in rows {
            for column in columns {
                let start = (row * width + column) * channels
                for channel in 0..<channels { out.append(pixels[start + channel]) }
            }
        }
        return DecodedImage(width: newWidth, height: newHeight, channels: channels, pixels: out)
    }
}

/// Pillow adds the step up rather than multiplying, and its rounding errors with it.
private func nearestSources(from old: Int, to new: Int) -> [Int] {
    let step = Double(old) / Double(new)
    var position = step * 0.5
    return (0..<new).map { _ in
        defer { position += step }
        return min(max(Int(position), 0), old - 1)
    }
}

/// Which old samples make up each new one, and with what weight.
struct ResamplingWeights {
    /// Bits after the binary point: 32 less 8 of the sample and 2 for sums beyond it.
    static let precision = 22

    /// Per new sample: the first old sample, and how many from there on.
    let starts: [Int32]
    let counts: [Int32]
    /// Per new sample `stride` fixed-point weights, of which `counts` are used.
    let weights: [Int32]
    let stride: Int
    /// Whether old and new size are the same: Pillow leaves the pass out.
    let isIdentity: Bool

    init(from old: Int, to new: Int, _ interpolation: Interpolation) {
        let scale = Double(old) / Double(new)
        let filterScale = max(scale, 1)
        let support = (interpolation == .bicubic ? 2.0 : 1.0) * filterScale
        let stride = Int(support.rounded(.up)) * 2 + 1
        var starts = [Int32](repeating: 0, count: new)
        var counts = starts
        var weights = [Int32](repeating: 0, count: new * stride)
        var exact = [Double](repeating: 0, count: stride)
        for i in 0..<new {
            let center = (Double(i) + 0.5) * scale
            let first = max(Int(center - support + 0.5), 0)
            let count = min(Int(center + support + 0.5), old) - first
            var sum = 0.0
            for j in 0..<count {
                let distance = (Double(j + first) - center + 0.5) * (1 / filterScale)
                exact[j] = interpolation == .bicubic ? cubic(distance) : triangle(distance)
                sum += exact[j]
            }
            for j in 0..<count {
                let weight = sum != 0 ? exact[j] / sum : exact[j]
                let fixed = weight * Double(1 << Self.precision)
                weights[i * stride + j] = Int32(weight < 0 ? fixed - 0.5 : fixed + 0.5)
            }
            starts[i] = Int32(first)
            counts[i] = Int32(count)
        }
        (self.starts, self.counts, self.weights, self.stride) = (starts, counts, weights, stride)
        isIdentity = old == new
    }
}

private func triangle(_ x: Double) -> Double { max(1 - abs(x), 0) }

private func cubic(_ signed: Double) -> Double {
    let a = -0.5
    let x = abs(signed)
    if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
    if x < 2 { return (((x - 5) * x + 8) * x - 4) * a }
    return 0
}

private let half: Int32 = 1 << Int32(ResamplingWeights.precision - 1)

@inline(__always)
private func rounded(_ sum: Int32) -> UInt8 {
    UInt8(truncatingIfNeeded: min(max(sum &>> Int32(ResamplingWeights.precision), 0), 255))
}

/// Rows of samples within a larger array: a part of an image, without a copy.
private struct SampleRows {
    let samples: [UInt8]
    let start: Int
    let stride: Int

    init(_ samples: [UInt8], start: Int = 0, stride: Int) {
        (self.samples, self.start, self.stride) = (samples, start, stride)
    }

    /// The rows one after the other, nothing between.
    func packed(rows: Int, rowSamples: Int) -> [UInt8] {
        if start == 0 && stride == rowSamples && samples.count == rows * rowSamples { return samples }
        return (0..<rows).flatMap { samples[(start + $0 * stride)..<(start + $0 * stride + rowSamples)] }
    }

    /// The horizontal pass.
    func resampledAcross(_ plan: ResamplingWeights, rows: Int, channels: Int) -> SampleRows {
        if plan.isIdentity { return self }
        let rowSamples = plan.starts.count * channels
        let out = [UInt8](unsafeUninitializedCapacity: rowSamples * rows) { out, filled in
            samples.withUnsafeBufferPointer { samples in
                guard let source = samples.baseAddress, let to = out.baseAddress else { return }
                for row in 0..<rows {
                    resampleRow(
                        source + start + row * stride, into: to + row * rowSamples, channels: channels, plan)
                }
            }
            filled = rowSamples * rows
        }
        return SampleRows(out, stride: rowSamples)
    }

    /// The vertical pass, a whole row of sums at a time so that the compiler can use vectors.
    func resampledDown(_ plan: ResamplingWeights, rowSamples: Int) -> SampleRows {
        if plan.isIdentity { return self }
        let total = rowSamples * plan.starts.count
        let out = [UInt8](unsafeUninitializedCapacity: total) { out, filled in
            withUnsafeTemporaryAllocation(of: Int32.self, capacity: rowSamples) { sums in
                samples.withUnsafeBufferPointer { samples in
                    guard let sums = sums.baseAddress, let source = samples.baseAddress,
                        let out = out.baseAddress
                    else { return }
                    for i in 0..<plan.starts.count {
                        sums.update(repeating: half, count: rowSamples)
                        for j in 0..<Int(plan.counts[i]) {
                            let row = source + start + (Int(plan.starts[i]) &+ j) &* stride
                            let factor = plan.weights[i &* plan.stride &+ j]
                            for x in 0..<rowSamples { sums[x] = sums[x] &+ Int32(row[x]) &* factor }
                        }
                        let to = out + i &* rowSamples
                        for x in 0..<rowSamples { to[x] = rounded(sums[x]) }
                    }
                }
            }
            filled = total
        }
        return SampleRows(out, stride: rowSamples)
    }
}

/// One row through the horizontal pass.
private func resampleRow(
    _ source: UnsafePointer<UInt8>, into out: UnsafeMutablePointer<UInt8>, channels: Int,
    _ plan: ResamplingWeights
) {
    plan.weights.withUnsafeBufferPointer { weights in
        guard var weight = weights.baseAddress else { return }
        for i in 0..<plan.starts.count {
            let count = Int(plan.counts[i])
            let first = source + Int(plan.starts[i]) &* channels
            if channels == 3 {
                var (red, green, blue) = (half, half, half)
                for j in 0..<count {
                    let pixel = first + 3 &* j
                    let factor = weight[j]
                    red = red &+ Int32(pixel[0]) &* factor
                    green = green &+ Int32(pixel[1]) &* factor
                    blue = blue &+ Int32(pixel[2]) &* factor
                }
                out[3 &* i] = rounded(red)
                out[3 &* i &+ 1] = rounded(green)
                out[3 &* i &+ 2] = rounded(blue)
            } else {
                for channel in 0..<channels {
                    var sum = half
                    for j in 0..<count { sum = sum &+ Int32(first[j &* channels &+ channel]) &* weight[j] }
                    out[i &* channels &+ channel] = rounded(sum)
                }
            }
            weight += plan.stride
        }
    }
}
