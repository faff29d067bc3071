/// Text files, read whole and strictly as UTF-8.
public enum TextFile {
    /// - Throws: `DatasetError` where the file cannot be read, or with the line and column of bytes that are not UTF-8.
    public static func read(_ path: String) throws -> String {
        let bytes = try ImageDecoder.bytes(ofFileAt: path)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
                throw DatasetError.badRow(
                    path: path, line: 1, column: nil,
                    problem: "UTF-16; convert the file: iconv -f UTF-16 -t UTF-8 FILE > NEW")
            }
            let place = place(of: validPrefix(of: bytes), in: bytes)
            guard !bytes.prefix(1_000).contains(0) else {
                throw DatasetError.badRow(
                    path: path, line: place.line, column: nil, problem: "not text; expected a file in UTF-8")
            }
            throw DatasetError.badRow(
                path: path, line: place.line, column: nil,
                problem: "byte \(place.byte) of the line is not UTF-8; convert the file")
        }
        return text.unicodeScalars.first == "\u{FEFF}" ? String(text.unicodeScalars.dropFirst()) : text
    }

    /// The lines of a file that are not empty, for texts of one line each.
    /// - Throws: as `read`.
    public static func lines(_ path: String) throws -> [String] {
        try numberedLines(of: read(path)).map { String($0.text) }
    }

    /// The lines that are not empty, numbered from 1, without what ends them: a line feed, or it and a carriage return.
    static func numberedLines(of text: String) -> [(line: Int, text: Substring)] {
        text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated().compactMap { number, bytes in
            let line = Substring(bytes.last == 0x0D ? bytes.dropLast() : bytes)
            return line.isEmpty ? nil : (number + 1, line)
        }
    }

    /// The line of byte `position`, and which of the line's bytes it is, both from 1.
    static func place(of position: Int, in bytes: [UInt8]) -> (line: Int, byte: Int) {
        let before = bytes[..<min(position, bytes.count)]
        let start = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
        return (before.count { $0 == 0x0A } + 1, position - start + 1)
    }

    /// How many bytes from the start are whole UTF-8 characters.
    private static func validPrefix(of bytes: [UInt8]) -> Int {
        var decoder = UTF8()
        var iterator = bytes.makeIterator()
        var count = 0
        while case .scalarValue(let scalar) = decoder.decode(&iterator) { count += UTF8.width(scalar) }
        return count
    }
}
