import Archives
import Crypto
import Foundation

/// An image as a reader hands it over.
public enum SampleImage: Equatable, Sendable {
    /// 8-bit samples, H×W×C.
    case pixels(DecodedImage)
    /// Float values, C×H×W, taken as already normalised.
    case values(FloatImage)
}

/// A sample's image as it is stored: what a coordinator sends to a worker without a file system.
public enum StoredImage: Equatable, Sendable {
    /// The bytes of a JPEG or PNG file.
    case encoded([UInt8])
    case image(SampleImage)
}

/// Labelled images, reachable by number in any order and from any thread.
public protocol ImageDataset: AnyObject, Sendable {
    /// Where the samples come from, for messages and records.
    var source: String { get }
    /// The name of each label, in label order.
    var classNames: [String] { get }
    /// The label of each sample, 0..<classNames.count.
    var labels: [Int32] { get }
    /// What errors call sample `index`: its file, or its place in a file.
    func name(at index: Int) -> String
    /// Sample `index` as stored, not yet decoded.
    /// - Throws: `DatasetError` naming the file.
    func storedImage(at index: Int) throws -> StoredImage
    /// Names, sizes and labels of all samples in one SHA-256 digest, in hexadecimal: cheap, for noticing
    /// between runs that the data changed. It does not read the images.
    func fingerprint() throws -> String
}

extension ImageDataset {
    /// How many samples there are.
    public var count: Int { labels.count }

    /// The label of sample `index`.
    public func label(at index: Int) -> Int32 { labels[index] }

    /// Sample `index`, decoded.
    /// - Throws: `DatasetError` naming the file.
    public func image(at index: Int) throws -> SampleImage {
        switch try storedImage(at: index) {
        case .encoded(let bytes): return .pixels(try ImageDecoder.decode(bytes, name: name(at: index)))
        case .image(let image): return image
        }
    }

    /// How many samples each class has, in label order.
    public var classCounts: [Int] {
        var counts = [Int](repeating: 0, count: classNames.count)
        for label in labels { counts[Int(label)] += 1 }
        return counts
    }
}

/// Builds a fingerprint from parts; each is preceded by its length, so that no two lists look alike.
struct Fingerprint {
    private var digest = SHA256()

    mutating func add(_ text: String) {
        add(text.utf8.count)
        digest.update(data: Array(text.utf8))
    }

    mutating func add(_ number: Int) {
        withUnsafeBytes(of: UInt64(bitPattern: Int64(number)).littleEndian) { digest.update(bufferPointer: $0) }
    }

    mutating func add(_ numbers: [Int32]) {
        add(numbers.count)
        numbers.map(\.littleEndian).withUnsafeBytes { digest.update(bufferPointer: $0) }
    }

    mutating func add(bytes: [UInt8]) {
        add(bytes.count)
        digest.update(data: bytes)
    }

    func hexadecimal() -> String { digest.finalize().hexadecimal }
}
