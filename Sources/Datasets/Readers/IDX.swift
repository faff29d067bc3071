import CZlib
import Foundation

/// Images and labels in the IDX format of MNIST and its family, plain or gzip; held in memory.
///
/// An images file (`…images-idx3-ubyte`, optionally `.gz`) holds N×H×W grey levels; the labels file
/// (`…labels-idx1-ubyte`) is found beside it by its name.
public final class IDXImages: Dataset, @unchecked Sendable {
    public let source: String
    public let classNames: [String]
    public let labels: [Int32]
    private let width: Int
    private let height: Int
    private let pixels: [UInt8]

    /// Reads both files.
    ///
    /// - Parameter path: the images file.
    /// - Throws: `DatasetError` naming the file that is missing, truncated, of another kind, or whose
    ///   numbers contradict the other's.
    public init(imagesAt path: String) throws {
        let images = try IDXFile(path)
        let labelsPath = try Self.labelsPath(besideImages: path)
        let labelsFile = try IDXFile(labelsPath)
        guard images.sizes.count == 3, images.sizes[1] > 0, images.sizes[2] > 0 else {
            throw DatasetError.damaged(
                path: path, reason: "sizes \(images.sizes) where N×H×W images are expected")
        }
        guard labelsFile.sizes == [images.sizes[0]] else {
            throw DatasetError.damaged(
                path: labelsPath, reason: "labels of sizes \(labelsFile.sizes) for \(images.sizes[0]) images")
        }
        guard let largest = labelsFile.values.max() else {
            throw DatasetError.damaged(path: path, reason: "no images")
        }
        source = path
        (height, width) = (images.sizes[1], images.sizes[2])
        pixels = images.values
        labels = labelsFile.values.map(Int32.init)
        classNames = (0...Int(largest)).map(String.init)
        if classNames.count < 2 || Set(labels).count < 2 {
            throw DatasetError.oneClassOnly(path: labelsPath, className: classNames[Int(largest)])
        }
    }

    public func name(at index: Int) -> String { "\(source)[\(index)]" }

    public func storedSample(at index: Int) throws -> StoredSample {
        let size = width * height
        let image = DecodedImage(
            width: width, height: height, channels: 1,
            pixels: Array(pixels[(index * size)..<((index + 1) * size)]))
        return .image(.pixels(image))
    }

    public func fingerprint() throws -> String {
        var fingerprint = Fingerprint()
        fingerprint.add(URL(fileURLWithPath: source).lastPathComponent)
        for number in [labels.count, height, width] { fingerprint.add(number) }
        fingerprint.add(labels)
        // In memory already, so the pixels may count too.
        fingerprint.add(bytes: pixels)
        return fingerprint.hexadecimal()
    }

    /// `train-images-idx3-ubyte.gz` to `train-labels-idx1-ubyte.gz`, or the same without `.gz`.
    private static func labelsPath(besideImages path: String) throws -> String {
        let url = URL(fileURLWithPath: path)
        let folder = url.deletingLastPathComponent()
        let name = url.lastPathComponent.replacingOccurrences(of: "images", with: "labels")
            .replacingOccurrences(of: "idx3", with: "idx1")
        let plain = name.hasSuffix(".gz") ? String(name.dropLast(3)) : name
        let candidates = [name, plain, plain + ".gz"].map { folder.appendingPathComponent($0).path }
        guard name != url.lastPathComponent,
            let found = candidates.first(where: { FileManager.default.fileExists(atPath: $0) })
        else {
            throw DatasetError.unreadable(path: candidates[0], reason: "no labels file beside \(path)")
        }
        return found
    }
}

/// One IDX file of unsigned bytes: sizes and values.
struct IDXFile {
    let sizes: [Int]
    let values: [UInt8]

    /// Reads a file, plain or gzip.
    init(_ path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0 else { throw DatasetError.unreadable(path) }
        guard status.st_mode & S_IFMT == S_IFREG, let file = gzopen(path, "rb") else {
            throw DatasetError.unreadable(path: path, reason: "not a regular file")
        }
        defer { gzclose(file) }
        let magic = try Self.read(4, from: file, path)
        guard magic[0] == 0, magic[1] == 0, magic[2] == 8, (1...4).contains(magic[3]) else {
            let text = magic.map { String($0, radix: 16) }.joined(separator: " ")
            throw DatasetError.damaged(path: path, reason: "begins with \(text), not as IDX of unsigned bytes")
        }
        sizes = try (0..<magic[3]).map { _ in
            try Self.read(4, from: file, path).reduce(0) { $0 << 8 | Int($1) }
        }
        // Deflate shrinks at most 1032-fold: do not believe a damaged header.
        let limit = gzdirect(file) == 1 ? Int(status.st_size) : (Int(status.st_size) + 64) * 1032
        var count = 1
        for size in sizes {
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            guard !overflow, product <= limit else {
                throw DatasetError.damaged(path: path, reason: "sizes \(sizes) in a file of \(status.st_size) bytes")
            }
            count = product
        }
        values = try Self.read(count, from: file, path)
        var extra: UInt8 = 0
        let more = gzread(file, &extra, 1)
        guard more == 0 else {
            throw DatasetError.damaged(
                path: path, reason: more > 0 ? "more bytes than its sizes \(sizes) say" : "a wrong checksum")
        }
    }

    private static func read(_ count: Int, from file: gzFile, _ path: String) throws -> [UInt8] {
        var bytes: [UInt8] = []
        // In steps: memory for what unpacks, not for what a header says.
        while bytes.count < count {
            let (start, step) = (bytes.count, min(count - bytes.count, 1 << 24))
            bytes += [UInt8](unsafeUninitializedCapacity: step) { buffer, filled in
                filled = max(0, Int(gzread(file, buffer.baseAddress, CUnsignedInt(step))))
            }
            guard bytes.count == start + step else {
                throw DatasetError.damaged(path: path, reason: "it ends too early or does not unpack")
            }
        }
        return bytes
    }
}
