import Foundation

/// A tensor's strided view of its storage.
struct TensorView {
    private let tensor: PickleTensor
    /// Those of the file, 0 for dimensions of size 1: their strides lead nowhere and may be anything.
    private let strides: [Int]
    private let count: Int
    private let byteCount: Int
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

    /// The values, row-major: a copy, or the storage itself where the tensor is all of it.
    ///
    /// - Parameter limit: the bytes that a copy may take.
    func bytes(of storage: Data, limit: Int) throws -> (bytes: Data, isCopy: Bool) {
        guard byteCount <= limit || byteCount == storage.count else {
            throw damage("claims \(byteCount) bytes, more than the file has")
        }
        guard count > 0 else { return (Data(), false) }
        let width = tensor.type.byteCount
        let last = zip(tensor.shape, strides).reduce(Optional(tensor.offset)) { end, dimension in
            let (step, overflow) = (dimension.0 - 1).multipliedReportingOverflow(by: dimension.1)
            guard let end, !overflow else { return nil }
            let (sum, sumOverflow) = end.addingReportingOverflow(step)
            return sumOverflow ? nil : sum
        }
        guard let last, last < storage.count / width else {
            throw damage(
                "of shape \(tensor.shape) at \(tensor.offset) leaves its storage of \(storage.count) bytes")
        }
        guard isContiguous else { return (gathered(storage, width: width), true) }
        if byteCount == storage.count { return (storage, false) }
        let start = tensor.offset * width
        return (storage.subdata(in: start..<start + byteCount), true)
    }

    private var isContiguous: Bool {
        var expected = 1
        for (size, stride) in zip(tensor.shape, strides).reversed() where size != 1 {
            if stride != expected { return false }
            expected *= size
        }
        return true
    }

    /// Walks the indices like an odometer, last dimension fastest.
    private func gathered(_ storage: Data, width: Int) -> Data {
        var result = Data(capacity: byteCount)
        var index = [Int](repeating: 0, count: tensor.shape.count)
        var position = tensor.offset
        storage.withUnsafeBytes { bytes in
            for _ in 0..<count {
                result.append(contentsOf: bytes[position * width..<(position + 1) * width])
                for dimension in index.indices.reversed() {
                    index[dimension] += 1
                    position += strides[dimension]
                    if index[dimension] < tensor.shape[dimension] { break }
                    position -= strides[dimension] * tensor.shape[dimension]
                    index[dimension] = 0
                }
            }
        }
        return result
    }
}
