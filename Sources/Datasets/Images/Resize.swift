import Archives
import Foundation
import Models
import Tensors

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
        resized(
            Resizing(
                box: CropRectangle(left: left, top: top, width: cropWidth, height: cropHeight), width: newWidth,
                height: newHeight, interpolation))
    }

    /// What `resizing` makes of the picture that this is, or that this is a half, a quarter or an eighth of.
    ///
    /// - Parameter denominator: 1, 2, 4 or 8; the picture's sizes divided by it, rounded up, are this image's.
    package func resized(_ resizing: Resizing, denominator: Int = 1) -> DecodedImage {
        let (box, part) = (resizing.box, resizing.part)
        precondition(resizing.width > 0 && resizing.height > 0, "resize to \(resizing.width)×\(resizing.height)")
        if resizing.width == box.width && resizing.height == box.height && denominator == 1 {
            return cropped(
                left: box.left + part.left, top: box.top + part.top, width: part.width, height: part.height)
        }
        if resizing.interpolation == .nearest {
            return cropped(left: box.left, top: box.top, width: box.width, height: box.height)
                .resizedToNearest(width: resizing.width, height: resizing.height)
                .cropped(left: part.left, top: part.top, width: part.width, height: part.height)
        }
        let across = resamplingPass(
            ScaledExtent(start: box.left, count: box.width, denominator: denominator, limit: width),
            to: resizing.width, keeping: part.left..<(part.left + part.width), resizing.interpolation)
        let down = resamplingPass(
            ScaledExtent(start: box.top, count: box.height, denominator: denominator, limit: height),
            to: resizing.height, keeping: part.top..<(part.top + part.height), resizing.interpolation)
        return DecodedImage(
            width: part.width, height: part.height, channels: channels,
            pixels: resampled(across, down, isVerticalFirst: resizing.isVerticalFirst(denominator)))
    }

    /// Both passes, each over no more of the image than the other needs.
    private func resampled(
        _ across: ImageKernels.Pass, _ down: ImageKernels.Pass, isVerticalFirst: Bool
    ) -> [UInt8] {
        if isVerticalFirst {
            let columns = across.sources
            let lower = ImageKernels.resampledDown(
                pixels, width: width, channels: channels, columns: columns, firstRow: 0, down)
            let shifted = ImageKernels.Pass(
                starts: across.starts.map { $0 - Int32(columns.lowerBound) }, counts: across.counts,
                weights: across.weights, pitch: across.pitch)
            return ImageKernels.resampledAcross(
                lower, width: columns.count, channels: channels, rows: 0..<down.starts.count, shifted)
        }
        let rows = down.sources
        let narrower = ImageKernels.resampledAcross(pixels, width: width, channels: channels, rows: rows, across)
        let newWidth = across.starts.count
        return ImageKernels.resampledDown(
            narrower, width: newWidth, channels: channels, columns: 0..<newWidth, firstRow: rows.lowerBound, down)
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

/// A stretch of one side of a picture, seen in a smaller version of it.
private struct ScaledExtent {
    /// The samples of the smaller version that it touches.
    let samples: Range<Int>
    /// Where it begins within them, and how long it is, in samples.
    let offset: Double
    let length: Double

    init(start: Int, count: Int, denominator: Int, limit: Int) {
        let begin = Double(start) / Double(denominator)
        length = Double(count) / Double(denominator)
        let first = Int(begin)
        samples = first..<min(Int((begin + length).rounded(.up)), limit)
        offset = begin - Double(first)
    }
}

/// Which old samples make up each new one, and with what weight: Pillow's `precompute_coeffs`, for the positions
/// `keeping` of `new` ones.
private func resamplingPass(
    _ old: ScaledExtent, to new: Int, keeping: Range<Int>, _ interpolation: Interpolation
) -> ImageKernels.Pass {
    let scale = old.length / Double(new)
    let filterScale = max(scale, 1)
    let support = (interpolation == .bicubic ? 2.0 : 1.0) * filterScale
    let pitch = Int(support.rounded(.up)) * 2 + 1
    var starts: [Int32] = []
    var counts: [Int32] = []
    starts.reserveCapacity(keeping.count)
    counts.reserveCapacity(keeping.count)
    var weights = [Int32](repeating: 0, count: keeping.count * pitch)
    var exact = [Double](repeating: 0, count: pitch)
    for (row, i) in keeping.enumerated() {
        let center = old.offset + (Double(i) + 0.5) * scale
        let first = max(Int(center - support + 0.5), 0)
        let count = min(Int(center + support + 0.5), old.samples.count) - first
        var sum = 0.0
        for j in 0..<count {
            let distance = (Double(j + first) - center + 0.5) * (1 / filterScale)
            exact[j] = interpolation == .bicubic ? cubic(distance) : triangle(distance)
            sum += exact[j]
        }
        for j in 0..<count {
            let weight = sum != 0 ? exact[j] / sum : exact[j]
            // Fixed point: 32 bits less 8 of the sample and 2 for sums beyond it.
            let fixed = weight * Double(1 << 22)
            weights[row * pitch + j] = Int32(weight < 0 ? fixed - 0.5 : fixed + 0.5)
        }
        starts.append(Int32(old.samples.lowerBound + first))
        counts.append(Int32(count))
    }
    return ImageKernels.Pass(starts: starts, counts: counts, weights: weights, pitch: pitch)
}

private func triangle(_ x: Double) -> Double { max(1 - abs(x), 0) }

private func cubic(_ signed: Double) -> Double {
    let a = -0.5
    let x = abs(signed)
    if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
    if x < 2 { return (((x - 5) * x + 8) * x - 4) * a }
    return 0
}
