import CHDF5
import Foundation
import Tensors

/// An array of an HDF5 file, read and written whole or in slices (hyperslabs).
public final class HDF5Dataset: HDF5Attributed {
    let handle: HDF5Handle
    let filePath: String
    /// The full name within the file, such as `/images`.
    public let name: String
    /// Sizes, outermost first; empty for a scalar.
    public let shape: [Int]
    /// What the values are, or nil for text and other types that are not numbers. Integer types without
    /// a name of their own (16 bits, unsigned 32 bits) are given as the next wider one.
    public let elementType: ElementType?
    private let isText: Bool

    /// How many values there are.
    public let count: Int

    init(handle: HDF5Handle, filePath: String, name: String) throws {
        self.handle = handle
        self.filePath = filePath
        self.name = name
        let type = try HDF5Handle("H5Dget_type", filePath, closedBy: H5Tclose) { H5Dget_type(handle.id) }
        (elementType, isText) = HDF5Library.locked {
            (HDF5Types.element(of: type.id), H5Tget_class(type.id) == H5T_STRING)
        }
        shape = try HDF5Dataset.shape(of: handle, path: filePath)
        guard let count = StoredTensor.count(of: shape) else {
            throw ArchiveError.damaged(
                path: filePath, format: "HDF5", reason: "\(name) has the shape \(shape)")
        }
        self.count = count
        try refuseForeignStorage()
    }

    /// Whether this is a text rather than numbers.
    public var holdsText: Bool { isText }

    /// All values, row-major and little endian, converted to `type` by HDF5 (the stored type where nil).
    ///
    /// - Throws: `ArchiveError.unsupported` where the values are not numbers, `.damaged` where the file
    ///   claims far more values than it holds.
    public func read(as type: ElementType? = nil) throws -> Data {
        let type = try type ?? numericType()
        var data = Data(count: try byteCount(of: count, each: type.byteCount))
        try data.withUnsafeMutableBytes { try read(into: $0, as: type) }
        return data
    }

    /// Reads the slice that starts at `offset` and spans `extent`, or everything where they are nil,
    /// row-major, into memory of the caller.
    ///
    /// - Throws: `ArchiveError.mismatch` where the slice leaves the array or the memory is of another size.
    public func read(
        into bytes: UnsafeMutableRawBufferPointer, as type: ElementType, offset: [Int]? = nil,
        extent: [Int]? = nil
    ) throws {
        _ = try numericType()
        let extent = extent ?? shape
        try checkSlice(offset: offset, extent: extent, byteCount: bytes.count, type: type)
        guard !bytes.isEmpty else { return }
        try transfer(type: type, offset: offset, extent: extent) { memoryType, memorySpace, fileSpace in
            try HDF5Library.check(
                "H5Dread", filePath,
                H5Dread(handle.id, memoryType, memorySpace, fileSpace, graft_H5P_DEFAULT(), bytes.baseAddress)
            )
        }
    }

