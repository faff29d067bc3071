import CZlib
import Foundation

/// A zip archive, read entry by entry: stored and deflated ones, zip64, checksums.
struct ZipArchive {
    private struct Entry {
        var method: UInt16
        var checksum: UInt32
        var compressedSize: Int
        var size: Int
        var headerOffset: Int
        var isStored: Bool { method == 0 }
    }

    private let source: ByteSource
    private let format: WeightFormat
    private var path: String { source.path }
    private var entries: [String: Entry] = [:]

    /// The names of the entries.
    var names: [String] { entries.keys.sorted() }
    /// What all entries together hold, in bytes. Stored entries that overlap count once.
    var totalSize: Int {
        let stored = entries.values.filter(\.isStored).reduce(0) { min($0 + $1.size, source.count) }
        let deflated = entries.values.filter { !$0.isStored }.reduce(0) { $0 + $1.size }
        return stored + deflated
    }

    /// - Parameter format: what the archive is taken for, in errors.
    init(_ source: ByteSource, format: WeightFormat) throws {
        self.source = source
        self.format = format
        try readDirectory()
    }

    func has(_ name: String) -> Bool { entries[name] != nil }

    /// How many bytes an entry has when it is unpacked.
    func size(_ name: String) throws -> Int { try entry(name).size }

    func contentsIfPresent(_ name: String) throws -> Data? {
        entries[name] == nil ? nil : try contents(name)
    }

    /// The bytes of an entry, with `startIndex` 0.
    func contents(_ name: String) throws -> Data {
        let (entry, range) = (try entry(name), try range(of: name))
        let raw = try source.read(range)
        let contents = entry.isStored ? raw : try inflate(raw, to: entry.size, name)
        try compare(Self.checksum(contents), of: name)
        return contents
    }

    /// Throws where the bytes of an entry are not those that were written; holds a part of them at a time.
    func check(_ name: String) throws {
        guard try entry(name).isStored else {
            _ = try contents(name)
            return
        }
        let range = try range(of: name)
        var checksum: UInt32 = 0
        for start in stride(from: range.lowerBound, to: range.upperBound, by: 1 << 20) {
            checksum = Self.checksum(try source.read(start..<min(range.upperBound, start + 1 << 20)), after: checksum)
        }
        try compare(checksum, of: name)
    }

    private func entry(_ name: String) throws -> Entry {
        guard let entry = entries[name] else { throw reader.damaged("the entry \(name) is missing") }
        return entry
    }

    /// Where the bytes of an entry lie, packed as they are.
    private func range(of name: String) throws -> Range<Int> {
        let entry = try entry(name)
        var reader = self.reader
        try reader.seek(to: entry.headerOffset)
        guard try reader.integer(UInt32.self) == 0x0403_4b50 else {
            throw reader.damaged("no entry where \(name) should be")
        }
        try reader.take(22)
        let skipped = Int(try reader.integer(UInt16.self)) + Int(try reader.integer(UInt16.self))
        try reader.take(skipped)
        let range = try reader.take(entry.compressedSize)
        switch entry.method {
        case 0:
            guard entry.size == range.count else { throw reader.damaged("\(name) has two sizes") }
        case 8: break
        default:
            throw ArchiveError.unsupported(path: path, feature: "the zip compression method \(entry.method)")
        }
        return range
    }

    private func compare(_ checksum: UInt32, of name: String) throws {
        guard try entry(name).checksum == checksum else { throw reader.damaged("the checksum of \(name) is wrong") }
    }

    private var reader: ByteReader { ByteReader(source, format: format.title) }

    // MARK: Directory

    private mutating func readDirectory() throws {
        var reader = self.reader
        let (count, offset) = try endRecord()
        // Every entry of the directory takes 46 bytes or more.
        guard count <= source.count / 46 else {
            throw reader.damaged("\(count) entries in \(source.count) bytes")
        }
        try reader.seek(to: offset)
        for _ in 0..<count {
            let (name, entry) = try directoryEntry(&reader)
            guard entry.size <= source.count || entry.method == 8 && entry.size / 1_100 <= entry.compressedSize
            else {
                throw reader.damaged("\(name) claims \(entry.size) bytes")
            }
            // Readers differ in which of two they take.
            guard entries.updateValue(entry, forKey: name) == nil else {
                throw reader.damaged("\(name) is there twice")
            }
        }
        guard sizesAddUp else { throw reader.damaged("entries of absurd sizes") }
    }

    /// Whether what is deflated unpacks to no more than weights do: they hardly compress, a few zeros may. Stored
    /// entries have been found to be no longer than the file.
    private var sizesAddUp: Bool {
        var left = (256 << 20) + 16 * source.count
        for entry in entries.values where !entry.isStored {
            guard entry.size <= left else { return false }
            left -= entry.size
        }
        return true
    }

