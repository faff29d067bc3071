import Tensors

extension TextInput {
    /// The part of tokens that is to be predicted, and what becomes of these: masked, another token, the rest as it is
    /// (Devlin et al. 2018, https://arxiv.org/abs/1810.04805).
    public static let maskedPart: (chosen: Float, masked: Float, random: Float) = (0.15, 0.8, 0.1)

    /// The tokens of running text in a block: what special tokens leave of `length` where they stand around it.
    public var blockLength: Int { labels == .maskedTokens ? max(1, length - tokenizer.framed([]).count) : length }

    /// The tokens that a block shares with the next one: its last one's successor.
    public var blockOverlap: Int { labels == .maskedTokens ? 0 : 1 }

    /// `[CLS] block [SEP]` with some of its tokens masked; those are the labels. Special tokens are never chosen.
    ///
    /// - Throws: `DatasetError.unsupportedTokenizer` where there is no [MASK].
    func masked(
        _ block: ArraySlice<Int32>, name: String, using generator: inout PhiloxGenerator
    ) throws -> TokenSequence {
        guard let mask = tokenizer.maskToken else {
            throw DatasetError.unsupportedTokenizer(
                path: "tokenizer", key: "added_tokens", value: "no [MASK]",
                rule: "a masked language model wants a tokenizer that has it")
        }
        let frame = tokenizer.framed(block)
        var sequence = TokenSequence(
            tokens: frame.tokens, segments: frame.segments,
            labels: [Int32](repeating: Batch.ignoredLabel, count: frame.count))
        for (place, token) in frame.tokens.enumerated()
        where !tokenizer.isSpecial(token) && generator.nextUniform() < Self.maskedPart.chosen {
            sequence.labels[place] = token
            let draw = generator.nextUniform()
            if draw < Self.maskedPart.masked {
                sequence.tokens[place] = mask
            } else if draw < Self.maskedPart.masked + Self.maskedPart.random {
                sequence.tokens[place] = Int32.random(in: 0..<Int32(tokenizer.vocabularyCount), using: &generator)
            }
        }
        return sequence
    }
}
