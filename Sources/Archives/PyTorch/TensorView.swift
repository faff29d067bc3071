import Foundation

/// A tensor's strided view of its storage.
struct TensorView {
    private let tensor: PickleTensor
    /// Those of the file, 0 for dimensions of size 1: their strides lead nowhere and may be anything.
    private let strides: [Int]
    private let count: Int
    /// Of the values alone.
    let byteCount: Int
    private let damage: (String) -> ArchiveError

    /// - Throws: `ArchiveError.damaged` where sizes or strides make no sense.
    init(_ tensor: PickleTensor, name: String, path: String, format: WeightFormat) throws {
        let damage = { (what: String) -> ArchiveError in
            .damaged(path: path, format: format.title, reason: "\(name) \(what)")
        }
        guard let count = StoredTensor.count(of: tensor.shape) else {
            throw damage("has the shape \(tensor.shape)")
        }
        guard tensor.strides.count == tensor.shape.count, tensor.strides.allSatisfy({ $0 >= 0 }),
            tensor.offset >= 0
        else {
            throw damage("has the strides \(tensor.strides)")
        }
        let (byteCount, overflow) = count.multipliedReportingOverflow(by: tensor.type.byteCount)
        guard !overflow else { throw damage("has the shape \(tensor.shape)") }
        strides = zip(tensor.shape, tensor.strides).map { $0 == 1 ? 0 : $1 }
        (self.tensor, self.count, self.byteCount, self.damage) = (tensor, count, byteCount, damage)
    }

    /// Whether the tensor is all of its storage; else its values take memory of their own.
    ///
    /// - Parameters:
    ///   - storageSize: in bytes.
    ///   - limit: the bytes that a copy may take.
    /// - Throws: `ArchiveError.damaged` where the tensor leaves its storage or claims more than the limit.
    func isWhole(storageSize: Int, limit: Int) throws -> Bool {
        guard byteCount <= limit || byteCount == storageSize else {
            throw damage("claims \(byteCount) bytes, more than the file has")
        }
        guard count > 0 else { return false }
        let last = zip(tensor.shape, strides).reduce(Optional(tensor.offset)) { end, dimension in
            let (step, overflow) = (dimension.0 - 1).multipliedReportingOverflow(by: dimension.1)
            guard let end, !overflow else { return nil }
            let (sum, sumOverflow) = end.addingReportingOverflow(step)
            return sumOverflow ? nil : sum
        }
        guard let last, last < storageSize / tensor.type.byteCount else {
            throw damage("of shape \(tensor.shape) at \(tensor.offset) leaves its storage of \(storageSize) bytes")
        }
        return isContiguous && byteCount == storageSize
    }

    /// The values, row-major: the storage itself where the tensor is all of it, else a copy.
    ///
    /// - Precondition: `isWhole` has found that the tensor lies within the storage.
    func bytes(of storage: Data) -> Data {
        guard count > 0 else { return Data() }
        let width = tensor.type.byteCount
        if isContiguous {
            let start = tensor.offset * width
            return byteCount == storage.count ? storage : storage.subdata(in: start..<start + byteCount)
        }
        var result = Data(room: byteCount)
        result.withUnsafeMutableBytes { target in
            storage.withUnsafeBytes {
                StridedBytes(sizes: tensor.shape, steps: strides).gather(
                    $0, at: tensor.offset, width: width, into: target)
            }
        }
        return result
    }

    private var isContiguous: Bool {
        var expected = 1
        for (size, stride) in zip(tensor.shape, strides).reversed() where size != 1 {
            if stride != expected { return false }
            expected *= size
        }
        return true
    }
}
