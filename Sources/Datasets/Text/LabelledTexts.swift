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

    static let textNames = ["text", "sentence", "sentence1", "premise", "question", "question1", "review", "content"]
    static let pairNames = ["pair", "text_pair", "sentence2", "hypothesis", "question2"]
    static let labelNames = ["label", "labels", "class", "target", "category"]

    /// - Parameters:
    ///   - columns: which columns hold what.
    ///   - key: what errors call the setting for a column: `text`, `pair` or `label`.
    /// - Throws: `DatasetError` naming the file, and line and column of what is wrong.
    public init(
        at path: String, columns: TextColumns = TextColumns(),
        key: (_ column: String) -> String = { "data.text.columns.\($0)" }
    ) throws {
        let table = try TextTable(path)
        let found = try FoundColumns(table, columns, key)
        var (texts, names, lines): ([SampleText], [String], [Int]) = ([], [], [])
        for row in table.rows.dropFirst(found.hasHeader ? 1 : 0) {
            let (text, label) = try found.sample(row, path)
            texts.append(text)
            names.append(label)
            lines.append(row.line)
        }
        if texts.isEmpty { throw DatasetError.noRows(path: path) }
        if !found.hasHeader, table.keys == nil, Int(names[0]) == nil, names.count > 2,
            names.dropFirst().allSatisfy({ Int($0) != nil })
        {
            throw DatasetError.badRow(
                path: path, line: lines[0], column: found.label + 1,
                problem: "label '\(names[0])' where all others are numbers; if the line is a header, name its columns: "
                    + "data.text.columns (--text-column, --label-column)")
        }
        guard texts.contains(where: { !($0.text + ($0.pair ?? "")).allSatisfy(\.isWhitespace) }) else {
            throw DatasetError.badRow(
                path: path, line: lines[0], column: found.text + 1,
                problem: "no line has a text here; name the column that has: \(key("text"))")
        }
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
    private let names: [String]?
    private let count: Int
    let text: Int
    let pair: Int?
    let label: Int

    init(_ table: TextTable, _ asked: TextColumns, _ key: (String) -> String) throws {
        let first = table.rows[0].cells.map { $0 ?? "" }
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
            let isQuoted = { (name: String) in
                name.hasPrefix("\"") && known.contains(name.lowercased().filter { $0 != "\"" })
            }
            if let column = first.firstIndex(where: isQuoted) {
                throw DatasetError.badRow(
                    path: table.path, line: table.rows[0].line, column: column + 1,
                    problem:
                        "\(first[column]) in quotes, which are part of the text where tabs divide; remove them, or "
                        + "write a .csv file")
            }
        }
        let count = names?.count ?? first.count
        (self.names, self.count) = (names, count)
        let candidates = (names ?? []).filter { LabelledTexts.textNames.contains($0.lowercased()) }
        if asked.text == nil, candidates.count > 1 {
            throw DatasetError.badRow(
                path: table.path, line: table.rows[0].line, column: nil,
                problem:
                    "the text may be '\(candidates[0])' or '\(candidates[1])'; choose with \(key("text")), or make "
                    + "pairs of them with \(key("pair")) too")
        }
        func find(_ name: String?, _ column: String, _ usual: [String]) throws -> Int? {
            guard let name else {
                return names?.firstIndex { usual.contains($0.lowercased()) }
            }
            if let index = names?.firstIndex(of: name) { return index }
            if let number = Int(name), (1...max(1, count)).contains(number) { return number - 1 }
            throw DatasetError.unknownColumn(
                path: table.path, key: key(column), name: name,
                nearest: nearestNames(to: name, among: names ?? [], limit: 1),
                known: names ?? ["1 to \(count)"])
        }
        let isPlainPair = names == nil && count == 2
        pair = try find(asked.pair, "pair", LabelledTexts.pairNames)
        let textColumn = try find(asked.text, "text", LabelledTexts.textNames) ?? (isPlainPair ? 0 : nil)
        let labelColumn = try find(asked.label, "label", LabelledTexts.labelNames) ?? (isPlainPair ? 1 : nil)
        guard let text = textColumn, let label = labelColumn else {
            throw DatasetError.columnsUnclear(
                path: table.path, columns: count, names: names ?? [], missing: textColumn == nil ? "text" : "label")
        }
        for (column, name, others) in [("pair", asked.pair, [text]), ("label", asked.label, [text, pair])] {
            guard let place = column == "pair" ? pair : label, others.contains(place) else { continue }
            throw DatasetError.invalidSelection(
                key: key(column), value: name ?? "\(place + 1)", rule: "that column holds texts already; give another")
        }
        (self.text, self.label) = (text, label)
    }

    /// The text, or pair of texts, and the label of a row.
    func sample(_ row: TextTable.Row, _ path: String) throws -> (text: SampleText, label: String) {
        func wrong(_ column: Int?, _ problem: String) -> DatasetError {
            .badRow(path: path, line: row.line, column: column.map { $0 + 1 }, problem: problem)
        }
        func cell(_ column: Int, _ what: String) throws -> String {
            guard column < row.cells.count else {
                let columns = "\(row.cells.count) column\(row.cells.count == 1 ? "" : "s")"
                throw wrong(nil, "\(columns), and the \(what) is in column \(column + 1)")
            }
            guard let text = row.cells[column] else {
                throw wrong(nil, "no '\(names?[column] ?? what)', or one that is no string or number")
            }
            return text
        }
        if let more = row.cells.indices.dropFirst(count).first(where: { row.cells[$0] != "" }) {
            throw wrong(
                more,
                "more than the \(count) columns of the first line; where texts hold what divides columns, write "
                    + "a .csv file with such texts in quotes")
        }
        let text = SampleText(
            try cell(self.text, "text"), pair: try pair.map { try cell($0, "second text") })
        let label = try cell(self.label, "label").trimmingCharacters(in: .whitespaces)
        if label.isEmpty { throw wrong(self.label, "the label is empty") }
        return (text, label)
    }
}
