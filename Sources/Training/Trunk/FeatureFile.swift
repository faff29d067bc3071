import Archives
import Crypto
import Foundation
import Glibc

/// One file of a feature cache: what a frozen trunk gives for some samples in a row.
///
/// ```
/// "GRAFTFC1"  header bytes (u64)  header (JSON)  values (float32, samples × shape, row-major; of texts tokens × shape)
/// ```
///
/// Integers and floats are little endian. Not HDF5: rows are read at random by several threads at a time, which one
/// lock around that library would serialise, and files that a killed job left behind must not reach its parser.
final class FeatureFile: @unchecked Sendable {
    struct Header: Codable, Equatable {
        /// Of the cache that the file belongs to.
        var key: String
        var variant: Int
        /// The samples first..<end of the data set.
        var first: Int
        var end: Int
        /// Of one sample, or of each of its tokens where `lengths` says how many there are.
        var shape: [Int]
        /// Of texts: how many tokens each sample has.
        var lengths: [Int]?
        /// What is wrong with samples whose files are broken; their values are zeros.
        var broken: [Int: String] = [:]
        /// What it took to compute, decoding included.
        var seconds = 0.0
        /// SHA-256 of the values.
        var digest = ""

        var samples: Range<Int> { first..<end }
        /// Values of one sample, or of one of its tokens.
        var width: Int { shape.reduce(1, *) }

        /// Whether no product of its numbers overflows, and lengths are those of its samples.
        var isPossible: Bool {
            guard first >= 0, end > first, shape.allSatisfy({ $0 > 0 }),
                shape.reduce(4 * Double(end), { $0 * Double($1) }) < 1e17
            else { return false }
            guard let lengths else { return true }
            return lengths.count == samples.count && lengths.allSatisfy { (1...1 << 24).contains($0) }
                && shape.reduce(lengths.reduce(0) { $0 + 4 * Double($1) }, { $0 * Double($1) }) < 1e17
        }
    }

    private static let magic = Array("GRAFTFC1".utf8)
    private static let longestHeader = 64 << 20

    let path: String
    let header: Header
    private let descriptor: Int32
    /// Where the values begin.
    private let start: Int
    /// Which row each sample begins at, and how many there are.
    private let rows: [Int]

    /// Opens a file and reads its header.
    ///
    /// - Throws: `ArchiveError` for a file that cannot be read, is damaged or cut off.
    init(_ path: String) throws {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.unreadable(path) }
        do {
            let lead = try Self.bytes(at: 0, count: 16, descriptor, path)
            let length = lead.dropFirst(8).enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << (8 * $1.offset) }
            guard lead.starts(with: Self.magic), length <= Self.longestHeader else {
                throw Self.damaged(path, "it does not begin as one")
            }
            let text = try Self.bytes(at: 16, count: Int(length), descriptor, path)
            guard let header = try? JSONDecoder().decode(Header.self, from: Data(text)),
                header.isPossible
            else { throw Self.damaged(path, "its header is not readable") }
            self.header = header
            start = 16 + Int(length)
            rows = (header.lengths ?? [Int](repeating: 1, count: header.samples.count)).reduce(into: [0]) {
                $0.append(($0.last ?? 0) + $1)
            }
            let size = Int(lseek(descriptor, 0, SEEK_END))
            guard size == start + 4 * header.width * (rows.last ?? 0) else {
                throw Self.damaged(path, "it has \(size) bytes")
            }
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit { close(descriptor) }

    /// Writes a file as a whole: under another name, forced to disk, renamed.
    ///
    /// - Throws: `ArchiveError.writeFailed`.
    static func write(_ header: Header, _ values: [Float], to path: String) throws {
        let payload = values.withUnsafeBytes { Data($0) }
        var header = header
        header.digest = SHA256.hash(data: payload).hexadecimal
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let text = try encoder.encode(header)
        let length = withUnsafeBytes(of: UInt64(text.count).littleEndian) { Data($0) }
        try AtomicFile.write([Data(magic), length, text, payload], to: path)
    }

    /// Checks all values against their digest.
    ///
    /// - Throws: `ArchiveError` where they are not those that were written.
    func verify() throws {
        var hash = SHA256()
        var (offset, left) = (start, 4 * header.width * (rows.last ?? 0))
        while left > 0 {
            let part = try Self.bytes(at: offset, count: min(left, 4 << 20), descriptor, path)
            hash.update(data: part)
            (offset, left) = (offset + part.count, left - part.count)
        }
        guard hash.finalize().hexadecimal == header.digest else {
            throw Self.damaged(path, "the SHA-256 of its values is not the one in its header")
        }
    }

    /// Copies one sample's values; from any thread.
    ///
    /// - Parameter sample: its number in the data set, one of `header.samples`.
    func read(_ sample: Int, into target: UnsafeMutableBufferPointer<Float>) throws {
        precondition(header.samples.contains(sample), "sample \(sample) of \(path)")
        let (first, end) = (rows[sample - header.first], rows[sample - header.first + 1])
        precondition(target.count == (end - first) * header.width, "sample \(sample) of \(path)")
        let offset = start + 4 * header.width * first
        try Self.read(into: UnsafeMutableRawBufferPointer(target), at: offset, descriptor, path)
    }

    private static func bytes(at offset: Int, count: Int, _ file: Int32, _ path: String) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes { try read(into: $0, at: offset, file, path) }
        return bytes
    }

    private static func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ file: Int32, _ path: String
    ) throws {
        var done = 0
        while done < target.count {
            let count = pread(file, target.baseAddress.map { $0 + done }, target.count - done, off_t(offset + done))
            if count == -1, errno == EINTR { continue }
            guard count >= 0 else { throw unreadable(path) }
            guard count > 0 else { throw damaged(path, "it is cut off") }
            done += count
        }
    }

    private static func unreadable(_ path: String) -> ArchiveError {
        .unreadable(path: path, reason: String(cString: strerror(errno)))
    }

    static func damaged(_ path: String, _ reason: String) -> ArchiveError {
        .damaged(path: path, format: "feature cache", reason: reason)
    }
}
