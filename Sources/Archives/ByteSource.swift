import Foundation
import Glibc

/// Bytes that are read where they are needed: those of an open file, or some in memory.
///
/// Files are read piece by piece rather than mapped into memory: one that somebody cuts short meanwhile is an error and
/// not a signal, and what was read stays as it was.
package final class ByteSource: @unchecked Sendable {
    /// What to call it in errors.
    let path: String
    /// How many bytes there are.
    let count: Int
    /// All bytes, where they are in memory; `startIndex` is 0.
    let memory: Data?
    private let file: Int32

    /// Opens a file.
    ///
    /// - Throws: `ArchiveError` where it is not a file that can be read and holds something.
    init(path: String) throws {
        try FileBytes.checkIsFile(path)
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw ArchiveError.unreadable(path: path, reason: FileBytes.reason(errno)) }
        var status = stat()
        guard fstat(file, &status) == 0 else {
            close(file)
            throw ArchiveError.unreadable(path: path, reason: FileBytes.reason(errno))
        }
        (self.path, self.file, count, memory) = (path, file, Int(status.st_size), nil)
    }

    init(_ bytes: Data, path: String) {
        let bytes = bytes.startIndex == 0 ? bytes : Data(bytes)
        (self.path, file, count, memory) = (path, -1, bytes.count, bytes)
    }

    deinit {
        if file >= 0 { close(file) }
    }

    /// The bytes of a range, with `startIndex` 0.
    ///
    /// - Precondition: the range lies within the bytes.
    /// - Throws: `ArchiveError.unreadable` where the file cannot be read, or is shorter than it was.
    func read(_ range: Range<Int>) throws -> Data {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count) bytes")
        if let memory { return range.count == count ? memory : memory.subdata(in: range) }
        var data = Data(room: range.count)
        try data.withUnsafeMutableBytes { target in
            var done = 0
            while done < target.count {
                let rest = UnsafeMutableRawBufferPointer(rebasing: target[done...])
                let got = pread(file, rest.baseAddress, rest.count, off_t(range.lowerBound + done))
                if got < 0, errno == EINTR { continue }
                guard got > 0 else {
                    throw ArchiveError.unreadable(
                        path: path, reason: got == 0 ? "it became shorter meanwhile" : FileBytes.reason(errno))
                }
                done += got
            }
        }
        return data
    }

    /// The first bytes, at most `limit` of them.
    func head(_ limit: Int) throws -> Data { try read(0..<min(limit, count)) }
}
