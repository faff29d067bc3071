import Foundation

/// A cursor over bytes that were not written by us: every step is checked.
struct ByteReader {
    private let source: ByteSource
    /// The next byte, counted from 0.
    private(set) var position: Int
    private let format: String
    /// Bytes at hand, so that single ones need not be read one by one; all of them where they are in memory.
    private var window: Data
    private var windowStart = 0

    /// How many bytes a file is read ahead.
    private static let windowSize = 65_536

    init(_ source: ByteSource, at position: Int = 0, format: String) {
        self.source = source
        self.position = position
        self.format = format
        window = source.memory ?? Data()
    }

    init(_ bytes: Data, path: String, format: String) {
        self.init(ByteSource(bytes, path: path), format: format)
    }

    /// All bytes, before and after the cursor.
    var count: Int { source.count }
    var remaining: Int { source.count - position }

    func damaged(_ reason: String) -> ArchiveError {
        .damaged(path: source.path, format: format, reason: reason)
    }

    /// Moves to `position`.
    mutating func seek(to position: Int) throws {
        guard (0...count).contains(position) else {
            throw damaged("an offset of \(position) in \(count) bytes")
        }
        self.position = position
    }

    /// Passes over the next `count` bytes, without reading them.
    ///
    /// - Returns: where they lie.
    @discardableResult
    mutating func take(_ count: Int) throws -> Range<Int> {
        guard count >= 0, count <= remaining else {
            throw damaged("it ends too early: \(count) bytes wanted at \(position) of \(self.count)")
        }
        defer { position += count }
        return position..<position + count
    }

    /// The next `count` bytes, with `startIndex` 0.
    mutating func data(_ count: Int) throws -> Data {
        let range = try take(count)
        if count > Self.windowSize { return try source.read(range) }
        return try bytes(range)
    }

    /// An unsigned integer, little endian.
    mutating func integer<Value: FixedWidthInteger & UnsignedInteger>(_ type: Value.Type) throws -> Value {
        let range = try take(MemoryLayout<Value>.size)
        try fill(range)
        var value: Value = 0
        for index in range.reversed() { value = value << 8 | Value(window[index - windowStart]) }
        return value
    }

    mutating func byte() throws -> UInt8 {
        let range = try take(1)
        try fill(range)
        return window[range.lowerBound - windowStart]
    }

    /// A 64-bit size or offset that fits an `Int`.
    mutating func size() throws -> Int {
        let value = try integer(UInt64.self)
        guard let size = Int(exactly: value) else { throw damaged("a size of \(value)") }
        return size
    }

    /// The next `count` bytes as UTF-8; what is not is replaced.
    mutating func text(_ count: Int) throws -> String {
        String(decoding: try data(count), as: UTF8.self)
    }

    /// The bytes before the next line feed, which is passed over.
    mutating func line() throws -> String {
        let range = position..<min(count, position + Self.windowSize)
        try fill(range)
        let start = range.lowerBound - windowStart
        guard let end = window[start..<start + range.count].firstIndex(of: 0x0a) else {
            throw damaged("a line that does not end")
        }
        let line = String(decoding: window[start..<end], as: UTF8.self)
        try take(end - start + 1)
        return line
    }

    private mutating func bytes(_ range: Range<Int>) throws -> Data {
        try fill(range)
        return window.subdata(in: range.lowerBound - windowStart..<range.upperBound - windowStart)
    }

    /// Has the bytes of a range in the window.
    private mutating func fill(_ range: Range<Int>) throws {
        guard range.lowerBound < windowStart || range.upperBound > windowStart + window.count else { return }
        let end = min(count, max(range.upperBound, range.lowerBound + Self.windowSize))
        window = try source.read(range.lowerBound..<end)
        windowStart = range.lowerBound
    }
}
