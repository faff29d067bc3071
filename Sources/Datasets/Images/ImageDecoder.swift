import Foundation

/// Decodes JPEG and PNG files to red, green and blue, eight bits each, upright.
///
/// The pixels are those of Pillow's `ImageOps.exif_transpose(Image.open(file)).convert("RGB")`, with one
/// exception: of 16-bit grey the high byte is taken, where Pillow cuts every value at 255 and so
/// turns most of such an image white. Checked against Pillow 13 on files of every kind. (A random
/// crop of a large JPEG is decoded at a fraction of its size: see `Resizing.denominator`.)
public enum ImageDecoder {
    /// The most pixels an image may have; Pillow refuses twice its warning limit of 89,478,485.
    public static let pixelLimit = 178_956_970

    /// Decodes a file.
    /// - Throws: `DatasetError` naming the file where it cannot be read, is no image (decided by its
    ///   contents, not its name), is truncated or corrupt, or exceeds `pixelLimit`.
    public static func decode(fileAt path: String) throws -> DecodedImage {
        try decode(bytes(ofFileAt: path), name: path)
    }

    /// Decodes a file's contents; `name` is what errors call it.
    public static func decode(_ bytes: [UInt8], name: String) throws -> DecodedImage {
        if JPEG.recognizes(bytes) { return try JPEG(bytes, name: name).decoded() }
        if PNG.recognizes(bytes) { return try PNG.decode(bytes, name: name) }
        throw DatasetError.notAnImage(path: name)
    }

    package static func checkSize(width: Int, height: Int, name: String) throws {
        guard width > 0, height > 0 else {
            throw DatasetError.brokenImage(path: name, reason: "a size of \(width)×\(height)")
        }
        let (pixels, overflow) = width.multipliedReportingOverflow(by: height)
        if overflow || pixels > pixelLimit {
            throw DatasetError.imageTooLarge(path: name, width: width, height: height)
        }
    }

    /// A whole file, which may be empty or anything.
    package static func bytes(ofFileAt path: String) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw DatasetError.unreadable(path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw DatasetError.unreadable(path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw DatasetError.unreadable(path: path, reason: "not a regular file")
        }
        let size = Int(status.st_size)
        var failure: DatasetError?
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, filled in
            while filled < size, let base = buffer.baseAddress {
                let got = read(descriptor, base + filled, size - filled)
                if got < 0 && errno == EINTR { continue }
                if got < 0 { failure = .unreadable(path) }
                if got <= 0 { break }
                filled += got
            }
        }
        if let failure { throw failure }
        return bytes
    }
}
