/// Byte strings with a number each, for finding the longest one that a text continues with. Two sets can share a
/// trie, each with its own root. Children are kept in one hash table of (node, byte), so that a step is one look-up.
struct ByteTrie: Sendable {
    static let root: UInt32 = 1
    static let secondRoot: UInt32 = 2

    /// node × 256 + byte; 0 is a free slot, because nodes count from 1.
    private var keys: [UInt64]
    private var children: [UInt32]
    private var shift: UInt64
    private var used = 0
    /// By node; −1 where no string ends.
    private var values: [Int32] = [-1, -1, -1]

    init() {
        keys = [UInt64](repeating: 0, count: 1 << 8)
        children = [UInt32](repeating: 0, count: 1 << 8)
        shift = 64 - 8
    }

    @inline(__always)
    private func place(of key: UInt64) -> Int {
        var slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> shift)
        let mask = keys.count &- 1
        while keys[slot] != key && keys[slot] != 0 { slot = (slot &+ 1) & mask }
        return slot
    }

    /// Adds a string that is not empty; one that is already there gets the new number.
    mutating func insert(_ string: some Sequence<UInt8>, at root: UInt32 = ByteTrie.root, value: Int32) {
        var node = root
        for byte in string {
            let key = UInt64(node) << 8 | UInt64(byte)
            var slot = place(of: key)
            if keys[slot] == 0 {
                if used * 2 >= keys.count {
                    grow()
                    slot = place(of: key)
                }
                keys[slot] = key
                children[slot] = UInt32(values.count)
                values.append(-1)
                used += 1
            }
            node = children[slot]
        }
        values[Int(node)] = value
    }

    private mutating func grow() {
        let (oldKeys, oldChildren) = (keys, children)
        keys = [UInt64](repeating: 0, count: oldKeys.count * 2)
        children = [UInt32](repeating: 0, count: oldKeys.count * 2)
        shift -= 1
        for (index, key) in oldKeys.enumerated() where key != 0 {
            let slot = place(of: key)
            keys[slot] = key
            children[slot] = oldChildren[index]
        }
    }

    /// The number of the longest string with which `bytes` goes on at `range.lowerBound`, and where it ends.
    @inline(__always)
    func longest(
        _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, from root: UInt32 = ByteTrie.root
    ) -> (value: Int32, end: Int)? {
        var node = root
        var best: (value: Int32, end: Int)?
        for position in range {
            let slot = place(of: UInt64(node) << 8 | UInt64(bytes[position]))
            if keys[slot] == 0 { break }
            node = children[slot]
            let value = values[Int(node)]
            if value >= 0 { best = (value, position + 1) }
        }
        return best
    }
}
