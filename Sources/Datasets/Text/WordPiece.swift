/// WordPiece: a word becomes the longest piece of the vocabulary that it begins with, then the longest that goes on,
/// and so forth; a word that cannot be pieced together becomes the unknown token (Wu et al. 2016,
/// https://arxiv.org/abs/1609.08144; the greedy search of BERT).
struct WordPiece: Sendable {
    let unknown: Int32
    let continuationPrefix: [UInt8]
    /// Words of more scalars are unknown without looking.
    let longestWord: Int
    /// First pieces under `ByteTrie.root`, further ones without their prefix under `ByteTrie.secondRoot`.
    private var pieces = ByteTrie()

    init(vocabulary: [[UInt8]: Int32], unknown: Int32, continuationPrefix: [UInt8], longestWord: Int) {
        self.unknown = unknown
        self.continuationPrefix = continuationPrefix
        self.longestWord = longestWord
        for (piece, token) in vocabulary where !piece.isEmpty {
            pieces.insert(piece, value: token)
            if piece.count > continuationPrefix.count, piece.starts(with: continuationPrefix) {
                pieces.insert(piece.dropFirst(continuationPrefix.count), at: ByteTrie.secondRoot, value: token)
            }
        }
    }

    /// Appends the tokens of one word (not empty), the bytes `range` of `text`.
    func append(_ text: TextView, _ range: Range<Int>, word: Int, to result: inout TokenizedText) {
        let before = result.tokens.count
        if range.count > longestWord && text.bytes.scalarCount(range) > longestWord {
            return result.append(unknown, from: text.span(range), word: word)
        }
        var position = range.lowerBound
        var root = ByteTrie.root
        while position < range.upperBound {
            guard let piece = pieces.longest(text.bytes, position..<range.upperBound, from: root) else {
                result.removeTokens(from: before)
                return result.append(unknown, from: text.span(range), word: word)
            }
            result.append(piece.value, from: text.span(position..<piece.end), word: word)
            position = piece.end
            root = ByteTrie.secondRoot
        }
    }
}

/// The tokens of one text, without special ones around it.
struct TokenizedText: Sendable {
    /// Whether offsets and words are wanted too.
    let keepsPlaces: Bool
    private(set) var tokens: [Int32] = []
    var offsets: [Range<Int>] = []
    /// `offsets` before spaces were taken off; empty where none are.
    var untrimmed: [Range<Int>] = []
    private(set) var words: [Int] = []
    /// Of added tokens that took spaces with them, by their place among `tokens`: how many before and after.
    private(set) var spacesTaken: [Int: (leading: Int, trailing: Int)] = [:]
    private var wordCount = 0

    init(keepsPlaces: Bool = true) { self.keepsPlaces = keepsPlaces }

    /// The number of the next word.
    mutating func nextWord() -> Int {
        wordCount += 1
        return wordCount - 1
    }

    @inline(__always)
    mutating func append(_ token: Int32, from offsets: Range<Int>, word: Int) {
        tokens.append(token)
        guard keepsPlaces else { return }
        self.offsets.append(offsets)
        words.append(word)
    }

    /// Appends an added token with the text that it was found as.
    mutating func append(
        _ token: AddedToken, found text: Slice<UnsafeBufferPointer<UInt8>>, from offsets: Range<Int>, word: Int
    ) {
        if keepsPlaces && (token.stripsLeft || token.stripsRight) {
            let scalars = Array(String(decoding: text, as: UTF8.self).unicodeScalars)
            spacesTaken[tokens.count] = (
                scalars.prefix { $0.properties.isWhitespace }.count,
                scalars.reversed().prefix { $0.properties.isWhitespace }.count
            )
        }
        append(token.token, from: offsets, word: word)
    }

    mutating func removeTokens(from start: Int) {
        tokens.removeSubrange(start...)
        guard keepsPlaces else { return }
        offsets.removeSubrange(start...)
        words.removeSubrange(start...)
    }
}
