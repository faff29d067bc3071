import Foundation

/// Text to tokens and back, the same as Hugging Face `tokenizers` makes from the same files: WordPiece of BERT (cased
/// and uncased) and byte-level byte-pair encoding of GPT-2. Checked against version 0.23 on every Unicode scalar, on
/// whole data sets and on a list of hard texts (Tests/DatasetsTests/TokenizerTests.swift).
///
/// A value can be used from several threads at once.
public struct Tokenizer: Sendable {
    let core: TokenizerCore

    /// The tokenizer of a folder as Hugging Face models have it: `tokenizer.json`, or else `vocab.txt` (BERT), or else
    /// `vocab.json` with `merges.txt` (GPT-2). `tokenizer_config.json` beside them, where there is one, says which
    /// tokens are special, and for `vocab.txt` whether upper case counts; without that word, a `vocab.txt` that
    /// has upper-case letters is taken for a cased one.
    ///
    /// - Throws: `DatasetError` where the folder has none of these, or a file is damaged or of another kind.
    public init(folder: String) throws { core = try TokenizerFile.inFolder(folder).core() }

    /// The tokenizer of one of these files: `tokenizer.json`, `vocab.txt`, `vocab.json` or `merges.txt`; files that
    /// belong to it are found beside it.
    ///
    /// - Throws: `DatasetError`, as for a folder.
    public init(file: String) throws { core = try TokenizerFile.atPath(file).core() }

    /// The tokenizer of what `json()` gave, or of any `tokenizer.json`.
    ///
    /// - Parameter name: what messages call it.
    /// - Throws: `DatasetError`, as for a folder.
    public init(json: Data, name: String = "tokenizer.json") throws {
        core = try TokenizerFile(path: name, json: [UInt8](json), settings: nil).core()
    }

    /// The largest token and one: how many rows an embedding needs.
    public var vocabularyCount: Int { core.vocabulary.count }
    /// What batches are filled up with; nil where the tokenizer has no such token (GPT-2).
    public var paddingToken: Int32? { core.roles.padding }
    public var unknownToken: Int32? { core.roles.unknown }
    /// [CLS] of BERT, <|endoftext|> of GPT-2.
    public var beginToken: Int32? { core.roles.begin }
    /// [SEP] of BERT, <|endoftext|> of GPT-2.
    public var separatorToken: Int32? { core.roles.separator }
    public var maskToken: Int32? { core.roles.mask }

    /// Tokens of a text, or of a text and its pair.
    ///
    /// Truncation and padding that the file may ask for are not applied: they are the caller's.
    ///
    /// - Parameter maximumLength: how many tokens there may be, special ones included; no limit where nil.
    /// - Throws: `DatasetError.cannotTruncate` where the limit leaves no place for the special tokens, or cutting the
    ///   text that `truncation` names does not do.
    public func encode(
        _ text: String, pair: String? = nil, addingSpecialTokens: Bool = true, maximumLength: Int? = nil,
        truncation: Truncation = .longestFirst
    ) throws -> Encoding {
        let texts = core.withScratch { scratch in
            ([text] + (pair.map { [$0] } ?? [])).map { core.tokenize($0, scratch) }
        }
        return try core.encoding(texts, addingSpecialTokens, maximumLength, truncation)
    }

    /// The same for bytes that may not be valid UTF-8: what is not becomes U+FFFD, as of Python's
    /// `decode(errors="replace")`; offsets count the scalars after that.
    public func encode(
        bytes: [UInt8], pair: [UInt8]? = nil, addingSpecialTokens: Bool = true, maximumLength: Int? = nil,
        truncation: Truncation = .longestFirst
    ) throws -> Encoding {
        try encode(
            String(decoding: bytes, as: UTF8.self), pair: pair.map { String(decoding: $0, as: UTF8.self) },
            addingSpecialTokens: addingSpecialTokens, maximumLength: maximumLength, truncation: truncation)
    }

