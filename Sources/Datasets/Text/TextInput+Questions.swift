extension TextInput {
    /// A question with the passage that may answer it, as tokens: `[CLS] question [SEP] passage [SEP]` once, or with each
    /// window of a passage that is too long, the first one first. Windows share `stride` tokens.
    ///
    /// - Throws: `DatasetError.cannotTruncate` where the question leaves no place, or not more than windows share;
    ///   `.unsupportedTokenizer` where no special token stands before the question.
    public func windows(_ question: String, context: String) throws -> [Encoding] {
        let windows = try tokenizer.windows(
            question, pair: context, maximumLength: length, stride: stride, truncation: .onlySecond)
        guard windows.allSatisfy({ $0.count > 2 && $0.texts[0] == nil }) else {
            throw DatasetError.unsupportedTokenizer(
                path: "tokenizer", key: "post_processor", value: "no special token at the beginning",
                rule: "question answering wants one, such as [CLS], that says that there is no answer")
        }
        return windows
    }

    /// One window of a passage, with its label: the first and the last token of the answer, or of [CLS] (0, 0) where the
    /// window does not hold all of it.
    func sequence(_ question: QuestionWindow, name: String) throws -> TokenSequence {
        let windows = try windows(question.question, context: question.context)
        guard windows.indices.contains(question.window) else { throw DatasetError.noTokens(path: name) }
        return Self.sequence(windows[question.window], answer: question.answers.first)
    }

    /// - Parameter answer: the one to learn; nil where there is none.
    public static func sequence(_ window: Encoding, answer: QuestionWindow.Answer? = nil) -> TokenSequence {
        var sequence = TokenSequence(
            tokens: window.tokens, segments: window.segments, labels: ends(of: answer, in: window))
        sequence.places = window.texts.indices.flatMap { index -> [Int32] in
            guard window.texts[index] == 1 else { return [-1, -1] }
            return [Int32(window.offsets[index].lowerBound), Int32(window.offsets[index].upperBound)]
        }
        return sequence
    }

    /// The last token that begins where the answer does or before, and the first that ends where it does or behind.
    private static func ends(of answer: QuestionWindow.Answer?, in window: Encoding) -> [Int32] {
        let passage = window.texts.indices.filter { window.texts[$0] == 1 }
        guard let answer, let first = passage.first, let last = passage.last else { return [0, 0] }
        let end = answer.start + answer.text.unicodeScalars.count
        let offsets = window.offsets
        guard offsets[first].lowerBound <= answer.start, offsets[last].upperBound >= end else { return [0, 0] }
        let begin = passage.last { offsets[$0].lowerBound <= answer.start } ?? first
        let close = passage.first { offsets[$0].upperBound >= end } ?? last
        return [Int32(begin), Int32(max(begin, close))]
    }
}
