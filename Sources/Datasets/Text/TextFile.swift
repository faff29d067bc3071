/// Text files, read whole and strictly as UTF-8.
public enum TextFile {
    /// - Throws: `DatasetError` where the file cannot be read, or with the line and column of bytes that are not UTF-8.
    public static func read(_ path: String) throws -> String {
        let bytes = try ImageDecoder.bytes(ofFileAt: path)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            let good = validPrefix(of: bytes)
            let line = bytes[..<good].count { $0 == UInt8(ascii: "\n") } + 1
            let start = bytes[..<good].lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
            throw DatasetError.badRow(
                path: path, line: line, column: nil,
                problem: "byte \(good - start + 1) of the line is not UTF-8; convert the file")
        }
        return text.unicodeScalars.first == "\u{FEFF}" ? String(text.unicodeScalars.dropFirst()) : text
    }

    /// The lines of a file that are not empty, for texts of one line each.
    /// - Throws: as `read`.
    public static func lines(_ path: String) throws -> [String] {
        try read(path).split { $0 == "\n" || $0 == "\r\n" }.map(String.init)
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