    /// The same for texts that are words already, as data sets of named entities have them. `words` of the result
    /// counts the given words, and `offsets` are places within them; a word may have several tokens, or none.
    public func encode(
        words: [String], pair: [String]? = nil, addingSpecialTokens: Bool = true, maximumLength: Int? = nil,
        truncation: Truncation = .longestFirst
    ) throws -> Encoding {
        let texts = core.withScratch { scratch in
            ([words] + (pair.map { [$0] } ?? [])).map { core.tokenize(words: $0, scratch) }
        }
        return try core.encoding(texts, addingSpecialTokens, maximumLength, truncation)
    }

    /// A long text as several encodings of at most `maximumLength` tokens, each overlapping the one before by `stride`
    /// tokens: for question answering, the question with every window of the passage. The first is what `encode`
    /// gives; they are in Hugging Face's order. With `longestFirst`, windows of both texts are combined.
    ///
    /// - Throws: `DatasetError.cannotTruncate` where `encode` throws, or a window is not longer than `stride`.
    public func windows(
        _ text: String, pair: String? = nil, addingSpecialTokens: Bool = true, maximumLength: Int, stride: Int,
        truncation: Truncation
    ) throws -> [Encoding] {
        let texts = core.withScratch { scratch in
            ([text] + (pair.map { [$0] } ?? [])).map { core.tokenize($0, scratch) }
        }
        return try core.windows(texts, addingSpecialTokens, maximumLength, stride, truncation)
    }

    /// Tokens of a text with the special ones that stand around a single text: `[CLS] … [SEP]`. They have no offsets.
    public func framed(_ tokens: some Collection<Int32>) -> Encoding {
        var text = TokenizedText(keepsPlaces: true)
        for (word, token) in tokens.enumerated() { text.append(token, from: 0..<0, word: word) }
        return core.template.assemble([(text, 0..<tokens.count, nil)], addingSpecialTokens: true)
    }

    /// Whether a token stands for no text of its own: [CLS], [PAD], [UNK], ….
    public func isSpecial(_ token: Int32) -> Bool { core.specialTokens.contains(token) }

    /// The text that tokens stand for, as near as they tell: pieces joined, and WordPiece's spaces before punctuation
    /// taken away. Tokens that there are not are left out.
    public func decode(_ tokens: [Int32], skippingSpecialTokens: Bool = true) -> String {
        core.decode(tokens, skippingSpecialTokens: skippingSpecialTokens)
    }

    /// A token as the vocabulary writes it (`##ing`, `Ġthe`).
    public func token(_ id: Int32) -> String? {
        core.vocabulary.tokens[id].map { String(decoding: $0, as: UTF8.self) }
    }

    /// The UTF-8 that a token adds to a text: of a byte-level token its bytes, which alone may be part of a scalar; of others
    /// what `token` gives. For showing text while it is generated.
    public func bytes(of token: Int32) -> [UInt8]? {
        core.vocabulary.tokens[token].map { text in
            if case .byteLevel = core.decoder { ByteLevel.bytes(of: text) ?? text } else { text }
        }
    }

    public func id(of token: String) -> Int32? { core.vocabulary.ids[Array(token.utf8)] }

    /// The tokenizer as a `tokenizer.json` that Graft and Hugging Face read: the file itself where it came from one, or
    /// one made of the vocabulary files.
    public func json() -> Data { Data(core.json) }

    /// The tokens alone, without special ones: of a long text, places and words would take several times their memory.
    package func tokens(of text: String) -> [Int32] {
        core.withScratch { core.tokenize(text, $0, keepingPlaces: false).tokens }
    }

    /// The text as the model's pieces are looked up in it: normalised for BERT, the same for GPT-2.
    package func normalized(_ text: String) -> String {
        core.withScratch { String(decoding: core.normalized(text, $0), as: UTF8.self) }
    }

    /// Writes `json()` to a file.
    ///
    /// - Throws: `DatasetError.unwritable`.
    public func write(to path: String) throws {
        do {
            try json().write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw DatasetError.unwritable(path: path, reason: error.localizedDescription)
        }
    }
}
