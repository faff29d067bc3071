/// GPT-2's treatment of text before byte-pair merging (Radford et al. 2019, `encoder.py` of openai/gpt-2): it is split
/// into pieces, and vocabulary files write each of the 256 bytes as a printable scalar.
enum ByteLevel {
    /// The scalar for each byte: itself where it is printable, one from U+0100 on where it is not.
    static let alphabet: [Unicode.Scalar] = {
        var next: UInt32 = 0x100
        return (0...255).map { (byte: UInt8) -> Unicode.Scalar in
            if (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE {
                return Unicode.Scalar(byte)
            }
            next += 1
            return Unicode.Scalar(next - 1) ?? Unicode.Scalar(byte)
        }
    }()

    private static let bytesOfScalars: [UInt32: UInt8] = Dictionary(
        uniqueKeysWithValues: zip(alphabet.map(\.value), UInt8.min...UInt8.max))

    /// The bytes that a vocabulary's token stands for, nil where it has a scalar that stands for none.
    static func bytes(of token: [UInt8]) -> [UInt8]? {
        var bytes: [UInt8] = []
        for scalar in String(decoding: token, as: UTF8.self).unicodeScalars {
            guard let byte = bytesOfScalars[scalar.value] else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    /// Calls `body` with each piece of `range` that GPT-2's expression makes, without gaps:
    ///
    ///     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    static func forEachPiece(
        _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ body: (Range<Int>) -> Void
    ) {
        var position = range.lowerBound
        while position < range.upperBound {
            let end = pieceEnd(bytes, position..<range.upperBound)
            body(position..<end)
            position = end
        }
    }

    /// Where the piece ends that begins at `range.lowerBound`.
    private static func pieceEnd(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Int {
        let start = range.lowerBound
        if bytes[start] == UInt8(ascii: "'"), let end = contractionEnd(bytes, range) { return end }
        let first = scalarClass(bytes, at: start)
        var kind = first.kind
        var position = start + first.count
        if bytes[start] == 0x20, position < range.upperBound {
            let following = scalarClass(bytes, at: position)
            if following.kind != .space {
                kind = following.kind
                position += following.count
            }
        }
        // Of a run of spaces, the last one goes with what follows, unless nothing does.
        var last = start
        var end = position
        while end < range.upperBound {
            let following = scalarClass(bytes, at: end)
            if following.kind != kind { break }
            last = end
            end += following.count
        }
        return kind == .space && end < range.upperBound && last > start ? last : end
    }

    private static func contractionEnd(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Int? {
        guard range.count >= 2 else { return nil }
        let first = bytes[range.lowerBound + 1]
        switch first {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return range.lowerBound + 2
        default: break
        }
        guard range.count >= 3 else { return nil }
        switch (first, bytes[range.lowerBound + 2]) {
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
            (UInt8(ascii: "l"), UInt8(ascii: "l")):
            return range.lowerBound + 3
        default: return nil
        }
    }

    @inline(__always)
    private static func scalarClass(
        _ bytes: UnsafeBufferPointer<UInt8>, at position: Int
    ) -> (kind: Unicode.Scalar.GPT2Class, count: Int) {
        let byte = bytes[position]
        if byte < 0x80 { return (asciiClasses[Int(byte)], 1) }
        let (scalar, count) = bytes.scalar(at: position)
        return (scalar.gpt2Class, count)
    }

    private static let asciiClasses = (0..<0x80).map { (byte: UInt8) in Unicode.Scalar(byte).gpt2Class }
}
