import Foundation

/// What random numbers are for, so that no two uses share them.
public enum RandomPurpose: UInt64, Sendable {
    case initialization = 1, dropout, augmentation, shuffle, selection, test, generation
}

/// Names a stream of random numbers. Everything random follows from such keys: there is no state to save, and
/// nothing depends on threads, ranks or the order of calls.
public struct RandomKey: Hashable, Sendable {
    /// The seed of the run.
    public var seed: UInt64
    public var purpose: RandomPurpose
    /// The layer or parameter, and which of its calls.
    public var path: String
    public var epoch: Int
    /// The position of the batch or sample in the epoch.
    public var position: Int

    public init(seed: UInt64, purpose: RandomPurpose, path: String = "", epoch: Int = 0, position: Int = 0) {
        self.seed = seed
        self.purpose = purpose
        self.path = path
        self.epoch = epoch
        self.position = position
    }

    /// The key of the generator and the upper half of its counter: 128 bits mixed from all parts.
    var words: (key: UInt64, stream: UInt64) {
        var pathHash: UInt64 = 0xcbf2_9ce4_8422_2325  // FNV-1a
        for byte in path.utf8 { pathHash = (pathHash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let parts = [
            seed, purpose.rawValue, pathHash, UInt64(bitPattern: Int64(epoch)),
            UInt64(bitPattern: Int64(position)),
        ]
        return (
            parts.reduce(0x243f_6a88_85a3_08d3) { Self.mix($0 ^ $1) },
            parts.reduce(0x1319_8a2e_0370_7344) { Self.mix($0 ^ $1) }
        )
    }

    /// The finaliser of SplitMix64 (Steele, Lea and Flood 2014), after a step of its generator.
    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// Philox4x32-10, a counter-based generator: four numbers are a function of a counter and a key (Salmon et al.
/// 2011, "Parallel random numbers: as easy as 1, 2, 3", https://doi.org/10.1145/2063384.2063405). Checked
/// against the paper's known answers.
public enum Philox {
    /// The four words of one counter.
    public static func block(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
        var (c, k) = (counter, key)
        for _ in 0..<10 {
            let a = UInt64(0xd251_1f53) &* UInt64(c[0])
            let b = UInt64(0xcd9e_8d57) &* UInt64(c[2])
            c = SIMD4(
                UInt32(truncatingIfNeeded: b >> 32) ^ c[1] ^ k[0], UInt32(truncatingIfNeeded: b),
                UInt32(truncatingIfNeeded: a >> 32) ^ c[3] ^ k[1], UInt32(truncatingIfNeeded: a))
            k = SIMD2(k[0] &+ 0x9e37_79b9, k[1] &+ 0xbb67_ae85)
        }
        return c
    }
}

/// The stream of random numbers that a `RandomKey` names. Any of them can be asked for by its index.
public struct PhiloxGenerator: RandomNumberGenerator, Sendable {
    let key: SIMD2<UInt32>
    let stream: SIMD2<UInt32>
    /// The index of the next 32-bit word.
    public private(set) var index: UInt64

    /// - Parameter index: the 32-bit word to start at.
    public init(key: RandomKey, startingAt index: UInt64 = 0) {
        let words = key.words
        self.key = SIMD2(UInt32(truncatingIfNeeded: words.key), UInt32(truncatingIfNeeded: words.key >> 32))
        stream = SIMD2(
            UInt32(truncatingIfNeeded: words.stream), UInt32(truncatingIfNeeded: words.stream >> 32))
        self.index = index
    }

    /// The four words `4 · number ..< 4 · number + 4`.
    public func block(_ number: UInt64) -> SIMD4<UInt32> {
        let counter = SIMD4(
            UInt32(truncatingIfNeeded: number), UInt32(truncatingIfNeeded: number >> 32), stream[0], stream[1])
        return Philox.block(counter: counter, key: key)
    }

    /// The 32-bit word at `index`.
    public func word(at index: UInt64) -> UInt32 { block(index / 4)[Int(index % 4)] }

    /// The uniform number in [0, 1) at `index`.
    public func uniform(at index: UInt64) -> Float { Self.uniform(word(at: index)) }

    public mutating func next() -> UInt64 {
        defer { index += 2 }
        return UInt64(word(at: index)) | UInt64(word(at: index + 1)) << 32
    }

    /// The next uniform number in [0, 1).
    public mutating func nextUniform() -> Float {
        defer { index += 1 }
        return uniform(at: index)
    }

    /// The next number of the standard normal distribution.
    public mutating func nextNormal() -> Float {
        defer { index += 2 }
        return Self.normal(word(at: index), word(at: index + 1)).0
    }

    /// A multiple of 2⁻²⁴ in [0, 1).
    static func uniform(_ word: UInt32) -> Float { Float(word >> 8) * 0x1p-24 }

    /// Two numbers of the standard normal distribution from two words (Box and Muller 1958).
    static func normal(_ first: UInt32, _ second: UInt32) -> (Float, Float) {
        // (0, 1], since the logarithm wants no zero.
        let u = (Double(first) + 1) * 0x1p-32
        let angle = 2 * Double.pi * Double(second) * 0x1p-32
        let radius = (-2 * Foundation.log(u)).squareRoot()
        return (Float(radius * Foundation.cos(angle)), Float(radius * Foundation.sin(angle)))
    }

    /// Fills memory with the stream from its beginning; `convert` makes four numbers of four words.
    func fill(_ target: UnsafeMutablePointer<Float>, count: Int, convert: (SIMD4<UInt32>) -> SIMD4<Float>) {
        Threads.parallelFor(count: (count + 3) / 4, grain: Elementwise.grain / 16) { blocks in
            for number in blocks {
                let values = convert(block(UInt64(number)))
                for i in 0..<Swift.min(4, count - number * 4) { target[number * 4 + i] = values[i] }
            }
        }
    }
}

extension Tensor {
    /// Uniformly distributed numbers in `range` (its upper end not included), the same for the same key.
    public static func uniform(_ shape: [Int], in range: Range<Float>, key: RandomKey) -> Tensor {
        let width = range.upperBound - range.lowerBound
        return Tensor(shape: shape) { target in
            guard let start = target.baseAddress else { return }
            PhiloxGenerator(key: key).fill(start, count: target.count) { words in
                var values = SIMD4<Float>.zero
                for i in 0..<4 {
                    let value = range.lowerBound + width * PhiloxGenerator.uniform(words[i])
                    values[i] = value < range.upperBound ? value : range.upperBound.nextDown
                }
                return values
            }
        }
    }

    /// Normally distributed numbers, the same for the same key.
    public static func normal(
        _ shape: [Int], mean: Float = 0, standardDeviation: Float = 1, key: RandomKey
    ) -> Tensor {
        Tensor(shape: shape) { target in
            guard let start = target.baseAddress else { return }
            PhiloxGenerator(key: key).fill(start, count: target.count) { words in
                let (a, b) = PhiloxGenerator.normal(words[0], words[1])
                let (c, d) = PhiloxGenerator.normal(words[2], words[3])
                return SIMD4(a, b, c, d) * standardDeviation + mean
            }
        }
    }
}
