import CTurboJPEG

/// A JPEG file through libjpeg-turbo, with its accurate integer DCT and smooth chroma upsampling: what Pillow uses.
/// One thread uses it.
final class JPEG {
    private let decoder: tjhandle
    private let bytes: [UInt8]
    private let name: String
    /// As stored, before turning.
    private let width: Int
    private let height: Int
    private let isCMYK: Bool
    private let orientation: Int

    static func recognizes(_ bytes: [UInt8]) -> Bool {
        bytes.count >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF
    }

    /// Reads the header.
    init(_ bytes: [UInt8], name: String) throws {
        guard let decoder = tjInitDecompress() else {
            throw DatasetError.brokenImage(path: name, reason: "the JPEG decoder does not start")
        }
        (self.decoder, self.bytes, self.name) = (decoder, bytes, name)
        var (width, height, subsampling, colorspace): (CInt, CInt, CInt, CInt) = (0, 0, 0, 0)
        let status = tjDecompressHeader3(
            decoder, bytes, CUnsignedLong(bytes.count), &width, &height, &subsampling, &colorspace)
        (self.width, self.height) = (Int(width), Int(height))
        isCMYK = colorspace == CInt(TJCS_CMYK.rawValue) || colorspace == CInt(TJCS_YCCK.rawValue)
        orientation = Exif.orientation(ofJPEG: bytes)
        // Unusual subsampling fails here though it decodes; the size is known by then.
        guard status == 0 || (width > 0 && height > 0) else {
            throw DatasetError.brokenImage(path: name, reason: Self.message(decoder))
        }
        try ImageDecoder.checkSize(width: self.width, height: self.height, name: name)
    }

    deinit { tjDestroy(decoder) }

    /// The size of the upright picture.
    var size: (width: Int, height: Int) { orientation < 5 ? (width, height) : (height, width) }

    /// Whether the picture at one over `denominator` of its size begins where the whole one does: turned, one whose
    /// size had to be rounded up has the rest of its last pixels first.
    func canShrink(by denominator: Int) -> Bool {
        orientation == 1 || width % denominator == 0 && height % denominator == 0
    }

    /// The upright picture.
    ///
    /// - Parameter denominator: 1, 2, 4 or 8: decodes at this fraction of the size, rounded up, by leaving out high
    ///   frequencies of the DCT.
    func decoded(denominator: Int = 1) throws -> DecodedImage {
        let (width, height) = (
            (self.width + denominator - 1) / denominator, (self.height + denominator - 1) / denominator
        )
        let samples = width * height * (isCMYK ? 4 : 3)
        let format = isCMYK ? TJPF_CMYK : TJPF_RGB
        var failure: DatasetError?
        let pixels = [UInt8](unsafeUninitializedCapacity: samples) { buffer, filled in
            let result = tjDecompress2(
                decoder, bytes, CUnsignedLong(bytes.count), buffer.baseAddress, CInt(width), 0, CInt(height),
                CInt(format.rawValue), TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS)
            if result != 0, !Self.isHarmless(decoder) {
                failure = .brokenImage(path: name, reason: Self.message(decoder))
            }
            // A picture that decodes has all its rows written.
            filled = failure == nil ? samples : 0
        }
        if let failure { throw failure }
        return DecodedImage(
            width: width, height: height, channels: 3,
            pixels: isCMYK ? Self.colors(fromInvertedCMYK: pixels) : pixels
        ).oriented(orientation)
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
