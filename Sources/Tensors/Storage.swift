import Foundation

/// A block of 64-byte-aligned memory from the pool, given back when nobody holds it any more.
///
/// A storage never changes after it has been filled, except through `Tensor.mutateScalars`, which
/// copies where somebody else holds the storage too.
package final class Storage: @unchecked Sendable {
    package let pointer: UnsafeMutableRawPointer
    package let byteCount: Int
    package let elementType: ElementType
    let isBorrowed: Bool
    /// What one unit of 8-bit activations stands for; nil for other contents.
    var quantizationStep: Float?

    /// Reordered copies for the layouts that constant convolution weights are used in. Emptied
    /// whenever the values change.
    var reordered: [(layout: OpaqueLayout, storage: Storage)] = []

    /// Takes uninitialised memory from the pool.
    package init(byteCount: Int, elementType: ElementType = .float32) {
        self.byteCount = byteCount
        self.elementType = elementType
        isBorrowed = false
        pointer = StoragePool.shared.take(byteCount)
    }

    /// Floats in memory of somebody else, who keeps it while this exists.
    init(borrowing pointer: UnsafeMutableRawPointer, byteCount: Int) {
        self.pointer = pointer
        self.byteCount = byteCount
        elementType = .float32
        isBorrowed = true
    }

    deinit {
        if !isBorrowed { StoragePool.shared.giveBack(pointer, byteCount) }
    }

    var floats: UnsafeMutablePointer<Float> { pointer.assumingMemoryBound(to: Float.self) }
    var integers: UnsafeMutablePointer<Int32> { pointer.assumingMemoryBound(to: Int32.self) }
}

/// Keeps freed blocks for reuse, so that a training step asks the system for memory only in its
/// first few rounds. Safe to use from any thread.
public final class StoragePool: @unchecked Sendable {
    /// The pool all tensors draw from.
    public static let shared = StoragePool()

    /// What the pool has done so far, in bytes and counts.
    public struct Statistics: Sendable {
        /// Bytes in tensors now.
        public var bytesInUse = 0
        /// The most bytes that were ever in tensors at one time: the high-water mark.
        public var highWaterMark = 0
        /// Bytes held from the system, in use or kept for reuse.
        public var bytesHeld = 0
        /// How often memory was asked from the system.
        public var systemAllocations = 0
    }

    private let lock = NSLock()
    /// Free small blocks, by size.
    private var small: [Int: [UnsafeMutableRawPointer]] = [:]
    private var large = LargeBlocks()
    private var counts = Statistics()

    /// A snapshot of the counters.
    public var statistics: Statistics {
        lock.withLock {
            var result = counts
            result.bytesHeld += large.bytesHeld
            result.systemAllocations += large.growths
            return result
        }
    }

    /// Starts a new high-water mark at the present use.
    public func resetHighWaterMark() {
        lock.withLock { counts.highWaterMark = counts.bytesInUse }
    }

    /// Returns the blocks kept for reuse to the system.
    public func trim() {
        lock.withLock {
            for (size, blocks) in small {
                counts.bytesHeld -= size * blocks.count
                for block in blocks { free(block) }
            }
            small = [:]
            large.trim()
        }
    }

    private static let largest = 1 << 18

    /// Sizes are rounded up so that tensors of nearly equal size share blocks: to 64 bytes when small, to an eighth
    /// of the next lower power of two when larger, to whole pages when large.
    private static func blockSize(_ byteCount: Int) -> Int {
        let rounded = max(64, (byteCount + 63) & ~63)
        guard rounded > 4096 else { return rounded }
        let step = rounded > largest ? LargeBlocks.page : 1 << (Int.bitWidth - rounded.leadingZeroBitCount - 4)
        return (rounded + step - 1) & ~(step - 1)
    }

    func take(_ byteCount: Int) -> UnsafeMutableRawPointer {
        let size = Self.blockSize(byteCount)
        lock.lock()
        defer { lock.unlock() }
        counts.bytesInUse += size
        counts.highWaterMark = max(counts.highWaterMark, counts.bytesInUse)
        if size > Self.largest { return large.take(size) }
        if let block = small[size]?.popLast() { return block }
        counts.bytesHeld += size
        counts.systemAllocations += 1
        var block: UnsafeMutableRawPointer?
        guard posix_memalign(&block, 64, size) == 0, let block else {
            fatalError("out of memory: a tensor of \(byteCount) bytes does not fit")
        }
        return block
    }

    func giveBack(_ block: UnsafeMutableRawPointer, _ byteCount: Int) {
        let size = Self.blockSize(byteCount)
        lock.withLock {
            counts.bytesInUse -= size
            if size > Self.largest { large.giveBack(block, size) } else { small[size, default: []].append(block) }
        }
    }
}
