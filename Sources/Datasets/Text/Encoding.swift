/// A text, or a text and its pair, as tokens; all arrays have one entry per token.
public struct Encoding: Equatable, Sendable {
    public var tokens: [Int32]
    /// 0 for the first text, 1 for the second; BERT calls them token types.
    public var segments: [Int32]
    /// Where in its text (Unicode scalars, half open) each token came from; 0..<0 for special tokens. A byte-level token
    /// that is part of a scalar has the whole scalar, and a letter with its accents only what remained of them. Of
    /// pre-split words, the place in the word.
    public var offsets: [Range<Int>]
    /// Which text (0 or 1) each token belongs to; nil for special tokens.
    public var texts: [Int?]
    /// Which word of its text each token belongs to: of those that the tokenizer splits it into (punctuation marks and
    /// added tokens for themselves), or of the given ones; nil for special tokens.
    public var words: [Int?]

    public init(
        tokens: [Int32] = [], segments: [Int32] = [], offsets: [Range<Int>] = [], texts: [Int?] = [], words: [Int?] = []
    ) {
        self.tokens = tokens
        self.segments = segments
        self.offsets = offsets
        self.texts = texts
        self.words = words
    }

    public var count: Int { tokens.count }

    /// The same with `padding` at its end up to `length` tokens, of segment 0 and no text; what is longer stays.
    public func padded(to length: Int, with padding: Int32) -> Encoding {
        let missing = max(0, length - count)
        return Encoding(
            tokens: tokens + Array(repeating: padding, count: missing),
            segments: segments + Array(repeating: 0, count: missing),
            offsets: offsets + Array(repeating: 0..<0, count: missing),
            texts: texts + Array(repeating: nil, count: missing),
            words: words + Array(repeating: nil, count: missing))
    }
}

/// In which order special tokens and texts stand: `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`.
struct SpecialTokenTemplate: Sendable {
    enum Piece: Sendable, Equatable {
        case special(tokens: [Int32], segment: Int32)
        /// Text 0 or 1.
        case text(Int, segment: Int32)
    }

    var single: [Piece] = [.text(0, segment: 0)]
    var pair: [Piece] = [.text(0, segment: 0), .text(1, segment: 1)]

    /// The tokens of all special pieces of one of the two, in order.
    static func specialTokens(_ pieces: [Piece]) -> [Int32] {
        pieces.flatMap { piece -> [Int32] in if case .special(let tokens, _) = piece { tokens } else { [] } }
    }

    /// Puts parts of one text or two together; `first` is what the offsets of a part's first token are, where the text
    /// has others.
    func assemble(
        _ texts: [(text: TokenizedText, range: Range<Int>, first: Range<Int>?)], addingSpecialTokens: Bool
    ) -> Encoding {
        var encoding = Encoding()
        for piece in texts.count > 1 ? pair : single {
            switch piece {
            case .special(let tokens, let segment):
                guard addingSpecialTokens else { continue }
                encoding.tokens += tokens
                encoding.segments += Array(repeating: segment, count: tokens.count)
                encoding.offsets += Array(repeating: 0..<0, count: tokens.count)
                encoding.texts += [Int?](repeating: nil, count: tokens.count)
                encoding.words += [Int?](repeating: nil, count: tokens.count)
            case .text(let number, let segment):
                guard number < texts.count else { continue }
                let (text, range, first) = texts[number]
                encoding.tokens += text.tokens[range]
                encoding.segments += Array(repeating: segment, count: range.count)
                encoding.offsets += text.offsets[range]
                if let first { encoding.offsets[encoding.offsets.count - range.count] = first }
                encoding.texts += [Int?](repeating: number, count: range.count)
                encoding.words += text.words[range].map(Optional.some)
            }
        }
        return encoding
    }
}
