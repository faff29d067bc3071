import Foundation
import Glibc

/// Reading files whole, with errors that say what is wrong.
enum FileBytes {
    /// Throws where `path` is not a file that can be read and holds something.
    static func checkIsFile(_ path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw ArchiveError.unreadable(path: path, reason: reason(errno))
        }
        if status.st_mode & S_IFMT == S_IFDIR { throw ArchiveError.isDirectory(path: path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw ArchiveError.unreadable(path: path, reason: "not a regular file")
        }
        if status.st_size == 0 { throw ArchiveError.empty(path: path) }
        guard access(path, R_OK) == 0 else {
            throw ArchiveError.unreadable(path: path, reason: reason(errno))
        }
    }

    /// The bytes of a file, at most the first `limit` of them.
    static func read(_ path: String, limit: Int? = nil) throws -> Data {
        try checkIsFile(path)
        guard let file = FileHandle(forReadingAtPath: path) else {
            throw ArchiveError.unreadable(path: path, reason: reason(errno))
        }
        defer { try? file.close() }
        do {
            return try (limit.map { try file.read(upToCount: $0) } ?? file.readToEnd()) ?? Data()
        } catch {
            throw ArchiveError.unreadable(path: path, reason: "\(error.localizedDescription)")
        }
    }

    /// How many bytes a file has.
    static func size(_ path: String) throws -> Int {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw ArchiveError.unreadable(path: path, reason: reason(errno))
        }
        return Int(status.st_size)
    }

    /// What the operating system says about an error number.
    static func reason(_ number: Int32) -> String {
        String(cString: strerror(number))
    }
}
