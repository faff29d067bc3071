import Foundation

/// All tokens, those of the model and the added ones. Keys are bytes: `String` takes canonically equivalent texts
/// for the same.
struct Vocabulary: Sendable {
    let ids: [[UInt8]: Int32]
    let tokens: [Int32: [UInt8]]
    /// The largest token and one.
    let count: Int

    init(ids: [[UInt8]: Int32]) {
        self.ids = ids
        tokens = Dictionary(
            ids.map { ($1, $0) }, uniquingKeysWith: { $0.lexicographicallyPrecedes($1) ? $0 : $1 })
        count = Int(ids.values.max() ?? -1) + 1
    }
}

/// What special tokens are for.
struct TokenRoles: Sendable {
    var padding: Int32?
    var unknown: Int32?
    var begin: Int32?
    var separator: Int32?
    var mask: Int32?
}

/// How words become tokens, and what is done to text before.
enum TokenizerModel: Sendable {
    case wordPiece(WordPiece, normalization: BERTNormalization?)
    case bytePair(BytePair, addsPrefixSpace: Bool, splits: Bool)
}

/// How tokens become text.
enum TokenDecoder: Sendable {
    case spaces
    case wordPiece(prefix: [UInt8], cleansUp: Bool)
    case byteLevel
}

/// Whether spaces at both ends of a token count for its offsets.
enum OffsetTrimming: Equatable, Sendable {
    case none
    /// They do not. `keepingPrefix`: one at the beginning of a text was put there by the model and is not in the text.
    case spaces(keepingPrefix: Bool)
}

/// Everything that a tokenizer's file says, and the memory that calls reuse.
final class TokenizerCore: Sendable {
    let json: [UInt8]
    let model: TokenizerModel
    let vocabulary: Vocabulary
    let roles: TokenRoles
    let template: SpecialTokenTemplate
    let trimming: OffsetTrimming
    let decoder: TokenDecoder
    let specialTokens: Set<Int32>
    /// Normalised added tokens, which is how Hugging Face decodes them.
    private let normalizedContents: [Int32: [UInt8]]
    /// Looked for in the text as it is, and in normalised text.
    private let rawSplitter: AddedTokenSplitter
    private let normalizedSplitter: AddedTokenSplitter
    private let scratches = ScratchPool()

    init(
        json: [UInt8], model: TokenizerModel, vocabulary: Vocabulary, addedTokens: [AddedToken], roles: TokenRoles,
        template: SpecialTokenTemplate, trimming: OffsetTrimming, decoder: TokenDecoder
    ) {
        self.json = json
        self.model = model
        self.vocabulary = vocabulary
        self.roles = roles
        self.template = template
        self.trimming = trimming
        self.decoder = decoder
        specialTokens = Set(addedTokens.filter(\.isSpecial).map(\.token))
        rawSplitter = AddedTokenSplitter(addedTokens.filter { !$0.isNormalized }.map { ($0.content, $0) })
        let normalized = addedTokens.filter(\.isNormalized).map { token -> (pattern: [UInt8], token: AddedToken) in
            guard case .wordPiece(_, let normalization?) = model else { return (token.content, token) }
            var text = NormalizedText()
            token.content.withUnsafeBufferPointer {
                _ = normalization.append($0, 0..<$0.count, firstScalar: 0, to: &text)
            }
            return (text.bytes, token)
        }
        normalizedSplitter = AddedTokenSplitter(normalized)
        normalizedContents = Dictionary(normalized.map { ($0.token.token, $0.pattern) }) { $1 }
    }

    /// Lends the memory of a call.
    func withScratch<T>(_ body: (Scratch) -> T) -> T {
        let scratch = scratches.take()
        defer { scratches.give(scratch) }
        return body(scratch)
    }

    func tokenize(_ text: String, _ scratch: Scratch, keepingPlaces: Bool = true) -> TokenizedText {
        var result = TokenizedText(keepsPlaces: keepingPlaces)
        append(text, word: nil, to: &result, scratch)
        return trimmed(result)
    }

    func tokenize(words: [String], _ scratch: Scratch) -> TokenizedText {
        var result = TokenizedText()
        for (word, text) in words.enumerated() { append(text, word: word, to: &result, scratch) }
        return trimmed(result)
    }

    /// - Parameter word: the number of the given word that the text is; words are counted where nil.
    private func append(_ text: String, word: Int?, to result: inout TokenizedText, _ scratch: Scratch) {
        var text = text
        text.withUTF8 { bytes in
            var scalars = 0
            rawSplitter.forEachPart(bytes) { range, token in
                if let token {
                    let end = scalars + bytes.scalarCount(range)
                    let number = word ?? result.nextWord()
                    result.append(token, found: bytes[range], from: scalars..<end, word: number)
                    scalars = end
                } else {
                    scalars = normalize(bytes, range, firstScalar: scalars, scratch)
                    scratch.text.withView { appendNormalized($0, word: word, to: &result, scratch) }
                }
            }
        }
    }

