import CTurboJPEG

/// JPEG through libjpeg-turbo, with its accurate integer DCT and smooth chroma upsampling: what Pillow uses.
enum JPEG {
    static func recognizes(_ bytes: [UInt8]) -> Bool {
        bytes.count >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF
    }

    static func decode(_ bytes: [UInt8], name: String) throws -> DecodedImage {
        guard let decoder = tjInitDecompress() else {
            throw DatasetError.brokenImage(path: name, reason: "the JPEG decoder does not start")
        }
        defer { tjDestroy(decoder) }
        var (width, height, subsampling, colorspace): (CInt, CInt, CInt, CInt) = (0, 0, 0, 0)
        let status = tjDecompressHeader3(
            decoder, bytes, CUnsignedLong(bytes.count), &width, &height, &subsampling, &colorspace)
        // Unusual subsampling fails here though it decodes; the size is known by then.
        guard status == 0 || (width > 0 && height > 0) else {
            throw DatasetError.brokenImage(path: name, reason: message(decoder))
        }
        try ImageDecoder.checkSize(width: Int(width), height: Int(height), name: name)
        let isCMYK = colorspace == CInt(TJCS_CMYK.rawValue) || colorspace == CInt(TJCS_YCCK.rawValue)
        let samples = Int(width) * Int(height) * (isCMYK ? 4 : 3)
        let format = isCMYK ? TJPF_CMYK : TJPF_RGB
        var failure: DatasetError?
        let pixels = [UInt8](unsafeUninitializedCapacity: samples) { buffer, filled in
            buffer.initialize(repeating: 0)
            filled = samples
            let result = tjDecompress2(
                decoder, bytes, CUnsignedLong(bytes.count), buffer.baseAddress, width, 0, height,
                CInt(format.rawValue), TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS)
            if result != 0, !isHarmless(decoder) {
                failure = .brokenImage(path: name, reason: message(decoder))
            }
        }
        if let failure { throw failure }
        let image = DecodedImage(
            width: Int(width), height: Int(height), channels: 3,
            pixels: isCMYK ? colors(fromInvertedCMYK: pixels) : pixels)
        return image.oriented(Exif.orientation(ofJPEG: bytes))
    }

    private static func message(_ decoder: tjhandle) -> String {
        guard let text = tjGetErrorStr2(decoder) else { return "unknown reason" }
        return String(cString: text)
    }

    /// Stray bytes between segments and odd application markers lose no pixels; well-known data sets
    /// (ImageNet among them) have such files. A lost or contradictory part of the picture is no trifle.
    private static func isHarmless(_ decoder: tjhandle) -> Bool {
        guard tjGetErrorCode(decoder) == CInt(TJERR_WARNING.rawValue) else { return false }
        let text = message(decoder)
        return text.contains("extraneous bytes") || text.contains("Unknown Adobe color transform")
            || text.contains("unknown JFIF revision") || text.contains("Inconsistent progression sequence")
    }

    /// Ink to light, as Pillow does it: four-channel JPEGs are taken as Adobe writes them, inverted.
    private static func colors(fromInvertedCMYK inks: [UInt8]) -> [UInt8] {
        let count = inks.count / 4
        return [UInt8](unsafeUninitializedCapacity: 3 * count) { out, filled in
            for i in 0..<count {
                let light = Int(inks[4 * i + 3])
                for channel in 0..<3 {
                    let product = (255 - Int(inks[4 * i + channel])) * light + 128
                    let absorbed = ((product >> 8) + product) >> 8
                    out[3 * i + channel] = UInt8(clamping: light - absorbed)
                }
            }
            filled = 3 * count
        }
    }
}
