import Foundation
import Tensors

extension StoredTensor {
    /// The same values with the dimensions in another order.
    ///
    /// - Parameter order: for each dimension of the result, which one of this tensor it is.
    func permuted(_ order: [Int]) -> StoredTensor {
        precondition(order.sorted() == Array(shape.indices), "\(order) of the dimensions of \(shape)")
        var strides = [Int](repeating: 1, count: shape.count)
        for index in shape.indices.dropLast().reversed() { strides[index] = strides[index + 1] * shape[index + 1] }
        let (sizes, steps) = (order.map { shape[$0] }, order.map { strides[$0] })
        var result = self
        result.shape = sizes
        guard count > 0, !order.isEmpty else { return result }
        let width = elementType.byteCount
        result.bytes = Data(count: bytes.count)
        result.bytes.withUnsafeMutableBytes { (target: UnsafeMutableRawBufferPointer) in
            bytes.withUnsafeBytes { (source: UnsafeRawBufferPointer) in
                // An odometer over the result, last dimension fastest.
                var index = [Int](repeating: 0, count: sizes.count)
                var from = 0
                for to in 0..<count {
                    for byte in 0..<width { target[to * width + byte] = source[from * width + byte] }
                    for dimension in sizes.indices.reversed() {
                        index[dimension] += 1
                        from += steps[dimension]
                        if index[dimension] < sizes[dimension] { break }
                        from -= steps[dimension] * sizes[dimension]
                        index[dimension] = 0
                    }
                }
            }
        }
        return result
    }

    /// The same values under another shape.
    ///
    /// - Precondition: it has as many values.
    func reshaped(_ shape: [Int]) -> StoredTensor {
        precondition(shape.reduce(1, *) == count, "\(self.shape) as \(shape)")
        var result = self
        result.shape = shape
        return result
    }
}

extension MappedTensor {
    /// The stored tensor with its dimensions in the order that the network has them in, its values and its element type
    /// as they are.
    var canonical: StoredTensor {
        switch (conversion, stored.shape.count) {
        case (.kernel, 4): return stored.permuted([3, 2, 0, 1])
        case (.kernel, 2): return stored.permuted([1, 0])
        case (.depthwiseKernel, 4): return stored.permuted([2, 3, 0, 1]).reshaped(shape)
        case (.flattenedKernel(let channels), 2) where stored.shape[0] % channels == 0:
            let positions = stored.shape[0] / channels
            return stored.reshaped([positions, channels, stored.shape[1]]).permuted([2, 1, 0]).reshaped(shape)
        default: return stored
        }
    }
}
