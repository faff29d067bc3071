import CHDF5
import Foundation
import Tensors

/// A group of an HDF5 file: a folder of groups and data sets, with attributes.
public final class HDF5Group: HDF5Attributed {
    /// What a name in a group stands for.
    public enum Kind: Equatable, Sendable {
        case group, dataset
        /// A named type, or a link that leads nowhere or out of the file.
        case other
    }

    let handle: HDF5Handle
    let filePath: String
    /// The full name within the file, such as `/parameters`.
    public let name: String

    static let keepsOrder = graft_H5P_CRT_ORDER_TRACKED() | graft_H5P_CRT_ORDER_INDEXED()

    private init(handle: HDF5Handle, filePath: String, name: String) {
        self.handle = handle
        self.filePath = filePath
        self.name = name
    }

    static func open(_ name: String, in location: HDF5Handle, path: String) throws -> HDF5Group {
        let handle = try HDF5Handle("H5Gopen", path, closedBy: H5Gclose) {
            H5Gopen2(location.id, name, graft_H5P_DEFAULT())
        }
        return HDF5Group(handle: handle, filePath: path, name: name)
    }

    /// The names in this group: in the order they were created where the file says so (Graft's files
    /// do), else in alphabetical order.
    public func names() throws -> [String] {
        try HDF5Library.locked {
            var info = H5G_info_t()
            try HDF5Library.check("H5Gget_info", filePath, H5Gget_info(handle.id, &info))
            guard info.nlinks <= 1 << 22 else {
                throw ArchiveError.damaged(
                    path: filePath, format: "HDF5", reason: "\(info.nlinks) links in \(name)")
            }
            let order = try isOrdered() ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME
            return try (0..<info.nlinks).map { try linkName(at: $0, order: order) }
        }
    }

    /// What `name` stands for here, or nil where there is nothing of that name. Slashes lead into groups.
    public func kind(of name: String) -> Kind? {
        HDF5Library.locked {
            guard exists(name) else { return nil }
            let object = H5Oopen(handle.id, name, graft_H5P_DEFAULT())
            guard object >= 0 else { return .other }
            defer { _ = H5Oclose(object) }
            switch H5Iget_type(object) {
            case H5I_GROUP: return .group
            case H5I_DATASET: return .dataset
            default: return .other
            }
        }
    }

    /// Opens a group; slashes lead into groups.
    ///
    /// - Throws: `ArchiveError.missing` where there is none of that name.
    public func group(_ name: String) throws -> HDF5Group {
        try expect(.group, name, "group")
        let group = try HDF5Group.open(name, in: handle, path: filePath)
        return HDF5Group(handle: group.handle, filePath: filePath, name: fullName(name))
    }

    /// Opens a data set; slashes lead into groups.
    ///
    /// - Throws: `ArchiveError.missing` where there is none of that name, `.unsupported` where its
    ///   values lie in other files.
    public func dataset(_ name: String) throws -> HDF5Dataset {
        try expect(.dataset, name, "data set")
        let handle = try HDF5Handle("H5Dopen", filePath, closedBy: H5Dclose) {
            H5Dopen2(self.handle.id, name, graft_H5P_DEFAULT())
        }
        return try HDF5Dataset(handle: handle, filePath: filePath, name: fullName(name))
    }

    /// Creates a group that remembers the order of what is put in it.
    @discardableResult
    public func createGroup(_ name: String) throws -> HDF5Group {
        let creation = try HDF5Handle("H5Pcreate", filePath, closedBy: H5Pclose) {
            H5Pcreate(graft_H5P_GROUP_CREATE())
        }
        try HDF5Library.locked {
            _ = try HDF5Library.check(
                "H5Pset_link_creation_order", filePath,
                H5Pset_link_creation_order(creation.id, HDF5Group.keepsOrder))
        }
        let handle = try HDF5Handle("H5Gcreate", filePath, closedBy: H5Gclose) {
            H5Gcreate2(self.handle.id, name, graft_H5P_DEFAULT(), creation.id, graft_H5P_DEFAULT())
        }
        return HDF5Group(handle: handle, filePath: filePath, name: fullName(name))
    }

