import Tensors

/// A keyed permutation of 0..<count, computed index by index: nobody holds a shuffled list.
///
/// A Feistel network of eight rounds permutes the numbers of a slightly larger domain (a power of four);
/// where a number falls outside 0..<count it goes through again until it falls inside (cycle walking; Black
/// and Rogaway 2002, "Ciphers with arbitrary finite domains", https://doi.org/10.1007/3-540-45760-7_9).
public struct Permutation: Sendable {
    public let count: Int
    private let halfBits: UInt64
    private let roundKeys: [UInt64]

    /// - Precondition: `count` is not negative.
    public init(count: Int, key: RandomKey) {
        precondition(count >= 0, "a permutation of \(count) numbers")
        self.count = count
        let bits = Int.bitWidth - max(count - 1, 0).leadingZeroBitCount
        // Halves of one or two bits know too few permutations to be fair, hence at least four.
        halfBits = UInt64(max((bits + 1) / 2, 4))
        var generator = PhiloxGenerator(key: key)
        roundKeys = (0..<8).map { _ in generator.next() }
    }

    /// Where `index` goes.
    /// - Precondition: 0 ≤ index < count.
    public subscript(index: Int) -> Int {
        precondition(index >= 0 && index < count, "index \(index) of a permutation of \(count)")
        var value = UInt64(index)
        repeat { value = encrypt(value) } while value >= UInt64(count)
        return Int(value)
    }

    private func encrypt(_ value: UInt64) -> UInt64 {
        let mask: UInt64 = (1 << halfBits) - 1
        var left = value >> halfBits
        var right = value & mask
        for key in roundKeys {
            (left, right) = (right, left ^ (Self.mix(right ^ key) & mask))
        }
        return left << halfBits | right
    }

    /// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    @inline(__always)
    private static func mix(_ value: UInt64) -> UInt64 {
        var z = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
