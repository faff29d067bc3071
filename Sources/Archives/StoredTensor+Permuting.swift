import Foundation
import Tensors

extension StoredTensor {
    /// The same values with the dimensions in another order.
    ///
    /// - Parameter order: for each dimension of the result, which one of this tensor it is.
    func permuted(_ order: [Int]) -> StoredTensor {
        var result = self
        result.shape = order.map { shape[$0] }
        result.bytes = Data(room: bytes.count)
        result.bytes.withUnsafeMutableBytes { (target: UnsafeMutableRawBufferPointer) in
            permute(order, into: target)
        }
        return result
    }

    /// Puts the bytes, with the dimensions in another order, into memory for that many.
    func permute(_ order: [Int], into target: UnsafeMutableRawBufferPointer) {
        precondition(order.sorted() == Array(shape.indices), "\(order) of the dimensions of \(shape)")
        precondition(target.count == bytes.count, "\(target.count) bytes for \(bytes.count)")
        guard count > 0, !order.isEmpty else { return }
        var strides = [Int](repeating: 1, count: shape.count)
        for index in shape.indices.dropLast().reversed() { strides[index] = strides[index + 1] * shape[index + 1] }
        bytes.withUnsafeBytes {
            StridedBytes(sizes: order.map { shape[$0] }, steps: order.map { strides[$0] }).gather(
                $0, width: elementType.byteCount, into: target)
        }
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
    /// As what the stored values must be seen, and in which order its dimensions are those of the network; nil where
    /// they are that already.
    private var arrangement: (shape: [Int], order: [Int])? {
        let s = stored.shape
        switch (conversion, s.count) {
        case (.kernel, 4): return (s, [3, 2, 0, 1])
        case (.kernel, 2): return (s, [1, 0])
        case (.depthwiseKernel, 4): return (s, [2, 3, 0, 1])
        case (.flattenedKernel(let channels), 2) where s[0] % channels == 0:
            return ([s[0] / channels, channels, s[1]], [2, 1, 0])
        default: return nil
        }
    }

    /// The stored tensor with its dimensions in the order that the network has them in, its values and its element type
    /// as they are.
    var canonical: StoredTensor {
        guard let arrangement else { return stored }
        return stored.reshaped(arrangement.shape).permuted(arrangement.order).reshaped(shape)
    }

    /// Puts the values, in the order that the network has them in, as float32 into memory for that many: none is taken
    /// beside it where the file holds float32.
    func fill(_ target: UnsafeMutableBufferPointer<Float>) {
        if let arrangement, stored.elementType == .float32 {
            stored.reshaped(arrangement.shape).permute(arrangement.order, into: UnsafeMutableRawBufferPointer(target))
        } else {
            canonical.widen(into: target)
        }
    }
}
