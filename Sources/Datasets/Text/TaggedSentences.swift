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
        let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
        for (number, line) in lines.enumerated() {
            let cells = line.split { $0 == "\t" || $0 == " " }
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
            sentences[sentences.count - 1].words.append(String(word))
            sentences[sentences.count - 1].tags.append(String(tag))
        }
        guard !sentences.isEmpty else { throw DatasetError.nothingSelected(source: path) }
        source = path
        classNames = Set(sentences.flatMap(\.tags)).sorted {
            ($0 == "O" ? 0 : 1, $0) < ($1 == "O" ? 0 : 1, $1)
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
