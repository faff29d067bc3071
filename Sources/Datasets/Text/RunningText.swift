import Foundation

/// Running text cut into blocks of tokens, in each of which every token is to be predicted from those before it, or masked
/// ones from those around them; held in memory as tokens.
///
/// With L the length of a block, there are as many samples as blocks have room one behind the other. In order, sample i is
/// the L + 1 tokens from i · L on (L to read, and each one's successor), the last sample what is left: every token but the
/// first is predicted exactly once. Where no successors are wanted, blocks share no token. At random places, the places where a block can begin are divided evenly among the
/// samples, and the loader takes one of a sample's by seed, epoch and sample: blocks begin everywhere alike, as they
/// would by chance, and each epoch sees all parts of the text.
public final class RunningText: Dataset, @unchecked Sendable {
    /// Where blocks begin.
    public enum Offsets: String, Codable, Sendable, CaseIterable { case random, sequential }

    public let source: String
    public let classNames: [String] = []
    public let labels: [Int32]
    public let length: Int
    /// The tokens that a block shares with the next one: 1 where successors are predicted, else 0.
    public let overlap: Int
    public let offsets: Offsets
    public let tokens: [Int32]

    /// Reads a UTF-8 text file and turns it into tokens, without special ones.
    ///
    /// - Parameters:
    ///   - part: of the file's characters (Unicode scalars), from 0 to 1: 0..<0.9 leaves out the last tenth.
    ///   - length: the tokens of a block.
    /// - Throws: `DatasetError` naming file and line of what is not UTF-8, or a text with nothing to predict.
    public convenience init(
        at path: String, part: Range<Double> = 0..<1, tokenizer: Tokenizer, length: Int, overlap: Int = 1,
        offsets: Offsets
    ) throws {
        let text = try TextFile.read(path)
        let scalars = text.unicodeScalars
        func place(_ fraction: Double) -> String.Index {
            scalars.index(scalars.startIndex, offsetBy: Int(Double(scalars.count) * fraction))
        }
        let chosen =
            part == 0..<1 ? text : String(scalars[place(part.lowerBound)..<place(part.upperBound)])
        try self.init(
            tokenizer.tokens(of: chosen), source: path, length: length, overlap: overlap, offsets: offsets)
    }

    /// What a network over text reads, cut as `input` asks.
    ///
    /// - Throws: as above.
    public convenience init(
        at path: String, part: Range<Double> = 0..<1, _ input: TextInput, offsets: Offsets
    ) throws {
        try self.init(
            at: path, part: part, tokenizer: input.tokenizer, length: input.blockLength, overlap: input.blockOverlap,
            offsets: offsets)
    }

    /// - Throws: `DatasetError.noTokens` for no more than blocks share.
    public init(_ tokens: [Int32], source: String, length: Int, overlap: Int = 1, offsets: Offsets) throws {
        guard tokens.count > overlap else { throw DatasetError.noTokens(path: source) }
        self.source = source
        self.length = max(1, length)
        self.overlap = overlap
        self.offsets = offsets
        self.tokens = tokens
        labels = [Int32](repeating: 0, count: (tokens.count - overlap + self.length - 1) / self.length)
    }

    /// Where sample `index` is in `tokens`.
    private func stretch(_ index: Int) -> Range<Int> {
        switch offsets {
        case .sequential:
            let start = index * length
            return start..<min(start + length + overlap, tokens.count)
        case .random:
            let starts = max(1, tokens.count - overlap - length + 1)
            let first = index * starts / labels.count
            let last = max(first, (index + 1) * starts / labels.count - 1)
            return first..<min(last + length + overlap, tokens.count)
        }
    }

    public func name(at index: Int) -> String {
        let stretch = stretch(index)
        return "\(source), tokens \(stretch.lowerBound + 1) to \(stretch.upperBound)"
    }

    public func storedSample(at index: Int) throws -> StoredSample { .tokens(Array(tokens[stretch(index)])) }

    public func fingerprint() throws -> String {
        var fingerprint = Fingerprint()
        fingerprint.add(URL(fileURLWithPath: source).lastPathComponent)
        fingerprint.add(offsets.rawValue)
        fingerprint.add(length)
        fingerprint.add(tokens)
        return fingerprint.hexadecimal()
    }
}
