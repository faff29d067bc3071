extension Tokenizer {
    /// What is cut where text and pair are too long together; the names of Hugging Face's strategies in Swift's spelling.
    public enum Truncation: String, Codable, Sendable, CaseIterable {
        /// The longer of the two until both are of one length, then both.
        case longestFirst
        case onlyFirst
        case onlySecond
    }
}

extension Tokenizer.Truncation {
    /// How many tokens of each text remain where there may be `limit` in all.
    ///
    /// - Parameters:
    ///   - second: nil where there is no second text.
    ///   - maximumLength: `limit` and the special tokens, for messages.
    /// - Throws: `DatasetError.cannotTruncate` where cutting the chosen text alone does not do.
    func lengths(
        _ first: Int, _ second: Int?, limit: Int, maximumLength: Int
    ) throws -> (first: Int, second: Int) {
        func cannotCut(_ reason: String) -> DatasetError {
            .cannotTruncate(
                length: maximumLength,
                reason: "\(reason), and truncation is '\(rawValue)'; take longestFirst, or allow more tokens")
        }
        let other = second ?? 0
        if limit == 0 { return (0, 0) }
        if first + other <= limit { return (first, other) }
        switch self {
        case .longestFirst:
            guard second != nil else { return (limit, 0) }
            // As Hugging Face shares it: the shorter keeps all while the longer still gets as much.
            let shorter = min(first, other)
            var (less, more) = (shorter, shorter > limit ? shorter : max(shorter, limit - shorter))
            if less + more > limit { (less, more) = (limit / 2, limit / 2 + limit % 2) }
            return first > other ? (more, less) : (less, more)
        case .onlyFirst:
            guard other < limit else { throw cannotCut("the second text alone has \(other)") }
            return (limit - other, other)
        case .onlySecond:
            guard second != nil else { throw cannotCut("there is no second text to cut") }
            guard first < limit else { throw cannotCut("the first text alone has \(first)") }
            return (first, limit - first)
        }
    }

    /// Windows of `length` tokens that overlap by `stride` and reach to the end, the first one first.
    static func windows(of count: Int, length: Int, stride: Int) -> [Range<Int>] {
        if length >= count { return [0..<count] }
        if length == 0 { return [0..<0] }
        var windows: [Range<Int>] = []
        var start = 0
        while true {
            let end = min(start + length, count)
            windows.append(start..<end)
            if end == count { return windows }
            start += length - stride
        }
    }
}
