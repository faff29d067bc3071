import Foundation
import Glibc

/// What can be said of a file before it is read, with errors that say what is wrong.
package enum FileBytes {
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

    /// Whether the file begins with HDF5's signature.
    package static func beginsAsHDF5(_ path: String) throws -> Bool {
        beginsAsHDF5(try ByteSource(path: path).head(8_192))
    }

    /// Whether `head`, the first 8 KB of a file, has HDF5's signature: at its start, or after a user block of 512
    /// bytes or a doubling of that.
    static func beginsAsHDF5(_ head: Data) -> Bool {
        let signature = Data([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a])
        return [0, 512, 1_024, 2_048, 4_096].contains { head.dropFirst($0).starts(with: signature) }
    }

    /// How many bytes a file has.
    package static func size(_ path: String) throws -> Int {
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
