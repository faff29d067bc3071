/// A JSON value whose strings stay UTF-8 bytes and whose objects keep their order. Swift's `String` takes canonically
/// equivalent texts for the same, and a vocabulary may hold both "é" in one scalar and "é" in two.
enum JSONText: Sendable {
    case null
    case flag(Bool)
    case number(Double)
    case text([UInt8])
    case list([JSONText])
    case object([(name: [UInt8], value: JSONText)])

    /// The member of that name (the last one where several are), nil for anything but an object.
    subscript(_ name: String) -> JSONText? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.name.elementsEqual(name.utf8) }?.value
    }

    var bytes: [UInt8]? { if case .text(let bytes) = self { bytes } else { nil } }
    var string: String? { bytes.map { String(decoding: $0, as: UTF8.self) } }
    var flag: Bool? { if case .flag(let flag) = self { flag } else { nil } }
    var list: [JSONText]? { if case .list(let list) = self { list } else { nil } }
    var members: [(name: [UInt8], value: JSONText)]? { if case .object(let members) = self { members } else { nil } }
    /// A whole number from 0 to the largest `Int32`: a token.
    var token: Int32? {
        guard case .number(let number) = self, let token = Int32(exactly: number), token >= 0 else { return nil }
        return token
    }
    var isNull: Bool { if case .null = self { true } else { false } }

    /// How a message shows the value.
    var excerpt: String {
        let text = String(decoding: serialized().prefix(60), as: UTF8.self)
        return text.utf8.count < 60 ? text : text + "…"
    }
}

extension JSONText: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByDictionaryLiteral {
    init(stringLiteral string: String) { self = .text(Array(string.utf8)) }
    init(booleanLiteral flag: Bool) { self = .flag(flag) }
    init(dictionaryLiteral members: (String, JSONText)...) {
        self = .object(members.map { (Array($0.0.utf8), $0.1) })
    }
}

extension JSONText {
    /// - Parameter path: for messages.
    /// - Throws: `DatasetError.damaged` with the line and byte at which the text stops being JSON.
    init(parsing bytes: [UInt8], path: String) throws {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw DatasetError.damaged(path: path, reason: "not UTF-8 text")
        }
        var reader = JSONReader(bytes: bytes, path: path)
        self = try reader.document()
    }

    func serialized() -> [UInt8] {
        var out: [UInt8] = []
        serialize(into: &out)
        return out
    }

    private func serialize(into out: inout [UInt8]) {
        switch self {
        case .null: out += "null".utf8
        case .flag(let flag): out += (flag ? "true" : "false").utf8
        case .number(let number): out += (Int64(exactly: number).map { "\($0)" } ?? "\(number)").utf8
        case .text(let bytes): Self.serialize(bytes, into: &out)
        case .list(let list):
            out.append(UInt8(ascii: "["))
            for (index, value) in list.enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                value.serialize(into: &out)
            }
            out.append(UInt8(ascii: "]"))
        case .object(let members):
            out.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                Self.serialize(member.name, into: &out)
                out.append(UInt8(ascii: ":"))
                member.value.serialize(into: &out)
            }
            out.append(UInt8(ascii: "}"))
        }
    }

    private static func serialize(_ text: [UInt8], into out: inout [UInt8]) {
        out.append(UInt8(ascii: "\""))
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): out += [UInt8(ascii: "\\"), byte]
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                out += "\\u00".utf8
                out += [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: out.append(byte)
            }
        }
        out.append(UInt8(ascii: "\""))
    }
}

/// Reads JSON (RFC 8259) from valid UTF-8.
private struct JSONReader {
    let bytes: [UInt8]
    let path: String
    var position = 0
    /// Files nest a few levels; deeper ones would only exhaust the stack.
    static let deepest = 64

    mutating func document() throws -> JSONText {
        let value = try self.value(depth: 0)
        skipSpace()
        guard position == bytes.count else { throw broken("text after the end") }
        return value
    }

    private func broken(_ what: String) -> DatasetError {
        let place = TextFile.place(of: position, in: bytes)
        return .damaged(path: path, reason: "JSON: \(what) at byte \(place.byte) of line \(place.line)")
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || (byte >= 0x09 && byte <= 0x0D && byte != 0x0B && byte != 0x0C) {
            position += 1
        }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        position += 1
        return true
    }

    private mutating func value(depth: Int) throws -> JSONText {
        guard depth < Self.deepest else { throw broken("nested too deeply") }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try list(depth: depth)
        case UInt8(ascii: "\""): return .text(try text())
        case UInt8(ascii: "t"): return try word("true", .flag(true))
        case UInt8(ascii: "f"): return try word("false", .flag(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ word: String, _ value: JSONText) throws -> JSONText {
        guard bytes[position...].starts(with: word.utf8) else { throw broken("an unknown word") }
        position += word.utf8.count
        return value
    }

    private mutating func number() throws -> JSONText {
        let start = position
        while let byte = next, (byte >= 0x30 && byte <= 0x39) || "+-.eE".utf8.contains(byte) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        guard let number = Double(text), number.isFinite else {
            position = start
            throw broken("no value")
        }
        return .number(number)
    }

    private mutating func object(depth: Int) throws -> JSONText {
        position += 1
        var members: [(name: [UInt8], value: JSONText)] = []
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw broken("no name of a member") }
            let name = try text()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw broken("no colon") }
            members.append((name, try value(depth: depth + 1)))
            skipSpace()
            if take(UInt8(ascii: "}")) { return .object(members) }
            guard take(UInt8(ascii: ",")) else { throw broken("an object without end") }
        }
    }

    private mutating func list(depth: Int) throws -> JSONText {
        position += 1
        var list: [JSONText] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return .list(list) }
        while true {
            list.append(try value(depth: depth + 1))
            skipSpace()
            if take(UInt8(ascii: "]")) { return .list(list) }
            guard take(UInt8(ascii: ",")) else { throw broken("a list without end") }
        }
    }

    private mutating func text() throws -> [UInt8] {
        position += 1
        var text: [UInt8] = []
        while let byte = next {
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return text
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0..<0x20: throw broken("a control character in a string")
            default: text.append(byte)
            }
        }
        throw broken("a string without end")
    }

    private mutating func escape(into text: inout [UInt8]) throws {
        guard let byte = next else { throw broken("a string without end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var unit = try fourDigits()
            if unit >= 0xD800, unit < 0xDC00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) {
                let low = try fourDigits()
                guard low >= 0xDC00, low < 0xE000 else { throw broken("half of a surrogate pair") }
                unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(unit) else { throw broken("half of a surrogate pair") }
            text += UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter
        default: throw broken("an unknown escape")
        }
    }

    private mutating func fourDigits() throws -> UInt32 {
        guard position + 4 <= bytes.count,
            let unit = UInt32(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16),
            bytes[position] != UInt8(ascii: "+")
        else { throw broken("no four hexadecimal digits") }
        position += 4
        return unit
    }
}
