import Foundation

/// A cursor over bytes that were not written by us: every step is checked.
struct ByteReader {
    let bytes: Data
    /// The next byte, counted from 0.
    private(set) var position: Int
    private let path: String
    private let format: String

    /// - Parameter bytes: with `startIndex` 0.
    init(_ bytes: Data, at position: Int = 0, path: String, format: String) {
        self.bytes = bytes
        self.position = position
        self.path = path
        self.format = format
    }

    var remaining: Int { bytes.count - position }

    func damaged(_ reason: String) -> ArchiveError {
        .damaged(path: path, format: format, reason: reason)
    }

    /// Moves to `position`.
    mutating func seek(to position: Int) throws {
        guard (0...bytes.count).contains(position) else {
            throw damaged("an offset of \(position) in \(bytes.count) bytes")
        }
        self.position = position
    }

    /// The next `count` bytes, without copying them.
    mutating func take(_ count: Int) throws -> Range<Int> {
        guard count >= 0, count <= remaining else {
            throw damaged("it ends too early: \(count) bytes wanted at \(position) of \(bytes.count)")
        }
        defer { position += count }
        return position..<position + count
    }

    mutating func data(_ count: Int) throws -> Data { bytes.subdata(in: try take(count)) }

    /// An unsigned integer, little endian.
    mutating func integer<Value: FixedWidthInteger & UnsignedInteger>(_ type: Value.Type) throws -> Value {
        let range = try take(MemoryLayout<Value>.size)
        return bytes[range].reversed().reduce(0) { $0 << 8 | Value($1) }
    }

    mutating func byte() throws -> UInt8 { bytes[try take(1).lowerBound] }

    /// A 64-bit size or offset that fits an `Int`.
    mutating func size() throws -> Int {
        let value = try integer(UInt64.self)
        guard let size = Int(exactly: value) else { throw damaged("a size of \(value)") }
        return size
    }

    /// The bytes before the next line feed, which is passed over.
    mutating func line() throws -> String {
        guard let end = bytes[position...].prefix(65_536).firstIndex(of: 0x0a) else {
            throw damaged("a line that does not end")
        }
        let range = try take(end - position)
        _ = try take(1)
        return String(decoding: bytes[range], as: UTF8.self)
    }
}
