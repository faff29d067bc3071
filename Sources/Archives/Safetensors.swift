import Foundation
import Tensors

/// The safetensors format: eight bytes of header length, a JSON header, and the values.
///
/// Checks what the reference implementation checks
/// (huggingface/safetensors:safetensors/src/tensor.rs): header length, bounds, and that the tensors
/// fill the file without gap or overlap.
enum Safetensors {
    /// The reference implementation's limit, 100 MB.
    private static let longestHeader = 100_000_000
    /// Our metadata in the header's `__metadata__`, as JSON.
    private static let metadataKey = "graft"

    /// Reads the header, then one tensor after the other: memory is taken for the values once.
    ///
    /// - Parameter listing: whether tensors come without their values.
    static func read(_ source: ByteSource, listing: Bool) throws -> WeightFile {
        var reader = ByteReader(source, format: "safetensors")
        let length = try reader.size()
        guard length <= longestHeader, length <= reader.remaining else {
            throw reader.damaged("a header of \(length) bytes in a file of \(source.count)")
        }
        let header = try decodeHeader(try reader.data(length), reader)
        var tensors: [StoredTensor] = []
        var next = 0
        for (name, entry) in header.entries {
            guard entry.begin == next, entry.end >= next, entry.end <= reader.remaining else {
                throw reader.damaged(
                    "\(name) lies at \(entry.begin)..<\(entry.end), where \(next) was expected")
            }
            next = entry.end
            let type = try elementType(name, entry, reader)
            let bytes = listing ? Data() : try source.read(8 + length + entry.begin..<8 + length + entry.end)
            tensors.append(
                StoredTensor(
                    listed: name, shape: entry.shape, elementType: type, bytes: bytes, sourceElementType: type,
                    role: .expected(for: name), layout: nil))
        }
        guard next == reader.remaining else {
            throw reader.damaged("\(reader.remaining - next) bytes belong to no tensor")
        }
        return WeightFile(format: .safetensors, tensors: tensors, metadata: metadata(header.metadata))
    }

    /// The bytes of a safetensors file: wider element types first, so that every value is aligned. Tensors that were
    /// widened when they were read become again what they were, where they still can.
    static func encode(_ file: WeightFile, path: String) throws -> [Data] {
        let tensors = file.tensors.map(\.narrowed)
        let ordered = ElementType.allCases.map(\.byteCount).reduce(into: Set()) { $0.insert($1) }
            .sorted(by: >)
            .flatMap { width in tensors.filter { $0.elementType.byteCount == width } }
        var entries: [String: Entry] = [:]
        var offset = 0
        for tensor in ordered {
            let entry = Entry(
                type: Entry.name(of: tensor.elementType), shape: tensor.shape, begin: offset,
                end: offset + tensor.bytes.count)
            guard entries.updateValue(entry, forKey: tensor.name) == nil, tensor.name != Header.metadataName
            else {
                throw ArchiveError.unsupported(
                    path: path, feature: "the tensor name \(tensor.name), given twice or reserved,")
            }
            offset = entry.end
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let ours = String(decoding: try encoder.encode(file.metadata), as: UTF8.self)
        var header = try encoder.encode(
            Header(entries: entries, metadata: ["format": "pt", metadataKey: ours]))
        header.append(Data(repeating: 0x20, count: (8 - header.count % 8) % 8))
        guard header.count <= longestHeader else {
            throw ArchiveError.unsupported(
                path: path, feature: "a safetensors header of \(header.count) bytes")
        }
        let length = withUnsafeBytes(of: UInt64(header.count).littleEndian) { Data($0) }
        return [length, header] + ordered.map(\.bytes)
    }

    /// Whether `head`, the first bytes of a file of `size` bytes, looks like this format.
    static func recognises(_ head: Data, size: Int) -> Bool {
        guard head.count >= 9, head[8] == UInt8(ascii: "{") else { return false }
        let length = head.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return length <= UInt64(max(longestHeader, size))
    }

    /// - Throws: `ArchiveError.damaged` where it is not known, or values of it in this shape are not as many bytes.
    private static func elementType(_ name: String, _ entry: Entry, _ reader: ByteReader) throws -> ElementType {
        guard let type = Entry.element(named: entry.type) else {
            throw reader.damaged("\(name) has the element type \(entry.type), which Graft does not know")
        }
        let needed = StoredTensor.count(of: entry.shape)?.multipliedReportingOverflow(by: type.byteCount)
        guard let needed, !needed.overflow, needed.partialValue == entry.end - entry.begin else {
            throw reader.damaged("\(name) of shape \(entry.shape) has \(entry.end - entry.begin) bytes")
        }
        return type
    }

    private static func decodeHeader(
        _ bytes: Data, _ reader: ByteReader
    ) throws -> (entries: [(String, Entry)], metadata: [String: String]) {
        do {
            let header = try JSONDecoder().decode(Header.self, from: bytes)
            let entries = header.entries.sorted {
                ($0.value.begin, $0.value.end, $0.key) < ($1.value.begin, $1.value.end, $1.key)
            }
            return (entries.map { ($0.key, $0.value) }, header.metadata ?? [:])
        } catch {
            throw reader.damaged("the header is not the JSON that it should be")
        }
    }

    private static func metadata(_ given: [String: String]) -> WeightMetadata {
        if let ours = given[metadataKey],
            let metadata = try? JSONDecoder().decode(WeightMetadata.self, from: Data(ours.utf8))
        {
            return metadata
        }
        return WeightMetadata(notes: given)
    }
}

/// The JSON header: one entry per tensor, and texts.
private struct Header: Codable {
    static let metadataName = "__metadata__"