    /// Opens the group `name`, creating it where it is not there yet.
    public func groupCreatingIfNeeded(_ name: String) throws -> HDF5Group {
        kind(of: name) == .group ? try group(name) : try createGroup(name)
    }

    /// Creates a data set without chunks: one contiguous run of values, to be written whole or in slices.
    ///
    /// - Parameters:
    ///   - name: one name within this group; dots are allowed, slashes are not.
    ///   - shape: sizes, outermost first; empty for a scalar.
    public func createDataset(_ name: String, shape: [Int], elementType: ElementType) throws -> HDF5Dataset {
        let type = try HDF5Types.type(of: elementType)
        let space = try HDF5Dataset.space(shape: shape, path: filePath)
        let creation = try HDF5Handle("H5Pcreate", filePath, closedBy: H5Pclose) {
            H5Pcreate(graft_H5P_DATASET_CREATE())
        }
        try HDF5Library.locked {
            _ = try HDF5Library.check(
                "H5Pset_fill_time", filePath, H5Pset_fill_time(creation.id, H5D_FILL_TIME_NEVER))
        }
        let handle = try HDF5Handle("H5Dcreate", filePath, closedBy: H5Dclose) {
            H5Dcreate2(
                self.handle.id, name, type.id, space.id, graft_H5P_DEFAULT(), creation.id, graft_H5P_DEFAULT()
            )
        }
        return try HDF5Dataset(handle: handle, filePath: filePath, name: fullName(name))
    }

    /// Creates a data set holding one UTF-8 text.
    public func createText(_ name: String, _ text: String) throws {
        let bytes = Array(text.utf8) + [0]
        let type = try HDF5Types.string(length: bytes.count)
        let space = try HDF5Dataset.space(shape: [], path: filePath)
        let handle = try HDF5Handle("H5Dcreate", filePath, closedBy: H5Dclose) {
            H5Dcreate2(
                self.handle.id, name, type.id, space.id, graft_H5P_DEFAULT(), graft_H5P_DEFAULT(),
                graft_H5P_DEFAULT())
        }
        try HDF5Library.locked {
            _ = try HDF5Library.check(
                "H5Dwrite", filePath,
                H5Dwrite(handle.id, type.id, graft_H5S_ALL(), graft_H5S_ALL(), graft_H5P_DEFAULT(), bytes))
        }
    }

    private func isOrdered() throws -> Bool {
        let creation = try HDF5Handle("H5Gget_create_plist", filePath, closedBy: H5Pclose) {
            H5Gget_create_plist(handle.id)
        }
        var flags: UInt32 = 0
        try HDF5Library.check(
            "H5Pget_link_creation_order", filePath, H5Pget_link_creation_order(creation.id, &flags))
        return flags & graft_H5P_CRT_ORDER_INDEXED() != 0
    }

    private func linkName(at index: hsize_t, order: H5_index_t) throws -> String {
        func copy(_ buffer: UnsafeMutablePointer<CChar>?, _ size: Int) -> Int {
            H5Lget_name_by_idx(handle.id, ".", order, H5_ITER_INC, index, buffer, size, graft_H5P_DEFAULT())
        }
        let count = try HDF5Library.check("H5Lget_name_by_idx", filePath, copy(nil, 0))
        var buffer = [CChar](repeating: 0, count: count + 1)
        try HDF5Library.check("H5Lget_name_by_idx", filePath, copy(&buffer, count + 1))
        return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// `H5Lexists` wants every group on the way to exist.
    private func exists(_ name: String) -> Bool {
        var prefix = ""
        for part in name.split(separator: "/") {
            prefix += prefix.isEmpty ? String(part) : "/\(part)"
            guard H5Lexists(handle.id, prefix, graft_H5P_DEFAULT()) > 0 else { return false }
        }
        return !prefix.isEmpty
    }

    private func expect(_ kind: Kind, _ name: String, _ what: String) throws {
        guard self.kind(of: name) == kind else {
            throw ArchiveError.missing(path: filePath, name: "\(what) \(fullName(name))")
        }
    }

    private func fullName(_ name: String) -> String {
        self.name == "/" ? "/\(name)" : "\(self.name)/\(name)"
    }
}
