import CHDF5
import Foundation

/// An open HDF5 file.
///
/// All calls go through one lock, so files may be used from several threads (they take turns). A
/// file closes when it, its groups and its data sets are no longer referred to; `close()` does so
/// now and reports what fails.
///
/// Files from outside can crash libhdf5 itself: read weights with `WeightFile.read`, which parses
/// such files in a process of their own.
public final class HDF5File {
    /// The path it was opened at, or what to call it in messages.
    public let path: String
    /// The root group `/`.
    public let root: HDF5Group
    private let handle: HDF5Handle
    /// Bytes before the first that HDF5 uses.
    private let userBlock: Int

    /// Opens an existing file for reading.
    ///
    /// - Throws: `ArchiveError.unreadable` where there is no such file, `.hdf5Failed` where it is not HDF5.
    public convenience init(reading path: String) throws {
        try FileBytes.checkIsFile(path)
        try self.init(path, call: "H5Fopen") { H5Fopen(path, graft_H5F_ACC_RDONLY(), graft_H5P_DEFAULT()) }
    }

    /// Opens the bytes of a file. They are not copied, and stay as long as the file is open.
    ///
    /// - Parameter name: what to call it in messages.
    init(image: Data, name: String) throws {
        let access = try HDF5Handle("H5Pcreate", name, closedBy: H5Pclose) {
            H5Pcreate(graft_H5P_FILE_ACCESS())
        }
        try HDF5Library.locked {
            try HDF5Library.check("H5Pset_fapl_core", name, H5Pset_fapl_core(access.id, 1 << 20, false))
            try image.withUnsafeBytes { bytes in
                let start = UnsafeMutableRawPointer(mutating: bytes.baseAddress)
                // By itself the library would copy them twice. It only reads a file that is opened so.
                var callbacks = H5FD_file_image_callbacks_t(
                    image_malloc: { _, _, start in start }, image_memcpy: { target, _, _, _, _ in target },
                    image_realloc: { _, _, _, _ in nil }, image_free: { _, _, _ in 0 }, udata_copy: { $0 },
                    udata_free: { _ in 0 }, udata: start)
                try HDF5Library.check(
                    "H5Pset_file_image_callbacks", name, H5Pset_file_image_callbacks(access.id, &callbacks))
                try HDF5Library.check(
                    "H5Pset_file_image", name, H5Pset_file_image(access.id, start, bytes.count))
            }
        }
        path = name
        userBlock = 0
        let close = { (file: hid_t) in withExtendedLifetime(image) { H5Fclose(file) } }
        handle = try HDF5Handle("H5Fopen", name, closedBy: close) {
            // The library wants a name that no file has.
            H5Fopen("\(name) in memory", graft_H5F_ACC_RDONLY(), access.id)
        }
        root = try HDF5Group.open("/", in: handle, path: name)
    }

    /// Creates a file at `path`, replacing what is there. For large data sets written in slices: write
    /// to a temporary name (`AtomicFile.replace`), `close()`, then rename.
    public convenience init(creating path: String) throws {
        try self.init(path, call: "H5Fcreate") {
            H5Fcreate(path, graft_H5F_ACC_TRUNC(), graft_H5P_DEFAULT(), graft_H5P_DEFAULT())
        }
    }

    /// Creates a file that lives in memory only; `image()` returns its bytes.
    ///
    /// - Parameters:
    ///   - name: what to call it in messages.
    ///   - userBlock: bytes (0, or a power of two from 512) that the image leaves free at its start.
    init(inMemory name: String, userBlock: Int) throws {
        let access = try HDF5Handle("H5Pcreate", name, closedBy: H5Pclose) {
            H5Pcreate(graft_H5P_FILE_ACCESS())
        }
        let creation = try HDF5Handle("H5Pcreate", name, closedBy: H5Pclose) {
            H5Pcreate(graft_H5P_FILE_CREATE())
        }
        try HDF5Library.locked {
            // Grows by what is written: the system moves large blocks without copying them.
            try HDF5Library.check("H5Pset_fapl_core", name, H5Pset_fapl_core(access.id, 1 << 20, false))
            try HDF5Library.check("H5Pset_userblock", name, H5Pset_userblock(creation.id, hsize_t(userBlock)))
            try HDF5Library.check(
                "H5Pset_link_creation_order", name,
                H5Pset_link_creation_order(creation.id, HDF5Group.keepsOrder))
        }
        path = name
        self.userBlock = userBlock
        handle = try HDF5Handle("H5Fcreate", name, closedBy: H5Fclose) {
            H5Fcreate(name, graft_H5F_ACC_TRUNC(), creation.id, access.id)
        }
        root = try HDF5Group.open("/", in: handle, path: name)
    }

    private init(_ path: String, call: String, _ open: () -> hid_t) throws {
        self.path = path
        userBlock = 0
        handle = try HDF5Handle(call, path, closedBy: H5Fclose, open)
        root = try HDF5Group.open("/", in: handle, path: path)
    }

    /// Writes out what is still in memory.
    public func flush() throws {
        try HDF5Library.locked {
            _ = try HDF5Library.check("H5Fflush", path, H5Fflush(handle.id, H5F_SCOPE_GLOBAL))
        }
    }

    /// Flushes and closes. Groups and data sets of this file must no longer be used.
    public func close() throws {
        try flush()
        root.handle.release()
        try handle.close("H5Fclose", path)
    }

    /// The bytes of a file in memory, its user block (zeros) included: those that the library works in, so the file must
    /// not be used any more. It is closed with the last copy of them.
    func image() throws -> Data {
        try flush()
        return try HDF5Library.locked {
            // The library counts no user block.
            let count = try HDF5Library.check("H5Fget_file_image", path, H5Fget_file_image(handle.id, nil, 0))
            var place: UnsafeMutableRawPointer?
            try HDF5Library.check(
                "H5Fget_vfd_handle", path, H5Fget_vfd_handle(handle.id, graft_H5P_DEFAULT(), &place))
            guard let bytes = place?.assumingMemoryBound(to: UnsafeMutableRawPointer?.self).pointee else {
                throw ArchiveError.hdf5Failed(call: "H5Fget_vfd_handle", path: path, reason: "no memory")
            }
            let file = handle
            return Data(
                bytesNoCopy: bytes, count: userBlock + count, deallocator: .custom { _, _ in file.release() })
        }
    }
}