    var entries: [String: Entry]
    var metadata: [String: String]?

    init(entries: [String: Entry], metadata: [String: String]) {
        self.entries = entries
        self.metadata = metadata
    }

    init(from decoder: Decoder) throws {
        let container = try decoder.container(keyedBy: AnyKey.self)
        entries = [:]
        for key in container.allKeys {
            if key.stringValue == Header.metadataName {
                metadata = try container.decode([String: String].self, forKey: key)
            } else {
                entries[key.stringValue] = try container.decode(Entry.self, forKey: key)
            }
        }
    }

    func encode(to encoder: Encoder) throws {
        var container = encoder.container(keyedBy: AnyKey.self)
        for (name, entry) in entries { try container.encode(entry, forKey: AnyKey(name)) }
        try container.encodeIfPresent(metadata, forKey: AnyKey(Header.metadataName))
    }
}

/// What the header says of one tensor.
private struct Entry: Codable {
    let type: String
    let shape: [Int]
    let begin: Int
    let end: Int

    private enum CodingKeys: String, CodingKey { case dtype, shape, data_offsets }

    init(type: String, shape: [Int], begin: Int, end: Int) {
        (self.type, self.shape, self.begin, self.end) = (type, shape, begin, end)
    }

    init(from decoder: Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        type = try container.decode(String.self, forKey: .dtype)
        shape = try container.decode([Int].self, forKey: .shape)
        let offsets = try container.decode([Int].self, forKey: .data_offsets)
        guard offsets.count == 2, offsets[0] >= 0, offsets[1] >= offsets[0] else {
            throw DecodingError.dataCorruptedError(
                forKey: .data_offsets, in: container, debugDescription: "offsets")
        }
        (begin, end) = (offsets[0], offsets[1])
    }

    func encode(to encoder: Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(type, forKey: .dtype)
        try container.encode(shape, forKey: .shape)
        try container.encode([begin, end], forKey: .data_offsets)
    }

    static func name(of type: ElementType) -> String {
        switch type {
        case .float32: "F32"
        case .float64: "F64"
        case .float16: "F16"
        case .bfloat16: "BF16"
        case .int64: "I64"
        case .int32: "I32"
        case .int8: "I8"
        case .uint8: "U8"
        case .bool: "BOOL"
        }
    }

    static func element(named name: String) -> ElementType? {
        ElementType.allCases.first { Entry.name(of: $0) == name }
    }
}

private struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(_ name: String) { stringValue = name }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { return nil }
}
