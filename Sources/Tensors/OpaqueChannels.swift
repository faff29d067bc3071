import COneDNN

/// Joining and slicing channels without leaving a blocked layout: possible where every part is a whole number
/// of blocks, since then a part is one stretch of each sample. oneDNN itself falls to slow reference code here.
enum OpaqueChannels {
    /// The parts joined along the channels, or nil where they do not all lie in the same blocks.
    static func concatenated(_ parts: [Tensor], axis: Int, _ full: [Int]) -> Tensor? {
        guard axis == 1, let first = parts.first, let block = block(of: first),
            parts.allSatisfy({ self.block(of: $0) == block && $0.shape[1] % block == 0 }),
            let result = uninitialized(full, block: block)
        else { return nil }
        let positions = full[2] * full[3]
        var start = 0
        for part in parts {
            let length = part.shape[1] * positions
            StridedCopy([full[0], length], from: [length, 1], to: [full[1] * positions, 1])
                .run(from: part.storage, to: result.storage, toOffset: start)
            start += length
        }
        return result
    }

    /// Channels `start..<start + size[1]` of a blocked tensor, or nil where they are not whole blocks.
    static func slice(_ whole: Tensor, start: Int, _ size: [Int]) -> Tensor? {
        guard let block = block(of: whole), start % block == 0, size[1] % block == 0,
            let result = uninitialized(size, block: block)
        else { return nil }
        let positions = size[2] * size[3]
        let padded = (whole.shape[1] + block - 1) / block * block
        StridedCopy(
            [size[0], size[1] * positions], from: [padded * positions, 1], to: [size[1] * positions, 1]
        )
        .run(from: whole.storage, fromOffset: start * positions, to: result.storage)
        return result
    }

    static func block(of tensor: Tensor) -> Int? {
        guard tensor.rank == 4, tensor.elementType == .float32, case .opaque(let opaque) = tensor.layout,
            case .blocks(let block) = opaque.channels
        else { return nil }
        return block
    }

    static func uninitialized(_ shape: [Int], block: Int) -> Tensor? {
        let tags = [4: dnnl_nChw4c, 8: dnnl_nChw8c, 16: dnnl_nChw16c]
        guard let tag = tags[block] else { return nil }
        let layout = OpaqueLayout(OneDNN.descriptor(shape, tag: tag))
        return Tensor(shape: shape, storage: Storage(byteCount: layout.byteCount), layout: .opaque(layout))
    }
}

extension Tensor {
    /// `place` of this tensor in its own blocks, where they allow that.
    func opaqueSlice(_ place: Placement, _ size: [Int]) -> Tensor? {
        guard place.axis == 1, place.step == 1 else { return nil }
        return OpaqueChannels.slice(self, start: place.start, size)
    }
}

extension Tensor {
    /// Whether the elements lie in a layout that oneDNN chose. For tests: results do not depend on it.
    package var hasOpaqueLayout: Bool { !layout.isRowMajor }

    /// The same N×C×H×W values in blocks of channels, off the tape.
    package func inChannelBlocks(of block: Int) -> Tensor {
        guard let result = OpaqueChannels.uninitialized(shape, block: block), case .opaque(let wanted) = result.layout
        else { preconditionFailure("inChannelBlocks: no blocks of \(block) for the shape \(shape)") }
        OneDNN.reorder(storage, opaqueLayout, to: result.storage, wanted)
        return result
    }

    /// What lies in the padded channels of a tensor in blocks.
    package var channelPadding: [Float] {
        guard let block = OpaqueChannels.block(of: self) else { return [] }
        let positions = shape[2] * shape[3]
        let padded = (shape[1] + block - 1) / block * block
        return (0..<shape[0] * padded * positions).compactMap { i in
            let channel = i / (positions * block) % (padded / block) * block + i % block
            return channel < shape[1] ? nil : storage.floats[i]
        }
    }
}