    func normalized(_ text: String, _ scratch: Scratch) -> [UInt8] {
        var text = text
        text.withUTF8 { _ = normalize($0, 0..<$0.count, firstScalar: 0, scratch) }
        return scratch.text.bytes
    }

    /// Fills `scratch.text`; returns the number of the scalar after the range.
    private func normalize(
        _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, firstScalar: Int, _ scratch: Scratch
    ) -> Int {
        scratch.text.removeAll()
        if case .wordPiece(_, let normalization?) = model {
            return normalization.append(bytes, range, firstScalar: firstScalar, to: &scratch.text)
        }
        scratch.text.reserve(range.count)
        var origin = Int32(truncatingIfNeeded: firstScalar) &- 1
        for index in range {
            if bytes[index] & 0xC0 != 0x80 { origin &+= 1 }
            scratch.text.append(bytes[index], from: origin)
        }
        return Int(origin) + 1
    }

    private func appendNormalized(_ text: TextView, word: Int?, to result: inout TokenizedText, _ scratch: Scratch) {
        normalizedSplitter.forEachPart(text.bytes) { range, token in
            if let token {
                let number = word ?? result.nextWord()
                return result.append(token, found: text.bytes[range], from: text.span(range), word: number)
            }
            switch model {
            case .wordPiece(let wordPiece, _):
                BERTNormalization.forEachWord(text.bytes, range) { part in
                    let number = word ?? result.nextWord()
                    wordPiece.append(text, part, word: number, to: &result)
                }
            case .bytePair(let bytePair, let addsPrefixSpace, let splits):
                if addsPrefixSpace && text.bytes[range.lowerBound] != 0x20 {
                    scratch.prefix(text, range)
                    scratch.prefixed.withView {
                        append($0, 0..<$0.bytes.count, bytePair, splits, word: word, to: &result, scratch)
                    }
                } else {
                    append(text, range, bytePair, splits, word: word, to: &result, scratch)
                }
            }
        }
    }

    private func append(
        _ text: TextView, _ range: Range<Int>, _ bytePair: BytePair, _ splits: Bool, word: Int?,
        to result: inout TokenizedText, _ scratch: Scratch
    ) {
        func appendPiece(_ piece: Range<Int>) {
            let number = word ?? result.nextWord()
            bytePair.append(text, piece, word: number, to: &result, cache: scratch.pieces)
        }
        if splits { ByteLevel.forEachPiece(text.bytes, range, appendPiece) } else { appendPiece(range) }
    }

    /// Takes spaces at both ends off the offsets, as Hugging Face's `trim_offsets` does.
    private func trimmed(_ text: TokenizedText) -> TokenizedText {
        guard text.keepsPlaces, case .spaces(let keepingPrefix) = trimming else { return text }
        var text = text
        text.untrimmed = text.offsets
        for index in text.tokens.indices {
            text.offsets[index] = trimmedOffsets(text, index, keepingPrefix: keepingPrefix && index == 0)
        }
        return text
    }

    /// - Parameter keepingPrefix: whether a single space before the token stays, which the model may have put there; one at
    ///   the beginning of the text stays if any does.
    private func trimmedOffsets(_ text: TokenizedText, _ index: Int, keepingPrefix: Bool) -> Range<Int> {
        let token = vocabulary.tokens[text.tokens[index]] ?? []
        let bytes = ByteLevel.bytes(of: token) ?? token
        var leading = bytes.prefix { $0 == 0x20 }.count
        var trailing = bytes.reversed().prefix { $0 == 0x20 }.count
        if let spaces = text.spacesTaken[index] { (leading, trailing) = spaces }
        var (start, end) = (text.untrimmed[index].lowerBound, text.untrimmed[index].upperBound)
        if leading > 0 {
            let isKept = keepingPrefix || trimming == .spaces(keepingPrefix: true) && start == 0
            if !(leading == 1 && isKept) { start = min(start + leading, end) }
        }
        if trailing > 0 && end >= trailing { end = max(end - trailing, start) }
        return start..<end
    }

    /// What the offsets of a window's first token are; nil where they are the text's. To Hugging Face, the first token of
    /// any window may have a space that the model put there.
    private func firstOffsets(_ text: TokenizedText, _ window: Range<Int>) -> Range<Int>? {
        guard trimming == .spaces(keepingPrefix: true), !window.isEmpty else { return nil }
        return trimmedOffsets(text, window.lowerBound, keepingPrefix: true)
    }

    // MARK: Special tokens and length

    func encoding(
        _ texts: [TokenizedText], _ addingSpecialTokens: Bool, _ maximumLength: Int?, _ truncation: Tokenizer.Truncation
    ) throws -> Encoding {
        let lengths = try textLengths(texts, addingSpecialTokens, maximumLength, truncation)
        return template.assemble(
            zip(texts, lengths).map { ($0, 0..<$1, nil) }, addingSpecialTokens: addingSpecialTokens)
    }

