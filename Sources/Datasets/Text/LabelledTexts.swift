import Collectives
import Foundation

/// Which columns of a table hold what: names from its header or numbers from 1. What is nil is found by usual names, or,
/// in a table of two columns without a header, by position: the text, then the label.
public struct TextColumns: Codable, Equatable, Sendable {
    public var text: String?
    /// The second text of a pair.
    public var pair: String?
    public var label: String?

    public init(text: String? = nil, pair: String? = nil, label: String? = nil) {
        (self.text, self.pair, self.label) = (text, pair, label)
    }
}

/// Texts, or pairs of texts, with a class each, from a table: tab-separated (GLUE's files and the like), CSV, or one JSON
/// object a line; held in memory, tokenised when they are loaded.
///
/// Classes are the distinct labels: in numeric order where all are whole numbers, else bytewise.
public final class LabelledTexts: Dataset, @unchecked Sendable {
    public let source: String
    public let classNames: [String]
    public let labels: [Int32]
    private let texts: [SampleText]
    private let lines: [Int]

    static let textNames = ["text", "sentence", "sentence1", "premise", "question", "review", "content"]
    static let pairNames = ["pair", "text_pair", "sentence2", "hypothesis", "question2"]
    static let labelNames = ["label", "labels", "class", "target", "category"]

    /// - Parameters:
    ///   - columns: which columns hold what.
    ///   - keys: what stands before the words for columns in errors: `data.text.columns.`, `--`.
    /// - Throws: `DatasetError` naming the file, and line and column of what is wrong.
    public init(at path: String, columns: TextColumns = TextColumns(), keys: String = "data.text.columns.") throws {
        let table = try TextTable(path)
        let found = try FoundColumns(table, columns, keys)
        var (texts, names, lines): ([SampleText], [String], [Int]) = ([], [], [])
        for row in table.rows.dropFirst(found.hasHeader ? 1 : 0) {
            func cell(_ column: Int, _ what: String, mayBeEmpty: Bool = true) throws -> String {
                guard column < row.cells.count else {
                    throw DatasetError.badRow(
                        path: path, line: row.line, column: nil,
                        problem: "\(row.cells.count) column\(row.cells.count == 1 ? "" : "s"), and the \(what) is in "
                            + "column \(column + 1)")
                }
                let text = row.cells[column]
                guard mayBeEmpty || !text.isEmpty else {
                    throw DatasetError.badRow(
                        path: path, line: row.line, column: column + 1, problem: "the \(what) is empty")
                }
                return text
            }
            texts.append(
                SampleText(try cell(found.text, "text"), pair: try found.pair.map { try cell($0, "second text") }))
            names.append(
                try cell(found.label, "label", mayBeEmpty: false).trimmingCharacters(in: .whitespaces))
            lines.append(row.line)
        }
        if texts.isEmpty { throw DatasetError.nothingSelected(source: path) }
        source = path
        classNames = Self.ordered(Set(names))
        let numbers = Dictionary(uniqueKeysWithValues: classNames.enumerated().map { ($1, Int32($0)) })
        labels = names.map { numbers[$0] ?? 0 }
        self.texts = texts
        self.lines = lines
    }

    private static func ordered(_ names: Set<String>) -> [String] {
        let numbers = names.compactMap { name in Int(name).map { (number: $0, name: name) } }
        if numbers.count == names.count {
            return numbers.sorted { ($0.number, $0.name) < ($1.number, $1.name) }.map(\.name)
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    public func name(at index: Int) -> String { "\(source):\(lines[index])" }

    public func storedSample(at index: Int) throws -> StoredSample { .text(texts[index]) }

    public func fingerprint() throws -> String {
        var fingerprint = Fingerprint()
        fingerprint.add(URL(fileURLWithPath: source).lastPathComponent)
        for name in classNames { fingerprint.add(name) }
        for text in texts {
            fingerprint.add(text.text)
            if let pair = text.pair { fingerprint.add(pair) }
        }
        fingerprint.add(labels)
        return fingerprint.hexadecimal()
    }
}

/// The columns of a table by position, from 0.
private struct FoundColumns {
    let hasHeader: Bool
    let text: Int
    let pair: Int?
    let label: Int

    init(_ table: TextTable, _ asked: TextColumns, _ keys: String) throws {
        let first = table.rows[0].cells
        let names: [String]?
        if let keys = table.keys {
            (names, hasHeader) = (keys, false)
        } else {
            let given = [asked.text, asked.pair, asked.label].compactMap { $0 }
            let known = LabelledTexts.labelNames + LabelledTexts.textNames
            hasHeader =
                given.contains { Int($0) == nil }
                || (first.count > 1 && first.contains { known.contains($0.lowercased()) })
            names = hasHeader ? first : nil
        }
        let count = names?.count ?? first.count
        func find(_ name: String?, _ key: String, _ usual: [String]) throws -> Int? {
            guard let name else {
                return names?.firstIndex { usual.contains($0.lowercased()) }
            }
            if let index = names?.firstIndex(of: name) { return index }
            if let number = Int(name), (1...max(1, count)).contains(number) { return number - 1 }
            throw DatasetError.unknownColumn(
                path: table.path, key: keys + key, name: name,
                nearest: nearestNames(to: name, among: names ?? [], limit: 1),
                known: names ?? ["1 to \(count)"])
        }
        let isPlainPair = names == nil && count == 2
        pair = try find(asked.pair, "pair", LabelledTexts.pairNames)
        guard
            let text = try find(asked.text, "text", LabelledTexts.textNames) ?? (isPlainPair ? 0 : nil),
            let label = try find(asked.label, "label", LabelledTexts.labelNames) ?? (isPlainPair ? 1 : nil)
        else { throw DatasetError.columnsUnclear(path: table.path, columns: count) }
        (self.text, self.label) = (text, label)
    }
}
