import Tensors

/// What has a label in a text.
public enum TextLabels: String, Codable, Sendable {
    /// The text as a whole, or a pair of texts.
    case texts
    /// Each word: the first of its tokens stands for it.
    case words
    /// A question: the first and the last token of its answer.
    case spans
    /// Each token, the one that follows it, as in a language model.
    case nextTokens = "next-tokens"
    /// Some tokens of running text, which are masked.
    case maskedTokens = "masked-tokens"
}

/// How texts become what a network over text takes: tokens N×T, filled up to the longest of a batch.
public struct TextInput: Sendable {
    public let tokenizer: Tokenizer
    /// The most tokens of a sample, special ones included; longer texts are cut, passages divided into windows.
    public let length: Int
    /// The tokens that two windows of a passage share.
    public let stride: Int
    /// The token that fills up; what the network takes for padding, where it knows any.
    public let padding: Int32
    public let labels: TextLabels

    /// - Parameter stride: by default a third of the length, as the 128 of 384 that are usual.
    public init(
        tokenizer: Tokenizer, length: Int, stride: Int? = nil, padding: Int32 = 0, labels: TextLabels = .texts
    ) {
        self.tokenizer = tokenizer
        self.length = length
        self.stride = stride ?? length / 3
        self.padding = padding
        self.labels = labels
    }

    /// The tokens of one text, for prediction.
    /// - Throws: `DatasetError.noTokens` where there are none, and what the tokenizer throws.
    public func sequence(_ text: SampleText, name: String) throws -> TokenSequence {
        let encoding = try tokenizer.encode(text.text, pair: text.pair, maximumLength: length)
        guard !encoding.tokens.isEmpty else { throw DatasetError.noTokens(path: name) }
        return TokenSequence(tokens: encoding.tokens, segments: encoding.segments)
    }

    /// How many tokens a text has, cut or not.
    public func fullLength(_ text: SampleText) throws -> Int {
        try tokenizer.encode(text.text, pair: text.pair).tokens.count
    }

    /// How many tokens words have, cut or not.
    public func fullLength(_ words: [String]) throws -> Int { try tokenizer.encode(words: words).tokens.count }

    /// The tokens of one sample with what is to be predicted.
    ///
    /// Of a stretch of running text longer than needed, a window that begins at random.
    func sequence(
        _ stored: StoredSample, label: Int32, name: String, using generator: inout PhiloxGenerator
    ) throws -> TokenSequence {
        switch stored {
        case .text(let text):
            var sequence = try sequence(text, name: name)
            sequence.labels = [label]
            return sequence
        case .words(let words, let labels):
            let encoding = try tokenizer.encode(words: words, maximumLength: length)
            guard encoding.words.contains(where: { $0 != nil }) else { throw DatasetError.noTokens(path: name) }
            let firsts = Self.firstTokens(encoding)
            return TokenSequence(
                tokens: encoding.tokens, segments: encoding.segments,
                labels: encoding.words.indices.map { index in
                    guard firsts.contains(index), let word = encoding.words[index], word < labels.count else {
                        return Batch.ignoredLabel
                    }
                    return labels[word]
                })
        case .question(let question):
            return try sequence(question, name: name)
        case .tokens(let stretch):
            guard stretch.count > blockOverlap else { throw DatasetError.noTokens(path: name) }
            let last = max(0, stretch.count - blockOverlap - blockLength)
            let start = last > 0 ? Int.random(in: 0...last, using: &generator) : 0
            let window = stretch[start..<min(start + blockLength + blockOverlap, stretch.count)]
            if labels == .maskedTokens { return try masked(window, name: name, using: &generator) }
            return TokenSequence(
                tokens: Array(window.dropLast()), segments: [Int32](repeating: 0, count: window.count - 1),
                labels: Array(window.dropFirst()))
        case .encoded, .image:
            throw DatasetError.notAText(path: name)
        }
    }

    /// Where each word begins.
    public static func firstTokens(_ encoding: Encoding) -> Set<Int> {
        var seen: Set<Int> = []
        return Set(encoding.words.indices.filter { encoding.words[$0].map { seen.insert($0).inserted } ?? false })
    }

    /// The fields of a batch: `tokens`; `labels` where they are known, `segments` where there is a second one, and
    /// `places` (N×2T) of questions: where in the passage each token begins and ends, -1 where it is not of the passage.
    public func stack(_ sequences: [TokenSequence]) -> [String: Tensor] {
        let length = max(1, sequences.map(\.tokens.count).max() ?? 1)
        var fields = ["tokens": Tensor(rows: sequences.map(\.tokens), length: length, filledWith: padding)]
        if sequences.contains(where: { $0.segments.contains { $0 != 0 } }) {
            fields["segments"] = Tensor(rows: sequences.map(\.segments), length: length, filledWith: 0)
        }
        if labels == .spans {
            fields["places"] = Tensor(rows: sequences.map(\.places), length: 2 * length, filledWith: -1)
        }
        guard sequences.allSatisfy({ !$0.labels.isEmpty }) else { return fields }
        switch labels {
        case .texts: fields["labels"] = Tensor(indices: sequences.flatMap(\.labels), shape: [sequences.count])
        case .spans: fields["labels"] = Tensor(indices: sequences.flatMap(\.labels), shape: [sequences.count, 2])
        case .words, .nextTokens, .maskedTokens:
            fields["labels"] = Tensor(
                rows: sequences.map(\.labels), length: length, filledWith: Batch.ignoredLabel)
        }
        return fields
    }
}

/// One sample as tokens.
public struct TokenSequence: Equatable, Sendable {
    public var tokens: [Int32]
    /// The segment of each token: 0, or 1 for those of a pair's second text.
    public var segments: [Int32]
    /// The class; or per token the class of the word that it begins, the token that follows or that was masked; or the
    /// first and the last token of an answer; empty where nothing is known.
    public var labels: [Int32] = []
    /// Of a window of a passage: where in it each token begins and ends, in scalars; -1 twice where it is not of it.
    public var places: [Int32] = []

    public init(tokens: [Int32], segments: [Int32], labels: [Int32] = []) {
        self.tokens = tokens
        self.segments = segments
        self.labels = labels
    }
}