    /// Hands over all values in their order, as they are stored, some megabytes at a time: whole rows, of which there is
    /// at least one. What is compressed comes at once.
    func forEachPart(_ body: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        let type = try numericType()
        guard let rows = shape.first, count > 0, !isCompressed else {
            var all = try read()
            return try all.withUnsafeMutableBytes(body)
        }
        let rowSize = count / rows * type.byteCount
        let step = max(1, Self.partSize / rowSize)
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: try byteCount(of: min(rows, step), each: rowSize), alignment: 64)
        defer { memory.deallocate() }
        for start in stride(from: 0, to: rows, by: step) {
            let extent = [min(step, rows - start)] + shape.dropFirst()
            let part = UnsafeMutableRawBufferPointer(rebasing: memory[..<(extent[0] * rowSize)])
            try read(into: part, as: type, offset: [start] + shape.dropFirst().map { _ in 0 }, extent: extent)
            try body(part)
        }
    }

    private static let partSize = 1 << 22

    /// Writes row-major values of type `type` to the slice that starts at `offset` and spans `extent`, or
    /// to the whole array.
    public func write(
        _ bytes: UnsafeRawBufferPointer, as type: ElementType, offset: [Int]? = nil, extent: [Int]? = nil
    ) throws {
        let extent = extent ?? shape
        try checkSlice(offset: offset, extent: extent, byteCount: bytes.count, type: type)
        guard !bytes.isEmpty else { return }
        try transfer(type: type, offset: offset, extent: extent) { memoryType, memorySpace, fileSpace in
            try HDF5Library.check(
                "H5Dwrite", filePath,
                H5Dwrite(
                    handle.id, memoryType, memorySpace, fileSpace, graft_H5P_DEFAULT(), bytes.baseAddress))
        }
    }

    /// The values of a slice (or all) as `Float`.
    public func floats(offset: [Int]? = nil, extent: [Int]? = nil) throws -> [Float] {
        try values(as: .float32, zero: Float(0), offset: offset, extent: extent)
    }

    /// The values of a slice (or all) as `Int32`.
    public func int32s(offset: [Int]? = nil, extent: [Int]? = nil) throws -> [Int32] {
        try values(as: .int32, zero: Int32(0), offset: offset, extent: extent)
    }

    /// The values of a slice (or all) as bytes, for images of 0…255.
    public func bytes(offset: [Int]? = nil, extent: [Int]? = nil) throws -> [UInt8] {
        try values(as: .uint8, zero: UInt8(0), offset: offset, extent: extent)
    }

    /// The texts of a text data set, outermost first; one for a scalar.
    public func texts() throws -> [String] {
        let type = try HDF5Handle("H5Dget_type", filePath, closedBy: H5Tclose) { H5Dget_type(handle.id) }
        let space = try HDF5Handle("H5Dget_space", filePath, closedBy: H5Sclose) { H5Dget_space(handle.id) }
        _ = try byteCount(of: count, each: HDF5Library.locked { H5Tget_size(type.id) })
        return try HDF5Text.read(type: type, space: space, count: count, path: filePath, name: name) {
            try HDF5Library.check(
                "H5Dread", filePath,
                H5Dread(handle.id, $0, graft_H5S_ALL(), graft_H5S_ALL(), graft_H5P_DEFAULT(), $1))
        }
    }

    static func space(shape: [Int], path: String) throws -> HDF5Handle {
        let sizes = shape.map { hsize_t(clamping: $0) }
        return try HDF5Handle("H5Screate_simple", path, closedBy: H5Sclose) {
            shape.isEmpty ? H5Screate(H5S_SCALAR) : H5Screate_simple(CInt(clamping: shape.count), sizes, nil)
        }
    }

    private static func shape(of dataset: HDF5Handle, path: String) throws -> [Int] {
        let space = try HDF5Handle("H5Dget_space", path, closedBy: H5Sclose) { H5Dget_space(dataset.id) }
        return try shape(ofSpace: space, path: path)
    }

    static func shape(ofSpace space: HDF5Handle, path: String) throws -> [Int] {
        try HDF5Library.locked {
            if H5Sget_simple_extent_type(space.id) == H5S_NULL { return [0] }
            let rank = try HDF5Library.check(
                "H5Sget_simple_extent_ndims", path, H5Sget_simple_extent_ndims(space.id))
            var sizes = [hsize_t](repeating: 0, count: Int(rank))
            try HDF5Library.check(
                "H5Sget_simple_extent_dims", path, H5Sget_simple_extent_dims(space.id, &sizes, nil))
            return sizes.map { Int(clamping: $0) }
        }
    }

    private func values<Value>(as type: ElementType, zero: Value, offset: [Int]?, extent: [Int]?) throws
        -> [Value]
    {
        let extent = extent ?? shape
        try checkSlice(offset: offset, extent: extent, byteCount: nil, type: type)
        let count = extent.reduce(1, *)
        _ = try byteCount(of: count, each: type.byteCount)
        var values = [Value](repeating: zero, count: count)
        try values.withUnsafeMutableBytes { try read(into: $0, as: type, offset: offset, extent: extent) }
        return values
    }

    private func numericType() throws -> ElementType {
        guard let elementType else {
            throw ArchiveError.unsupported(path: filePath, feature: "the element type of \(name)")
        }
        return elementType
    }

    private func checkSlice(offset: [Int]?, extent: [Int], byteCount: Int?, type: ElementType) throws {
        let offset = offset ?? shape.map { _ in 0 }
        let fits =
            offset.count == shape.count && extent.count == shape.count
            && shape.indices.allSatisfy {
                offset[$0] >= 0 && extent[$0] >= 0 && offset[$0] <= shape[$0]
                    && extent[$0] <= shape[$0] - offset[$0]
            }
        guard fits else {
            throw ArchiveError.mismatch(
                path: filePath, name: name, expected: "at least \(extent) from \(offset)", actual: "\(shape)")
        }
        guard let byteCount else { return }
        let (needed, overflow) = extent.reduce(1, *).multipliedReportingOverflow(by: type.byteCount)
        guard !overflow, byteCount == needed else {
            throw ArchiveError.mismatch(
                path: filePath, name: name, expected: "\(byteCount) bytes",
                actual: "\(extent) of \(type.byteCount) bytes each")
        }
    }

    /// The memory that `count` values take.
    ///
    /// - Throws: `ArchiveError.damaged` where the file claims far more values than it holds: no memory is taken on
    ///   the word of a damaged header.
    private func byteCount(of count: Int, each size: Int) throws -> Int {
        let (byteCount, overflow) = count.multipliedReportingOverflow(by: size)
        if !overflow, byteCount <= 1 << 20 { return byteCount }
        // gzip, the tightest filter, shrinks at most about a thousandfold. What lies in one run has the size that the
        // header claims, whatever the file's.
        let stored = HDF5Library.locked { min(Double(H5Dget_storage_size(handle.id)), Double(handle.fileSize)) }
        guard !overflow, Double(byteCount) <= (isCompressed ? 8_192 : 8) * stored + 1_048_576 else {
            throw ArchiveError.damaged(
                path: filePath, format: "HDF5", reason: "\(name) has the shape \(shape) but hardly any values")
        }
        return byteCount
    }

    /// Whether values lie in chunks, which filters may have made smaller.
    private var isCompressed: Bool {
        HDF5Library.locked {
            let creation = H5Dget_create_plist(handle.id)
            guard creation >= 0 else { return false }
            defer { _ = H5Pclose(creation) }
            return H5Pget_layout(creation) == H5D_CHUNKED
        }
    }

    private func transfer(
        type: ElementType, offset: [Int]?, extent: [Int], _ body: (hid_t, hid_t, hid_t) throws -> Void
    ) throws {
        let memoryType = try HDF5Types.type(of: type)
        guard let offset, !shape.isEmpty else {
            return try HDF5Library.locked { try body(memoryType.id, graft_H5S_ALL(), graft_H5S_ALL()) }
        }
        let memorySpace = try HDF5Dataset.space(shape: extent, path: filePath)
        let fileSpace = try HDF5Handle("H5Dget_space", filePath, closedBy: H5Sclose) {
            H5Dget_space(handle.id)
        }
        try HDF5Library.locked {
            let (start, sizes) = (offset.map { hsize_t($0) }, extent.map { hsize_t($0) })
            try HDF5Library.check(
                "H5Sselect_hyperslab", filePath,
                H5Sselect_hyperslab(fileSpace.id, H5S_SELECT_SET, start, nil, sizes, nil))
            try body(memoryType.id, memorySpace.id, fileSpace.id)
        }
    }

    /// Values that lie in other files could be any file of this machine.
    private func refuseForeignStorage() throws {
        let creation = try HDF5Handle("H5Dget_create_plist", filePath, closedBy: H5Pclose) {
            H5Dget_create_plist(handle.id)
        }
        let isForeign = HDF5Library.locked {
            H5Pget_external_count(creation.id) > 0 || H5Pget_layout(creation.id) == H5D_VIRTUAL
        }
        guard !isForeign else {
            throw ArchiveError.unsupported(
                path: filePath, feature: "\(name), whose values lie in another file,")
        }
    }
}
