import Tensors

/// An image of 8-bit samples, rows from the top, channels interleaved (H×W×C).
public struct DecodedImage: Equatable, Sendable {
    public let width: Int
    public let height: Int
    /// 1 (grey) or 3 (red, green, blue).
    public let channels: Int
    /// Height × width × channels samples, 0-255.
    public let pixels: [UInt8]

    /// - Precondition: `pixels` holds width × height × channels samples.
    public init(width: Int, height: Int, channels: Int, pixels: [UInt8]) {
        precondition(
            pixels.count == width * height * channels,
            "DecodedImage: \(pixels.count) samples for \(width)×\(height)×\(channels)")
        self.width = width
        self.height = height
        self.channels = channels
        self.pixels = pixels
    }

    /// The image with one or three channels. Grey from colour is Pillow's `convert("L")`
    /// (ITU-R 601-2 luma in 16-bit fixed point), colour from grey repeats it.
    public func converted(toChannels wanted: Int) -> DecodedImage {
        if wanted == channels { return self }
        let count = width * height
        if wanted == 3 {
            let colored = [UInt8](unsafeUninitializedCapacity: 3 * count) { out, filled in
                for i in 0..<count {
                    out[3 * i] = pixels[i]
                    out[3 * i + 1] = pixels[i]
                    out[3 * i + 2] = pixels[i]
                }
                filled = 3 * count
            }
            return DecodedImage(width: width, height: height, channels: 3, pixels: colored)
        }
        precondition(wanted == 1 && channels == 3, "DecodedImage: \(channels) to \(wanted) channels")
        return DecodedImage(width: width, height: height, channels: 1, pixels: ImageKernels.luma(pixels))
    }

    /// The part of the image that starts at (`left`, `top`).
    /// - Precondition: the part lies within the image.
    public func cropped(left: Int, top: Int, width cropWidth: Int, height cropHeight: Int) -> DecodedImage {
        precondition(
            left >= 0 && top >= 0 && cropWidth > 0 && cropHeight > 0 && left + cropWidth <= width
                && top + cropHeight <= height,
            "crop \(cropWidth)×\(cropHeight) at (\(left), \(top)) of \(width)×\(height)")
        if cropWidth == width && cropHeight == height { return self }
        var part: [UInt8] = []
        part.reserveCapacity(cropWidth * cropHeight * channels)
        for row in top..<(top + cropHeight) {
            let start = (row * width + left) * channels
            part.append(contentsOf: pixels[start..<(start + cropWidth * channels)])
        }
        return DecodedImage(width: cropWidth, height: cropHeight, channels: channels, pixels: part)
    }

    /// The image within a border of `padding` black pixels on every side.
    public func padded(by padding: Int) -> DecodedImage {
        padded(left: padding, top: padding, right: padding, bottom: padding)
    }

    func padded(left: Int, top: Int, right: Int, bottom: Int) -> DecodedImage {
        if left == 0 && top == 0 && right == 0 && bottom == 0 { return self }
        let newWidth = width + left + right
        let newHeight = height + top + bottom
        var out = [UInt8](repeating: 0, count: newWidth * newHeight * channels)
        for row in 0..<height {
            let from = row * width * channels
            let to = ((row + top) * newWidth + left) * channels
            out.replaceSubrange(to..<(to + width * channels), with: pixels[from..<(from + width * channels)])
        }
        return DecodedImage(width: newWidth, height: newHeight, channels: channels, pixels: out)
    }

    /// The mirror image: left becomes right.
    public func flippedHorizontally() -> DecodedImage {
        let mirrored = [UInt8](unsafeUninitializedCapacity: pixels.count) { out, filled in
            pixels.withUnsafeBufferPointer { pixels in
                guard let out = out.baseAddress, let pixels = pixels.baseAddress else { return }
                for row in 0..<height {
                    var from = pixels + row * width * channels
                    var to = out + ((row + 1) * width - 1) * channels
                    for _ in 0..<width {
                        for channel in 0..<channels { to[channel] = from[channel] }
                        from += channels
                        to -= channels
                    }
                }
            }
            filled = pixels.count
        }
        return DecodedImage(width: width, height: height, channels: channels, pixels: mirrored)
    }

    /// The image as EXIF orientation `code` (1-8) says it should be seen; other codes change nothing.
    /// The same as Pillow's `ImageOps.exif_transpose`.
    public func oriented(_ code: Int) -> DecodedImage {
        let (w, h) = (width, height)
        switch code {
        case 2: return flippedHorizontally()
        case 3: return rearranged(width: w, height: h) { x, y in (w - 1 - x, h - 1 - y) }
        case 4: return rearranged(width: w, height: h) { x, y in (x, h - 1 - y) }
        case 5: return rearranged(width: h, height: w) { x, y in (y, x) }
        case 6: return rearranged(width: h, height: w) { x, y in (y, h - 1 - x) }
        case 7: return rearranged(width: h, height: w) { x, y in (w - 1 - y, h - 1 - x) }
        case 8: return rearranged(width: h, height: w) { x, y in (w - 1 - y, x) }
        default: return self
        }
    }

    /// An image whose pixel (x, y) is this one's pixel `source(x, y)`.
    private func rearranged(
        width newWidth: Int, height newHeight: Int, _ source: (Int, Int) -> (Int, Int)
    ) -> DecodedImage {
        let moved = [UInt8](unsafeUninitializedCapacity: pixels.count) { out, filled in
            pixels.withUnsafeBufferPointer { pixels in
                var to = 0
                for y in 0..<newHeight {
                    for x in 0..<newWidth {
                        let (sourceX, sourceY) = source(x, y)
                        let from = (sourceY * width + sourceX) * channels
                        for channel in 0..<channels { out[to + channel] = pixels[from + channel] }
                        to += channels
                    }
                }
            }
            filled = pixels.count
        }
        return DecodedImage(width: newWidth, height: newHeight, channels: channels, pixels: moved)
    }
}

/// An image of 32-bit values, channel by channel (C×H×W).
public struct FloatImage: Equatable, Sendable {
    public let width: Int
    public let height: Int
    public let channels: Int
    /// Channels × height × width values.
    public let values: [Float]

    /// - Precondition: `values` holds width × height × channels values.
    public init(width: Int, height: Int, channels: Int, values: [Float]) {
        precondition(
            values.count == width * height * channels,
            "FloatImage: \(values.count) values for \(channels)×\(height)×\(width)")
        self.width = width
        self.height = height
        self.channels = channels
        self.values = values
    }
}