    /// How many entries there are and where their directory begins.
    private func endRecord() throws -> (count: Int, offset: Int) {
        var reader = self.reader
        let signature: [UInt8] = [0x50, 0x4b, 0x05, 0x06]
        let earliest = max(0, source.count - 65_557)
        let tail = try source.read(earliest..<source.count)
        guard tail.count >= 22,
            let last = stride(from: tail.count - 22, through: 0, by: -1).first(where: {
                tail[$0] == 0x50 && tail[$0..<$0 + 4].elementsEqual(signature)
            })
        else { throw reader.damaged("the zip directory at its end is missing") }
        let end = earliest + last
        try reader.seek(to: end + 10)
        let count = Int(try reader.integer(UInt16.self))
        _ = try reader.take(4)
        let offset = Int(try reader.integer(UInt32.self))
        guard count == 0xffff || offset == 0xffff_ffff else { return (count, offset) }
        return try endRecord64(before: end)
    }

    private func endRecord64(before end: Int) throws -> (count: Int, offset: Int) {
        var reader = self.reader
        try reader.seek(to: end - 20)
        guard try reader.integer(UInt32.self) == 0x0706_4b50 else {
            throw reader.damaged("the zip64 directory is missing")
        }
        _ = try reader.take(4)
        try reader.seek(to: try reader.size())
        guard try reader.integer(UInt32.self) == 0x0606_4b50 else {
            throw reader.damaged("the zip64 directory is missing")
        }
        _ = try reader.take(28)
        let count = try reader.size()
        _ = try reader.take(8)
        return (count, try reader.size())
    }

    private func directoryEntry(_ reader: inout ByteReader) throws -> (String, Entry) {
        guard try reader.integer(UInt32.self) == 0x0201_4b50 else {
            throw reader.damaged("a zip directory entry is broken")
        }
        _ = try reader.take(6)
        let method = try reader.integer(UInt16.self)
        _ = try reader.take(4)
        let checksum = try reader.integer(UInt32.self)
        var entry = Entry(
            method: method, checksum: checksum, compressedSize: Int(try reader.integer(UInt32.self)),
            size: Int(try reader.integer(UInt32.self)), headerOffset: 0)
        let nameLength = Int(try reader.integer(UInt16.self))
        let extraLength = Int(try reader.integer(UInt16.self))
        let commentLength = Int(try reader.integer(UInt16.self))
        _ = try reader.take(8)
        entry.headerOffset = Int(try reader.integer(UInt32.self))
        let name = try reader.text(nameLength)
        try readExtra(try reader.data(extraLength), into: &entry)
        _ = try reader.take(commentLength)
        return (name, entry)
    }

    /// zip64 keeps sizes that do not fit 32 bits in an extra field, in this order.
    private func readExtra(_ bytes: Data, into entry: inout Entry) throws {
        var extra = ByteReader(bytes, path: path, format: format.title)
        while extra.remaining >= 4 {
            let kind = try extra.integer(UInt16.self)
            let length = Int(try extra.integer(UInt16.self))
            guard kind == 1 else {
                _ = try extra.take(min(length, extra.remaining))
                continue
            }
            if entry.size == 0xffff_ffff { entry.size = try extra.size() }
            if entry.compressedSize == 0xffff_ffff { entry.compressedSize = try extra.size() }
            if entry.headerOffset == 0xffff_ffff { entry.headerOffset = try extra.size() }
            return
        }
    }

    // MARK: Contents

    private func inflate(_ raw: Data, to size: Int, _ name: String) throws -> Data {
        let failure = reader.damaged("\(name) cannot be decompressed")
        guard let inputSize = UInt32(exactly: raw.count), let outputSize = UInt32(exactly: size) else {
            throw ArchiveError.unsupported(path: path, feature: "a compressed entry of more than 4 GiB")
        }
        guard size > 0 else { return Data() }
        var stream = z_stream()
        guard inflateInit2_(&stream, -15, zlibVersion(), CInt(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw failure
        }
        defer { inflateEnd(&stream) }
        var result = Data(count: size)
        let status = result.withUnsafeMutableBytes { output in
            raw.withUnsafeBytes { input in
                stream.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
                stream.avail_in = inputSize
                stream.next_out = output.bindMemory(to: UInt8.self).baseAddress
                stream.avail_out = outputSize
                return CZlib.inflate(&stream, Z_FINISH)
            }
        }
        guard status == Z_STREAM_END, stream.avail_out == 0 else { throw failure }
        return result
    }

    /// CRC-32.
    ///
    /// - Parameter before: that of the bytes before these.
    private static func checksum(_ data: Data, after before: UInt32 = 0) -> UInt32 {
        data.withUnsafeBytes { bytes in
            guard let start = bytes.bindMemory(to: UInt8.self).baseAddress else { return before }
            return UInt32(truncatingIfNeeded: crc32_z(UInt(before), start, bytes.count))
        }
    }
}
