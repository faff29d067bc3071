import Foundation

/// Damages bytes in the ways in which files are damaged, and in those in which somebody would damage them on purpose.
/// The same seed gives the same damage.
struct Mutator {
    private var generator: SeededGenerator
    /// Mutants are no longer than this, or than 4 KB more than the seed.
    private static let longest = 16_384
    /// Numbers that lengths, offsets and counts break at.
    private static let extremes: [UInt64] = [
        0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
        0x1_0000_0000, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, 0xffff_ffff_ffff_ffff, 0x4000_0000_0000_0000,
    ]
    private static let texts = [
        "0", "-1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "4611686018427387904", "1e400",
        "99999999", "0.5", "null", "\"\"", "[]", "{}",
    ]
    /// Instructions of pickles that build, recall and call.
    private static let instructions = Array("(.012FIJKLMNQRSTUVXabcdeghijlopqrstu}])GBC".utf8) + Array(0x80...0x96)

    init(seed: UInt64) { generator = SeededGenerator(state: seed) }

    private mutating func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &generator) }

    /// One to four kinds of damage.
    ///
    /// - Parameter other: where parts of another file come from.
    mutating func mutate(_ bytes: [UInt8], with other: [UInt8]) -> [UInt8] {
        var result = bytes
        for _ in 0..<number(1..<5) { damage(&result, other) }
        return Array(result.prefix(max(Self.longest, bytes.count + 4_096)))
    }

    private mutating func range(in bytes: [UInt8], most: Int) -> Range<Int> {
        let start = number(0..<bytes.count)
        return start..<min(bytes.count, start + number(1..<most + 1))
    }

    private mutating func damage(_ bytes: inout [UInt8], _ other: [UInt8]) {
        guard !bytes.isEmpty else { return bytes = [UInt8.random(in: 0...255, using: &generator)] }
        switch number(0..<11) {
        case 0: bytes[number(0..<bytes.count)] ^= 1 << UInt8(number(0..<8))
        case 1: bytes[number(0..<bytes.count)] = UInt8.random(in: 0...255, using: &generator)
        case 2: bytes.removeLast(number(0..<bytes.count))
        case 3: bytes.removeSubrange(range(in: bytes, most: 64))
        case 4: bytes.insert(contentsOf: bytes[range(in: bytes, most: 256)], at: number(0..<bytes.count))
        case 5:
            guard !other.isEmpty else { return }
            let piece = other[range(in: other, most: 256)]
            let start = number(0..<bytes.count)
            bytes.replaceSubrange(start..<min(bytes.count, start + piece.count), with: piece)
        case 6: overwriteInteger(&bytes)
        case 7: swapRanges(&bytes)
        case 8: replaceDigits(&bytes)
        case 9:
            let code = Self.instructions[number(0..<Self.instructions.count)]
            bytes.insert(code, at: number(0..<bytes.count + 1))
        default:
            let piece = Array(bytes[range(in: bytes, most: 32)])
            let copies = Array(repeating: piece, count: number(2..<50)).flatMap { $0 }
            bytes.insert(contentsOf: copies, at: number(0..<bytes.count))
        }
    }

    /// A field of 1, 2, 4 or 8 bytes, little endian.
    private mutating func overwriteInteger(_ bytes: inout [UInt8]) {
        let width = 1 << number(0..<4)
        guard bytes.count >= width else { return }
        var value = Self.extremes[number(0..<Self.extremes.count)]
        if number(0..<4) == 0 { value = UInt64(bytes.count) &+ UInt64(number(0..<3)) &- 1 }
        let start = number(0..<bytes.count - width + 1)
        for index in 0..<width { bytes[start + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
    }

    private mutating func swapRanges(_ bytes: inout [UInt8]) {
        let width = 1 << number(0..<6)
        guard bytes.count >= width else { return }
        let (a, b) = (number(0..<bytes.count - width + 1), number(0..<bytes.count - width + 1))
        for index in 0..<width { bytes.swapAt(a + index, b + index) }
    }

    /// A number written in digits: sizes in JSON, integers of pickles.
    private mutating func replaceDigits(_ bytes: inout [UInt8]) {
        let isDigit = { (byte: UInt8) in (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
        let start = number(0..<bytes.count)
        guard let first = bytes[start...].firstIndex(where: isDigit) else { return }
        let end = bytes[first...].firstIndex { !isDigit($0) } ?? bytes.count
        bytes.replaceSubrange(first..<end, with: Array(Self.texts[number(0..<Self.texts.count)].utf8))
    }
}

/// A zip archive of stored entries, so that damage within an entry is not found by its checksum.
enum StoredZip {
    static func make(_ entries: [(name: String, bytes: [UInt8])]) -> [UInt8] {
        var (file, directory): ([UInt8], [UInt8]) = ([], [])
        for (name, bytes) in entries {
            let sizes = little(checksum(bytes), 4) + little(bytes.count, 4) + little(bytes.count, 4)
            let fields = little(0, 2) + little(0, 2) + little(0, 4) + sizes + little(name.utf8.count, 2) + little(0, 2)
            directory += little(0x0201_4b50, 4) + little(20, 2) + little(20, 2) + fields + little(0, 2) + little(0, 2)
            directory += little(0, 2) + little(0, 4) + little(file.count, 4) + Array(name.utf8)
            file += little(0x0403_4b50, 4) + little(20, 2) + fields + Array(name.utf8) + bytes
        }
        return file + directory + little(0x0605_4b50, 4) + little(0, 4) + little(entries.count, 2)
            + little(entries.count, 2) + little(directory.count, 4) + little(file.count, 4) + little(0, 2)
    }

    /// The entries of an archive whose entries are stored; for files that are known to be sound.
    static func entries(_ bytes: [UInt8]) -> [(name: String, bytes: [UInt8])] {
        var entries: [(name: String, bytes: [UInt8])] = []
        var position = number(bytes, bytes.count - 6, 4)
        while position + 46 <= bytes.count, number(bytes, position, 4) == 0x0201_4b50 {
            let nameLength = number(bytes, position + 28, 2)
            let name = String(decoding: bytes[position + 46..<position + 46 + nameLength], as: UTF8.self)
            let (size, header) = (number(bytes, position + 24, 4), number(bytes, position + 42, 4))
            let start = header + 30 + number(bytes, header + 26, 2) + number(bytes, header + 28, 2)
            entries.append((name, Array(bytes[start..<start + size])))
            position += 46 + nameLength + number(bytes, position + 30, 2) + number(bytes, position + 32, 2)
        }
        return entries
    }

    private static func number(_ bytes: [UInt8], _ position: Int, _ width: Int) -> Int {
        bytes[position..<position + width].reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    private static func little(_ value: Int, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xedb8_8320 : value >> 1 }
    }

    private static func checksum(_ bytes: [UInt8]) -> Int {
        Int(~bytes.reduce(~UInt32(0)) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 })
    }
}
