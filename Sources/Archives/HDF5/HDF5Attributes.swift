import CHDF5
import Foundation

/// What carries attributes: groups and data sets.
public protocol HDF5Attributed: AnyObject {}

extension HDF5Attributed {
    private var object: (handle: HDF5Handle, path: String, name: String)? {
        if let group = self as? HDF5Group { return (group.handle, group.filePath, group.name) }
        if let dataset = self as? HDF5Dataset { return (dataset.handle, dataset.filePath, dataset.name) }
        return nil
    }

    fileprivate func owner() throws -> (handle: HDF5Handle, path: String, name: String) {
        guard let object else {
            throw ArchiveError.unsupported(path: "", feature: "an attribute of \(Self.self)")
        }
        return object
    }

    /// Whether there is an attribute of that name.
    public func hasAttribute(_ name: String) -> Bool {
        guard let object else { return false }
        return HDF5Library.locked { H5Aexists(object.handle.id, name) > 0 }
    }

    /// The texts of an attribute, fixed or variable in length; one for a scalar, nil where there is no such
    /// attribute.
    ///
    /// - Throws: `ArchiveError.mismatch` where it does not hold text.
    public func attributeTexts(_ name: String) throws -> [String]? {
        guard hasAttribute(name) else { return nil }
        let owner = try owner()
        let attribute = try HDF5Handle("H5Aopen", owner.path, closedBy: H5Aclose) {
            H5Aopen(owner.handle.id, name, graft_H5P_DEFAULT())
        }
        let type = try HDF5Handle("H5Aget_type", owner.path, closedBy: H5Tclose) { H5Aget_type(attribute.id) }
        let space = try HDF5Handle("H5Aget_space", owner.path, closedBy: H5Sclose) {
            H5Aget_space(attribute.id)
        }
        let shape = try HDF5Dataset.shape(ofSpace: space, path: owner.path)
        // Attributes are not compressed.
        let size = HDF5Library.locked { H5Tget_size(type.id) }
        guard let count = StoredTensor.count(of: shape),
            Double(count) * Double(size) <= Double(owner.handle.fileSize) + 65_536
        else {
            throw ArchiveError.damaged(
                path: owner.path, format: "HDF5", reason: "attribute \(name) has the shape \(shape)")
        }
        return try HDF5Text.read(
            type: type, space: space, count: count, path: owner.path, name: "attribute \(name)"
        ) {
            try HDF5Library.check("H5Aread", owner.path, H5Aread(attribute.id, $0, $1))
        }
    }

    /// The text of a scalar attribute, nil where there is no such attribute.
    public func attributeText(_ name: String) throws -> String? {
        try attributeTexts(name)?.first
    }

    /// Writes a UTF-8 text (at most 64 KB: put longer ones in a data set).
    public func setAttribute(_ name: String, _ text: String) throws {
        let owner = try owner()
        // Variable in length, because h5py gives those as texts and others as bytes.
        let type = try HDF5Types.string(length: nil)
        let space = try HDF5Dataset.space(shape: [], path: owner.path)
        let attribute = try HDF5Handle("H5Acreate", owner.path, closedBy: H5Aclose) {
            H5Acreate2(owner.handle.id, name, type.id, space.id, graft_H5P_DEFAULT(), graft_H5P_DEFAULT())
        }
        try HDF5Library.locked {
            try text.withCString { start in
                var start: UnsafePointer<CChar>? = start
                _ = try HDF5Library.check("H5Awrite", owner.path, H5Awrite(attribute.id, type.id, &start))
            }
        }
    }
}

