import CPNG

/// PNG through libpng: every bit depth and colour type, interlaced or not; alpha is dropped, gamma ignored.
enum PNG {
    static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    static func recognizes(_ bytes: [UInt8]) -> Bool { bytes.starts(with: signature) }

    static func decode(_ bytes: [UInt8], name: String) throws -> DecodedImage {
        var header = GraftPNG()
        guard graft_png_decode(bytes, bytes.count, &header, nil, 0, nil) == 0 else {
            throw broken(header, name)
        }
        let (width, height) = (Int(header.width), Int(header.height))
        try ImageDecoder.checkSize(width: width, height: height, name: name)
        let samples = width * height * Int(header.channels)
        // Indices past the end of a palette are grey, as in Pillow.
        var palette = (0..<768).map { UInt8($0 / 3) }
        var result: CInt = 0
        let pixels = [UInt8](unsafeUninitializedCapacity: samples) { buffer, filled in
            buffer.initialize(repeating: 0)
            filled = samples
            result = graft_png_decode(bytes, bytes.count, &header, buffer.baseAddress, samples, &palette)
        }
        guard result == 0 else { throw broken(header, name) }
        let decoded = DecodedImage(width: width, height: height, channels: Int(header.channels), pixels: pixels)
        let isPalette = header.color_type & PNG_COLOR_MASK_PALETTE != 0
        let colored = isPalette ? lookUp(decoded, in: palette) : decoded.converted(toChannels: 3)
        return colored.oriented(Exif.orientation(ofPNG: bytes))
    }

    private static func broken(_ header: GraftPNG, _ name: String) -> DatasetError {
        let reason = withUnsafeBytes(of: header.message) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return .brokenImage(path: name, reason: reason)
    }

    private static func lookUp(_ indices: DecodedImage, in palette: [UInt8]) -> DecodedImage {
        let count = indices.pixels.count
        let colors = [UInt8](unsafeUninitializedCapacity: 3 * count) { out, filled in
            for i in 0..<count {
                let entry = 3 * Int(indices.pixels[i])
                for channel in 0..<3 { out[3 * i + channel] = palette[entry + channel] }
            }
            filled = 3 * count
        }
        return DecodedImage(width: indices.width, height: indices.height, channels: 3, pixels: colors)
    }
}