    func windows(
        _ texts: [TokenizedText], _ addingSpecialTokens: Bool, _ maximumLength: Int, _ stride: Int,
        _ truncation: Tokenizer.Truncation
    ) throws -> [Encoding] {
        let lengths = try textLengths(texts, addingSpecialTokens, maximumLength, truncation)
        let windows = try zip(texts, lengths).map { text, length in
            if length > 0 && length < text.tokens.count && !(0..<length).contains(stride) {
                throw DatasetError.cannotTruncate(
                    length: maximumLength,
                    reason:
                        "windows of \(length) tokens cannot overlap by \(stride); take a stride from 0 to \(length - 1)"
                )
            }
            return Tokenizer.Truncation.windows(of: text.tokens.count, length: length, stride: stride)
        }
        guard let first = windows.first, let text = texts.first else { return [] }
        func encoding(_ range: Range<Int>, _ other: Range<Int>?) -> Encoding {
            var parts = [(text: text, range: range, first: firstOffsets(text, range))]
            if let other { parts.append((texts[1], other, firstOffsets(texts[1], other))) }
            return template.assemble(parts, addingSpecialTokens: addingSpecialTokens)
        }
        guard windows.count > 1 else { return first.map { encoding($0, nil) } }
        // Hugging Face's order: the first window of both, then all others of the first text, then those of the second.
        let second = windows[1]
        var result = [encoding(first[0], second[0])]
        for range in first.dropFirst() { result += second.map { encoding(range, $0) } }
        result += second.dropFirst().map { encoding(first[0], $0) }
        return result
    }

    /// How many tokens of each text there is place for.
    private func textLengths(
        _ texts: [TokenizedText], _ addingSpecialTokens: Bool, _ maximumLength: Int?, _ truncation: Tokenizer.Truncation
    ) throws -> [Int] {
        let counts = texts.map(\.tokens.count)
        guard let maximumLength else { return counts }
        let pieces = texts.count > 1 ? template.pair : template.single
        let special = addingSpecialTokens ? SpecialTokenTemplate.specialTokens(pieces).count : 0
        guard maximumLength >= special else {
            throw DatasetError.cannotTruncate(
                length: maximumLength, reason: "special tokens alone are \(special); allow more tokens")
        }
        let lengths = try truncation.lengths(
            counts[0], counts.count > 1 ? counts[1] : nil, limit: maximumLength - special, maximumLength: maximumLength)
        return counts.count > 1 ? [lengths.first, lengths.second] : [lengths.first]
    }

    // MARK: Back to text

    func decode(_ tokens: [Int32], skippingSpecialTokens: Bool) -> String {
        let parts = tokens.compactMap { token in
            skippingSpecialTokens && specialTokens.contains(token)
                ? nil : normalizedContents[token] ?? vocabulary.tokens[token]
        }
        switch decoder {
        case .spaces: return String(decoding: Array(parts.joined(separator: [0x20])), as: UTF8.self)
        case .byteLevel:
            return String(decoding: parts.flatMap { ByteLevel.bytes(of: $0) ?? $0 }, as: UTF8.self)
        case .wordPiece(let prefix, let cleansUp):
            var text: [UInt8] = []
            for (index, part) in parts.enumerated() {
                var part = part
                if index > 0 {
                    part = part.starts(with: prefix) ? Array(part.dropFirst(prefix.count)) : [0x20] + part
                }
                text += cleansUp ? Self.cleanedUp(part) : part
            }
            return String(decoding: text, as: UTF8.self)
        }
    }

    /// What Hugging Face's clean-up replaces in each part, in this order.
    private static let replacements: [([UInt8], [UInt8])] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (Array($0.0.utf8), Array($0.1.utf8)) }

    private static func cleanedUp(_ part: [UInt8]) -> [UInt8] {
        replacements.reduce(part) { part, replacement in
            var result: [UInt8] = []
            var rest = part[...]
            while !rest.isEmpty {
                if rest.starts(with: replacement.0) {
                    result += replacement.1
                    rest = rest.dropFirst(replacement.0.count)
                } else {
                    result.append(rest.removeFirst())
                }
            }
            return result
        }
    }
}

/// Memory of one call, used again by later ones.
final class Scratch {
    var text = NormalizedText()
    private(set) var prefixed = NormalizedText()
    let pieces = PieceCache()

    /// `prefixed` becomes a space, which comes from the first scalar, and the bytes `range` (not empty).
    func prefix(_ text: TextView, _ range: Range<Int>) {
        prefixed.removeAll()
        prefixed.reserve(range.count + 1)
        prefixed.append(0x20, from: text.origins[range.lowerBound])
        for index in range { prefixed.append(text.bytes[index], from: text.origins[index]) }
    }
}

/// One `Scratch` for each call that runs at the same time as others: a lock per call, none while it works.
private final class ScratchPool: @unchecked Sendable {
    private let lock = NSLock()
    private var free: [Scratch] = []

    func take() -> Scratch { lock.withLock { free.popLast() } ?? Scratch() }

    func give(_ scratch: Scratch) {
        // One endless text should not keep its memory for ever.
        if scratch.text.bytes.capacity <= Self.largestKept { lock.withLock { free.append(scratch) } }
    }

    /// Bytes of text.
    private static let largestKept = 1 << 20
}
