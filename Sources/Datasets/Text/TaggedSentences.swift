import Foundation

/// Sentences whose words have tags, one word a line and an empty line between sentences, as the CoNLL tasks and those after
/// them have them (`B-person`, `I-person`, `O`); held in memory.
///
/// Columns are divided by tabs or spaces: the word is the first, its tag the last. Lines that begin with `-DOCSTART-` are
/// left out. Classes are the distinct tags, `O` first, then bytewise.
public final class TaggedSentences: Dataset, @unchecked Sendable {
    public let source: String
    public let classNames: [String]
    public let labels: [Int32]
    public let labelsAreOfWords = true
    private let sentences: [(line: Int, words: [String], labels: [Int32])]

    /// - Throws: `DatasetError` naming the file, and the line without a tag.
    public init(at path: String) throws {
        var sentences: [(line: Int, words: [String], tags: [String])] = []
        var isWithin = false
        let text = try TextFile.read(path)
        // By bytes: a space and an accent behind it are one character of text.
        for (number, line) in text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() {
            let cells = line.split { [0x09, 0x0D, 0x20].contains($0) }.map { String(Substring($0)) }
            guard let word = cells.first, let tag = cells.last, word != "-DOCSTART-" else {
                isWithin = false
                continue
            }
            guard cells.count > 1 else {
                throw DatasetError.badRow(
                    path: path, line: number + 1, column: nil,
                    problem: "one column where a word and its tag are expected")
            }
            if !isWithin { sentences.append((number + 1, [], [])) }
            isWithin = true
            sentences[sentences.count - 1].words.append(word)
            sentences[sentences.count - 1].tags.append(tag)
        }
        guard !sentences.isEmpty else { throw DatasetError.noRows(path: path) }
        source = path
        classNames = Set(sentences.flatMap(\.tags)).sorted {
            $0 == "O" || $1 == "O" ? $1 != "O" : $0.utf8.lexicographicallyPrecedes($1.utf8)
        }
        let numbers = Dictionary(uniqueKeysWithValues: classNames.enumerated().map { ($1, Int32($0)) })
        self.sentences = sentences.map { ($0.line, $0.words, $0.tags.map { numbers[$0] ?? 0 }) }
        labels = [Int32](repeating: 0, count: sentences.count)
    }

    public func name(at index: Int) -> String { "\(source):\(sentences[index].line)" }

    public func storedSample(at index: Int) throws -> StoredSample {
        .words(sentences[index].words, labels: sentences[index].labels)
    }

    public func fingerprint() throws -> String {
        var fingerprint = Fingerprint()
        fingerprint.add(URL(fileURLWithPath: source).lastPathComponent)
        for name in classNames { fingerprint.add(name) }
        for sentence in sentences {
            for word in sentence.words { fingerprint.add(word) }
            fingerprint.add(sentence.labels)
        }
        return fingerprint.hexadecimal()
    }
}
