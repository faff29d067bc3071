import CHDF5
import Foundation

/// The HDF5 library of this process.
///
/// Debian's serial build is not thread-safe, so **every call into HDF5, from any thread, happens
/// under the one lock of this type**: `HDF5Library.locked { … }`. The lock is recursive, and handles
/// take it when they are freed.
enum HDF5Library {
    private static let lock = NSRecursiveLock()

    /// Done once, before the first other call.
    private static let prepared: Void = {
        // A file whose disk ran full cannot be closed, and the library's own clean-up at exit then
        // crashes the process: never install that clean-up.
        _ = H5dont_atexit()
        // Locks fail on some network file systems, and Graft never writes a file that others read.
        setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0)
        _ = H5open()
        // Errors are thrown, with the library's words in them; the library prints nothing.
        _ = H5Eset_auto2(0, nil, nil)
        // A file from outside may not make this process load code or open other files.
        _ = H5PLset_loading_state(0)
        _ = H5Lunregister(H5L_TYPE_EXTERNAL)
    }()

    /// Runs `body` with the library to itself.
    static func locked<Result>(_ body: () throws -> Result) rethrows -> Result {
        lock.lock()
        defer { lock.unlock() }
        _ = prepared
        return try body()
    }

    /// Throws where `result`, what the C function `call` returned, is negative; returns it otherwise.
    ///
    /// Works for status codes, handles and counts alike. Call it with the lock held.
    @discardableResult
    static func check<Value: SignedInteger>(_ call: String, _ path: String, _ result: Value) throws -> Value {
        if result >= 0 { return result }
        throw ArchiveError.hdf5Failed(call: call, path: path, reason: innermostMessage())
    }

    /// The library's description of the first thing that went wrong in the last failed call.
    private static func innermostMessage() -> String {
        var message = ""
        withUnsafeMutablePointer(to: &message) { pointer in
            _ = H5Ewalk2(
                0, H5E_WALK_UPWARD,
                { index, entry, context in
                    guard index == 0, let text = entry?.pointee.desc else { return 0 }
                    context?.assumingMemoryBound(to: String.self).pointee = String(cString: text)
                    return 0
                }, pointer)
        }
        return message
    }
}

/// One open HDF5 object, closed when nothing refers to it any more.
final class HDF5Handle {
    let id: hid_t
    private let close: (hid_t) -> herr_t
    private var isOpen = true

    /// Takes over what the C function `call` returns; throws where that is negative.
    init(_ call: String, _ path: String, closedBy close: @escaping (hid_t) -> herr_t, _ open: () -> hid_t)
        throws
    {
        id = try HDF5Library.locked { try HDF5Library.check(call, path, open()) }
        self.close = close
    }

    /// Closes now, so that a failure can be seen.
    func close(_ call: String, _ path: String) throws {
        guard isOpen else { return }
        isOpen = false
        try HDF5Library.locked { _ = try HDF5Library.check(call, path, close(id)) }
    }

    /// Closes now; failures do not matter.
    func release() {
        guard isOpen else { return }
        isOpen = false
        HDF5Library.locked { _ = close(id) }
    }

    /// Bytes of the file that the object lies in, 0 where it does not say.
    var fileSize: UInt64 {
        HDF5Library.locked {
            let file = H5Iget_file_id(id)
            guard file >= 0 else { return 0 }
            defer { _ = H5Fclose(file) }
            var size: hsize_t = 0
            return H5Fget_filesize(file, &size) >= 0 ? size : 0
        }
    }

    deinit {
        if isOpen { HDF5Library.locked { _ = close(id) } }
    }
}
