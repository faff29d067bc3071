import Foundation

/// Memory for large tensors: blocks cut from one stretch of address space, the smallest free one that is large enough,
/// and joined with their neighbours again when they come back.
///
/// Blocks of fixed sizes, as small tensors have them, would stay apart: a training step leaves blocks of one size
/// behind in its forward pass and asks for another in its backward pass (ResNet-50 and VGG16 held 20 and 50 % more
/// than they ever used). The stretch asks for huge pages, where the system gives them to those who ask.
package struct LargeBlocks {
    /// Address space is free of charge: memory comes with the first use.
    private static let reservation = 1 << 42
    package static let page = 4096

    private struct FreeBlock {
        var size: Int
        /// Whether memory stands behind it, or has been returned to the system.
        var isBacked: Bool
    }

    /// By offset.
    private var free: [Int: FreeBlock] = [:]
    /// Offset of the free block that ends at a place.
    private var endingAt: [Int: Int] = [:]
    /// All free blocks, by size and then by offset.
    private var bySize: [(size: Int, offset: Int)] = []
    /// Where the part ends that was ever given out.
    private var top = 0
    private lazy var base = Self.reserve()

    /// Bytes that were taken from the system and not returned.
    package private(set) var bytesHeld = 0
    /// How often more was taken from the system.
    package private(set) var growths = 0

    package init() {}

    /// - Parameter size: in whole pages.
    package mutating func take(_ size: Int) -> UnsafeMutableRawPointer {
        let place = firstBySize(size, 0)
        guard place < bySize.count else { return base + grow(by: size) }
        let (whole, offset) = bySize[place]
        let block = remove(offset)
        if !block.isBacked { bytesHeld += size }
        if whole > size { insert(offset + size, FreeBlock(size: whole - size, isBacked: block.isBacked)) }
        return base + offset
    }

    package mutating func giveBack(_ pointer: UnsafeMutableRawPointer, _ size: Int) {
        var offset = pointer - base
        var block = FreeBlock(size: size, isBacked: true)
        if let before = endingAt[offset] {
            let neighbour = remove(before)
            join(neighbour, to: &block)
            offset = before
        }
        if free[offset + block.size] != nil {
            let neighbour = remove(offset + block.size)
            join(neighbour, to: &block)
        }
        insert(offset, block)
    }

    /// Returns the memory of free blocks to the system; their addresses stay.
    package mutating func trim() {
        for (offset, block) in free where block.isBacked {
            madvise(base + offset, block.size, MADV_DONTNEED)
            free[offset]?.isBacked = false
            bytesHeld -= block.size
        }
    }

    // MARK: Parts

    private static func reserve() -> UnsafeMutableRawPointer {
        let huge = 1 << 21
        let memory = mmap(nil, reservation + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let memory, memory != MAP_FAILED else { fatalError("out of address space for tensors") }
        let aligned = memory.alignedUp(toMultipleOf: huge)
        madvise(aligned, reservation, MADV_HUGEPAGE)
        return aligned
    }

    /// Makes room at the top; a free block that lies there becomes part of it.
    private mutating func grow(by size: Int) -> Int {
        var (offset, held) = (top, 0)
        if let last = endingAt[top] {
            let block = remove(last)
            (offset, held) = (last, block.isBacked ? block.size : 0)
        }
        let end = offset + size
        guard end <= Self.reservation, mprotect(base + top, end - top, PROT_READ | PROT_WRITE) == 0 else {
            fatalError("out of memory: a tensor of \(size) bytes does not fit")
        }
        top = end
        bytesHeld += size - held
        growths += 1
        return offset
    }

    /// The part of a free neighbour that was returned to the system counts as held again: it may be used as one with
    /// the rest.
    private mutating func join(_ neighbour: FreeBlock, to block: inout FreeBlock) {
        if !neighbour.isBacked { bytesHeld += neighbour.size }
        block.size += neighbour.size
    }

    private mutating func insert(_ offset: Int, _ block: FreeBlock) {
        free[offset] = block
        endingAt[offset + block.size] = offset
        bySize.insert((block.size, offset), at: firstBySize(block.size, offset))
    }

    private mutating func remove(_ offset: Int) -> FreeBlock {
        guard let block = free.removeValue(forKey: offset) else {
            preconditionFailure("LargeBlocks: no free block at \(offset)")
        }
        endingAt[offset + block.size] = nil
        bySize.remove(at: firstBySize(block.size, offset))
        return block
    }

    /// The first entry of `bySize` that is not before (size, offset).
    private func firstBySize(_ size: Int, _ offset: Int) -> Int {
        var (low, high) = (0, bySize.count)
        while low < high {
            let middle = (low + high) / 2
            if bySize[middle] < (size, offset) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
