import COneDNN

/// How a tensor's elements lie in memory. Only this target knows that there is more than one way.
enum Layout {
    case rowMajor
    /// A blocked or channels-last format that oneDNN chose.
    case opaque(OpaqueLayout)

    var isRowMajor: Bool {
        if case .rowMajor = self { return true }
        return false
    }
}

/// A memory descriptor of oneDNN.
final class OpaqueLayout {
    var descriptor: dnnl_memory_desc_t
    /// Bytes of storage, padding of blocked channels included.
    let byteCount: Int
    /// How the channels lie, for our own kernels.
    let channels: ChannelOrder

    init(_ descriptor: dnnl_memory_desc_t) {
        self.descriptor = descriptor
        byteCount = withUnsafePointer(to: descriptor) { dnnl_memory_desc_get_size($0) }
        channels = ChannelOrder(descriptor)
    }

    /// The row-major layout of a shape.
    static func rowMajor(_ shape: [Int], _ elementType: ElementType = .float32) -> OpaqueLayout {
        OpaqueLayout(OneDNN.descriptor(shape, strides: shape.rowMajorStrides, elementType))
    }

    func isSame(as other: OpaqueLayout) -> Bool {
        withUnsafePointer(to: descriptor) { a in
            withUnsafePointer(to: other.descriptor) { b in dnnl_memory_desc_equal(a, b) != 0 }
        }
    }

    /// The layout to tag a tensor with: plain row-major where it is that.
    func layout(of shape: [Int]) -> Layout { channels == .planes ? .rowMajor : .opaque(self) }
}

/// The ways channels lie in an activation tensor N×C×spatial.
enum ChannelOrder: Equatable {
    /// N×C×H×W.
    case planes
    /// N×(C/block)×H×W×block, channels padded to a multiple of the block.
    case blocks(of: Int)
    /// N×H×W×C.
    case last
    /// Something else, such as a layout for weights.
    case other

    init(_ descriptor: dnnl_memory_desc_t) {
        let rank = Int(descriptor.ndims)
        let blocking = descriptor.format_desc.blocking
        let dims = Self.integers(descriptor.dims, rank)
        let padded = Self.integers(descriptor.padded_dims, rank)
        let strides = Self.integers(blocking.strides, rank)
        guard descriptor.format_kind == dnnl_blocked, descriptor.offset0 == 0 else {
            self = .other
            return
        }
        /// Whether the strides are those of `sizes` laid out in `order`, outermost first. The stride of a
        /// dimension of one element does not matter.
        func matches(_ order: [Int], innermost: Int) -> Bool {
            var expected = innermost
            for axis in order.reversed() {
                let size = axis == 1 && innermost > 1 ? padded[1] / innermost : padded[axis]
                if size > 1, strides[axis] != expected { return false }
                expected *= size
            }
            return true
        }
        let natural = Array(0..<rank)
        if blocking.inner_nblks == 0 {
            if dims == padded, matches(natural, innermost: 1) {
                self = .planes
            } else if rank >= 3, dims == padded, matches([0] + natural.dropFirst(2) + [1], innermost: 1) {
                self = .last
            } else {
                self = .other
            }
        } else if blocking.inner_nblks == 1, blocking.inner_idxs.0 == 1, rank >= 3,
            dims[0] == padded[0], matches(natural, innermost: Int(blocking.inner_blks.0))
        {
            self = .blocks(of: Int(blocking.inner_blks.0))
        } else {
            self = .other
        }
    }

    /// The first `count` entries of one of oneDNN's fixed-size arrays of dimensions.
    private static func integers<Dimensions>(_ dimensions: Dimensions, _ count: Int) -> [Int] {
        withUnsafeBytes(of: dimensions) { bytes in
            let all = bytes.bindMemory(to: Int64.self)
            return (0..<count).map { Int(all[$0]) }
        }
    }
}
