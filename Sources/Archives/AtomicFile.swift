import Foundation
import Glibc

/// Replacing a file as a whole: whoever opens it sees the old content or the new one, never a part,
/// also after a crash, a full disk or a power cut.
///
/// The content goes to a temporary file in the same folder, is forced to disk, renamed over the old
/// file, and the folder is forced to disk. On failure the temporary file is removed and the old file
/// is as it was.
public enum AtomicFile {
    /// Makes `contents` the content of the file at `path`.
    ///
    /// - Throws: `ArchiveError.writeFailed` naming the path, the call and what the system said.
    public static func write(_ contents: Data, to path: String) throws {
        try write([contents], to: path)
    }

    /// Makes the concatenation of `parts` the content of the file at `path`.
    public static func write(_ parts: [Data], to path: String) throws {
        try replace(path) { temporary in
            let file = try check("open", path) {
                open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
            }
            defer { close(file) }
            for part in parts { try write(part, to: file, path: path) }
        }
    }

    /// Lets `body` write a file under a temporary name in the folder of `path`, then puts it in place.
    ///
    /// For files that a library writes itself; `body` must have closed it when it returns.
    public static func replace(_ path: String, _ body: (_ temporaryPath: String) throws -> Void) throws {
        let url = URL(fileURLWithPath: path)
        let folder = url.deletingLastPathComponent().path
        let temporary = folder + "/.\(url.lastPathComponent).\(getpid()).partial"
        var status = stat()
        // Who may rename over /dev/null would put a file in its place.
        if stat(path, &status) == 0, ![S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT) {
            throw ArchiveError.writeFailed(path: path, call: "rename", reason: "it is a device or a pipe")
        }
        do {
            // What the system says of a folder is plainer than what a library makes of it.
            close(try check("open", path) { open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0o666) })
            try body(temporary)
            try synchronise(temporary, flags: O_RDWR, path: path)
            try check("rename", path) { rename(temporary, path) }
        } catch {
            unlink(temporary)
            throw error
        }
        try synchroniseFolder(folder, path: path)
    }

    /// Forces to disk what was put into a folder.
    ///
    /// - Parameter path: what to name in errors.
    static func synchroniseFolder(_ folder: String, path: String) throws {
        try synchronise(folder, flags: O_RDONLY | O_DIRECTORY, path: path)
    }

    /// Deletes the temporary files in `folder` whose processes are no more: killed, they could not do it.
    public static func removeLeftovers(in folder: String) {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
            let parts = name.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count >= 4, parts[0].isEmpty, parts.last == "partial",
                let process = pid_t(parts[parts.count - 2]), process > 0, kill(process, 0) == -1, errno == ESRCH
            else { continue }
            unlink("\(folder)/\(name)")
        }
    }

    private static func write(_ data: Data, to file: Int32, path: String) throws {
        try data.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let part = UnsafeRawBufferPointer(rebasing: rest)
                let count = try check("write", path) { Glibc.write(file, part.baseAddress, part.count) }
                rest = rest.dropFirst(count)
            }
        }
    }

    private static func synchronise(_ name: String, flags: Int32, path: String) throws {
        let file = try check("open", path) { open(name, flags | O_CLOEXEC) }
        defer { close(file) }
        // Some network file systems cannot do this to a folder.
        try check("fsync", path) { fsync(file) == -1 && errno != EINVAL ? -1 : 0 }
    }

    /// Throws what the system says where `body` returns -1; repeats it where a signal interrupted it.
    @discardableResult
    private static func check<Value: SignedInteger>(_ call: String, _ path: String, _ body: () -> Value)
        throws -> Value
    {
        while true {
            let result = body()
            if result != -1 { return result }
            let number = errno
            if number != EINTR {
                throw ArchiveError.writeFailed(path: path, call: call, reason: FileBytes.reason(number))
            }
        }
    }
}
