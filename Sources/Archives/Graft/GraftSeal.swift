import Crypto
import Foundation

/// The first 512 bytes of a Graft HDF5 file, which HDF5 calls the user block and passes over: lines of
/// text (`head -c 512 FILE` shows them) with the length of the file and the SHA-256 of what follows.
enum GraftSeal {
    static let size = 512
    static let magic = "GRAFT HDF5 1\n"

    /// Whether these first bytes of a file are a seal.
    static func recognises(_ head: Data) -> Bool {
        head.starts(with: Data(magic.utf8))
    }

    /// Fills in the seal of an image that has room for it.
    static func seal(_ image: inout Data) {
        var digest = SHA256()
        digest.update(data: image[size...])
        let text =
            magic + "length \(image.count)\nsha256 \(digest.finalize().hexadecimal)\n"
            + "The rest is HDF5; the SHA-256 is that of bytes 512 to the end.\n"
        image.withUnsafeMutableBytes { $0.copyBytes(from: text.utf8) }
    }

    /// Throws where the file is not as it was written.
    static func verify(_ path: String) throws {
        try FileBytes.checkIsFile(path)
        guard let file = FileHandle(forReadingAtPath: path) else {
            throw ArchiveError.unreadable(path: path, reason: FileBytes.reason(errno))
        }
        defer { try? file.close() }
        let (length, expected) = try parse(try next(file, size, path), path)
        var digest = SHA256()
        var count = size
        while case let part = try next(file, 1 << 22, path), !part.isEmpty {
            digest.update(data: part)
            count += part.count
        }
        guard count == length else {
            throw ArchiveError.damaged(
                path: path, format: WeightFormat.graftHDF5.title,
                reason: "it has \(count) bytes, and had \(length) when it was written")
        }
        guard digest.finalize().hexadecimal == expected else {
            throw ArchiveError.digestMismatch(path: path, name: nil)
        }
    }

    /// The digest of one tensor's bytes, as it is written beside it.
    static func digest(_ bytes: Data) -> String { SHA256.hash(data: bytes).hexadecimal }

    /// The same of values in a file, of which a part is held at a time.
    static func digest(_ dataset: HDF5Dataset) throws -> String {
        var digest = SHA256()
        try dataset.forEachPart { digest.update(bufferPointer: UnsafeRawBufferPointer($0)) }
        return digest.finalize().hexadecimal
    }

    private static func next(_ file: FileHandle, _ count: Int, _ path: String) throws -> Data {
        do {
            return try file.read(upToCount: count) ?? Data()
        } catch {
            throw ArchiveError.unreadable(path: path, reason: error.localizedDescription)
        }
    }

    private static func parse(_ seal: Data, _ path: String) throws -> (length: Int, digest: String) {
        guard recognises(seal) else { throw ArchiveError.notRecognised(path: path) }
        let lines = String(decoding: seal, as: UTF8.self).split(separator: "\n").map {
            $0.split(separator: " ")
        }
        guard seal.count == size, lines.count > 2, lines[1].count == 2, lines[2].count == 2,
            lines[1][0] == "length", lines[2][0] == "sha256", let length = Int(lines[1][1])
        else {
            throw ArchiveError.damaged(
                path: path, format: WeightFormat.graftHDF5.title, reason: "its first 512 bytes are broken")
        }
        return (length, String(lines[2][1]))
    }
}
