/// Text on its way to tokens: its UTF-8, and for each byte the number of the original text's scalar it came from.
struct NormalizedText: Sendable {
    private(set) var bytes: [UInt8] = []
    private(set) var origins: [Int32] = []

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        origins.removeAll(keepingCapacity: true)
    }

    mutating func reserve(_ count: Int) {
        bytes.reserveCapacity(bytes.count + count)
        origins.reserveCapacity(origins.count + count)
    }

    @inline(__always)
    mutating func append(_ byte: UInt8, from origin: Int32) {
        bytes.append(byte)
        origins.append(origin)
    }

    mutating func append(_ scalar: Unicode.Scalar, from origin: Int32) {
        for byte in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter { append(byte, from: origin) }
    }

    /// Calls `body` with the bytes and origins as a view.
    func withView<T>(_ body: (TextView) -> T) -> T {
        bytes.withUnsafeBufferPointer { bytes in
            origins.withUnsafeBufferPointer { body(TextView(bytes: bytes, origins: $0)) }
        }
    }
}

/// Borrowed bytes of valid UTF-8 with their origins.
struct TextView {
    let bytes: UnsafeBufferPointer<UInt8>
    let origins: UnsafeBufferPointer<Int32>

    /// The scalars of the original text that the bytes `range` (not empty) came from.
    @inline(__always)
    func span(_ range: Range<Int>) -> Range<Int> {
        let (first, last) = (Int(origins[range.lowerBound]), Int(origins[range.upperBound - 1]))
        return first..<max(first, last) + 1
    }
}

extension UnsafeBufferPointer<UInt8> {
    /// The scalar that begins at `position` of valid UTF-8, and how many bytes it has.
    @inline(__always)
    func scalar(at position: Int) -> (scalar: Unicode.Scalar, count: Int) {
        let first = UInt32(self[position])
        if first < 0x80 { return (Unicode.Scalar(UInt8(first)), 1) }
        let count = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        guard position + count <= self.count else { return ("\u{FFFD}", self.count - position) }
        var value = first & (0xFF >> UInt32(count + 1))
        for index in 1..<count { value = value << 6 | UInt32(self[position + index] & 0x3F) }
        return (Unicode.Scalar(value) ?? "\u{FFFD}", count)
    }

    /// The scalar that ends before `position` of valid UTF-8, and how many bytes it has.
    func scalar(before position: Int) -> (scalar: Unicode.Scalar, count: Int) {
        var start = position - 1
        while start > 0, self[start] & 0xC0 == 0x80 { start -= 1 }
        return (scalar(at: start).scalar, position - start)
    }

    /// How many scalars the bytes `range` of valid UTF-8 are.
    func scalarCount(_ range: Range<Int>) -> Int {
        var count = 0
        for index in range where self[index] & 0xC0 != 0x80 { count += 1 }
        return count
    }
}
