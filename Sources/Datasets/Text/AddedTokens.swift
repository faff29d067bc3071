/// A token that is taken out of the text before anything else is done to it, as `added_tokens` of a `tokenizer.json`
/// lists them: [MASK], <|endoftext|>, and what somebody added later.
struct AddedToken: Sendable {
    let content: [UInt8]
    let token: Int32
    /// Matches only where no letter, digit or underscore stands before or after.
    let isSingleWord: Bool
    /// Takes the spaces on its left, and on its right, with it.
    let stripsLeft: Bool
    let stripsRight: Bool
    /// Is looked for in normalised text, itself normalised.
    let isNormalized: Bool
    /// Is left out by decoding.
    let isSpecial: Bool
}

/// Finds added tokens in text.
struct AddedTokenSplitter: Sendable {
    private var patterns = ByteTrie()
    private var tokens: [AddedToken] = []
    /// By byte: whether a pattern begins with it.
    private var begins = [Bool](repeating: false, count: 256)

    var isEmpty: Bool { tokens.isEmpty }

    /// - Parameter patterns: what to look for, with the token found by it.
    init(_ patterns: [(pattern: [UInt8], token: AddedToken)]) {
        for (pattern, token) in patterns {
            guard let first = pattern.first else { continue }
            self.patterns.insert(pattern, value: Int32(tokens.count))
            begins[Int(first)] = true
            tokens.append(token)
        }
    }

    /// Calls `body` with every part of `bytes`, in order and without gaps, and the token where it is one. Of several
    /// that match, the leftmost and then the longest is taken.
    func forEachPart(_ bytes: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>, AddedToken?) -> Void) {
        guard !tokens.isEmpty else {
            if !bytes.isEmpty { body(0..<bytes.count, nil) }
            return
        }
        var start = 0
        var position = 0
        while position < bytes.count {
            guard begins[Int(bytes[position])], let match = patterns.longest(bytes, position..<bytes.count) else {
                position += 1
                continue
            }
            let token = tokens[Int(match.value)]
            var found = position..<match.end
            position = match.end
            if token.isSingleWord && isPartOfWord(bytes, found) { continue }
            if token.stripsLeft { found = spacesBefore(bytes, found.lowerBound, from: start)..<found.upperBound }
            if token.stripsRight { found = found.lowerBound..<spacesAfter(bytes, found.upperBound) }
            position = max(position, found.upperBound)
            if start < found.lowerBound { body(start..<found.lowerBound, nil) }
            body(found, token)
            start = found.upperBound
        }
        if start < bytes.count { body(start..<bytes.count, nil) }
    }

    private func isPartOfWord(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Bool {
        if range.lowerBound > 0, bytes.scalar(before: range.lowerBound).scalar.isWordScalar { return true }
        return range.upperBound < bytes.count && bytes.scalar(at: range.upperBound).scalar.isWordScalar
    }

    private func spacesBefore(_ bytes: UnsafeBufferPointer<UInt8>, _ end: Int, from start: Int) -> Int {
        var position = end
        while position > start {
            let (scalar, count) = bytes.scalar(before: position)
            if !scalar.properties.isWhitespace { break }
            position -= count
        }
        return max(position, start)
    }

    private func spacesAfter(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int {
        var position = start
        while position < bytes.count {
            let (scalar, count) = bytes.scalar(at: position)
            if !scalar.properties.isWhitespace { break }
            position += count
        }
        return position
    }
}
