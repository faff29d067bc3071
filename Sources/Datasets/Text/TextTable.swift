import Foundation

/// A table in a text file: cells by row and column, and the line that each row begins on.
struct TextTable {
    struct Row: Equatable {
        /// From 1.
        var line: Int
        /// nil where a JSON object has nothing of that name, or no word or number.
        var cells: [String?]
    }

    /// How cells are divided.
    enum Layout: Equatable {
        /// By tabs; quotes are ordinary characters.
        case tabs
        /// By commas; cells in double quotes may hold commas, line ends, and quotes written twice (RFC 4180).
        case commas
        /// One JSON object a line.
        case jsonLines

        /// By the file's name: `.csv`, `.jsonl` (`.ndjson`, `.json`), all others by tabs.
        init(of path: String) {
            switch URL(fileURLWithPath: path).pathExtension.lowercased() {
            case "csv": self = .commas
            case "jsonl", "ndjson", "json": self = .jsonLines
            default: self = .tabs
            }
        }
    }

    let path: String
    /// The keys of JSON objects; nil where a first row may or may not be a header.
    let keys: [String]?
    let rows: [Row]

    /// - Throws: `DatasetError` naming the file, and line and column of what is wrong.
    init(_ path: String) throws {
        self.path = path
        let text = try TextFile.read(path)
        switch Layout(of: path) {
        case .tabs:
            (keys, rows) = (nil, Self.divided(text))
        case .commas:
            (keys, rows) = (nil, try Self.quoted(text, path))
        case .jsonLines:
            let found = try Self.objects(text, path)
            (keys, rows) = (found.keys, found.rows)
        }
        if rows.isEmpty { throw DatasetError.noRows(path: path) }
    }

    private static func divided(_ text: String) -> [Row] {
        TextFile.numberedLines(of: text).map { line, text in
            let cells = text.utf8.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
            return Row(line: line, cells: cells.map { String(Substring($0)) })
        }
    }

    private static func quoted(_ text: String, _ path: String) throws -> [Row] {
        var rows: [Row] = []
        // By scalars: a comma and an accent behind it are one character of text.
        var (cells, cell): ([String], String.UnicodeScalarView) = ([], .init())
        var (line, start, quoteLine) = (1, 1, 1)
        var (isQuoted, wasQuoted) = (false, false)
        func endRow() {
            if !cells.isEmpty || !cell.isEmpty || wasQuoted {
                rows.append(Row(line: start, cells: cells + [String(cell)]))
            }
            (cells, cell, wasQuoted, start) = ([], .init(), false, line)
        }
        var characters = text.unicodeScalars[...]
        while let character = characters.popFirst() {
            let isLineEnd = character == "\n"
            if isLineEnd { line += 1 }
            switch character {
            case "\r" where !isQuoted && characters.first == "\n": continue
            case "\"" where isQuoted:
                if characters.first == "\"" {
                    characters.removeFirst()
                    cell.append("\"")
                } else {
                    isQuoted = false
                }
            case _ where isQuoted: cell.append(character)
            case "\"" where cell.isEmpty && !wasQuoted: (isQuoted, wasQuoted, quoteLine) = (true, true, line)
            case ",":
                cells.append(String(cell))
                (cell, wasQuoted) = (.init(), false)
            case _ where isLineEnd: endRow()
            default:
                guard !wasQuoted else {
                    throw DatasetError.badRow(
                        path: path, line: line, column: cells.count + 1,
                        problem: "'\(character)' behind a closing quote; write quotes within quotes twice")
                }
                cell.append(character)
            }
        }
        guard !isQuoted else {
            throw DatasetError.badRow(
                path: path, line: quoteLine, column: cells.count + 1, problem: "a quote that is never closed")
        }
        line += 1
        endRow()
        return rows
    }

    private static func objects(_ text: String, _ path: String) throws -> (keys: [String], rows: [Row]) {
        var objects: [(line: Int, object: [String: Any])] = []
        var names: Set<String> = []
        for (line, text) in TextFile.numberedLines(of: text) where !text.allSatisfy(\.isWhitespace) {
            guard let object = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any] else {
                throw DatasetError.badRow(
                    path: path, line: line, column: nil, problem: "not a JSON object; one per line is expected")
            }
            objects.append((line, object))
            names.formUnion(object.keys)
            guard names.count <= mostNames else {
                throw DatasetError.badRow(
                    path: path, line: line, column: nil,
                    problem: "more than \(mostNames) different names so far; give all objects the same ones")
            }
        }
        let keys = names.sorted()
        return (keys, objects.map { line, object in Row(line: line, cells: keys.map { object[$0].flatMap(word) }) })
    }

    /// A row has a cell for each name that some object has.
    private static let mostNames = 1_000

    /// A JSON value as the text of a cell: numbers without a fraction as integers.
    private static func word(_ value: Any) -> String? {
        switch value {
        case let text as String: text
        case let number as NSNumber: "\(number)"
        default: nil
        }
    }
}