extension HDF5Attributed {
    /// Writes texts as h5py writes byte strings, which Keras uses: a list of fixed length, or a scalar.
    ///
    /// - Parameter isScalar: whether it is the one text rather than a list of them.
    func setBytesAttribute(_ name: String, _ texts: [String], isScalar: Bool = false) throws {
        let owner = try owner()
        let length = max(1, texts.map(\.utf8.count).max() ?? 1)
        let type = try HDF5Types.byteString(length: length)
        let space = try HDF5Dataset.space(shape: isScalar ? [] : [texts.count], path: owner.path)
        let attribute = try HDF5Handle("H5Acreate", owner.path, closedBy: H5Aclose) {
            H5Acreate2(owner.handle.id, name, type.id, space.id, graft_H5P_DEFAULT(), graft_H5P_DEFAULT())
        }
        let bytes = texts.flatMap { Array($0.utf8) + [UInt8](repeating: 0, count: length - $0.utf8.count) }
        try HDF5Library.locked {
            _ = try HDF5Library.check("H5Awrite", owner.path, H5Awrite(attribute.id, type.id, bytes))
        }
    }
}

/// Reading texts, which HDF5 stores in two ways.
enum HDF5Text {
    /// Reads `count` texts by calling `transfer` with the memory type and a destination.
    static func read(
        type: HDF5Handle, space: HDF5Handle, count: Int, path: String, name: String,
        _ transfer: (hid_t, UnsafeMutableRawPointer) throws -> Void
    ) throws -> [String] {
        try HDF5Library.locked {
            // An empty list of names has no type: Keras writes it as an array of no floats.
            guard count > 0 else { return [] }
            guard H5Tget_class(type.id) == H5T_STRING else {
                throw ArchiveError.mismatch(path: path, name: name, expected: "text", actual: "not text")
            }
            if H5Tis_variable_str(type.id) > 0 {
                return try readVariable(
                    type: type, space: space, count: count, path: path, name: name, transfer)
            }
            return try readFixed(type: type, count: count, path: path, name: name, transfer)
        }
    }

    private static func readVariable(
        type: HDF5Handle, space: HDF5Handle, count: Int, path: String, name: String,
        _ transfer: (hid_t, UnsafeMutableRawPointer) throws -> Void
    ) throws -> [String] {
        // Characters of damaged files may have megabytes each, and libhdf5 makes room for so much.
        let character = try HDF5Handle("H5Tget_super", path, closedBy: H5Tclose) { H5Tget_super(type.id) }
        guard H5Tget_size(character.id) == 1 else {
            throw ArchiveError.damaged(
                path: path, format: "HDF5", reason: "\(name) claims characters of \(H5Tget_size(character.id)) bytes")
        }
        let memoryType = try HDF5Handle("H5Tcopy", "", closedBy: H5Tclose) { H5Tcopy(type.id) }
        var pointers = [UnsafeMutablePointer<CChar>?](repeating: nil, count: count)
        return try pointers.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return [] }
            try transfer(memoryType.id, base)
            defer { _ = H5Dvlen_reclaim(memoryType.id, space.id, graft_H5P_DEFAULT(), base) }
            return bytes.bindMemory(to: UnsafeMutablePointer<CChar>?.self).map {
                $0.map { String(cString: $0) } ?? ""
            }
        }
    }

    private static func readFixed(
        type: HDF5Handle, count: Int, path: String, name: String,
        _ transfer: (hid_t, UnsafeMutableRawPointer) throws -> Void
    ) throws -> [String] {
        let length = H5Tget_size(type.id)
        let (total, overflow) = length.multipliedReportingOverflow(by: count)
        // Where filters have made texts smaller, then at most about a thousandfold.
        let room = (1 << 20) + 1_024 * ((try? FileBytes.size(path)) ?? 0)
        guard !overflow, length > 0, total <= room else {
            throw ArchiveError.damaged(
                path: path, format: "HDF5", reason: "\(name) claims \(count) texts of \(length) bytes")
        }
        var bytes = [UInt8](repeating: 0, count: total)
        try bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { try transfer(type.id, base) } }
        return (0..<count).map { index in
            let text = bytes[index * length..<(index + 1) * length].prefix { $0 != 0 }
            return String(decoding: text, as: UTF8.self)
        }
    }
}
