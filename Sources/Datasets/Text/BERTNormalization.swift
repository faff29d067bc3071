/// What BERT does to text before splitting it into words (Devlin et al. 2018, https://arxiv.org/abs/1810.04805, as
/// Hugging Face's `BertNormalizer` does it): controls go and every space becomes " "; Chinese characters are set
/// apart by spaces; letters are decomposed (NFD) and lose their accents; upper case becomes lower case.
struct BERTNormalization: Sendable {
    let cleansText: Bool
    let separatesChinese: Bool
    let stripsAccents: Bool
    let lowercases: Bool
    /// What each ASCII byte becomes; −1 where it goes.
    private let ascii: [Int16]

    init(cleansText: Bool, separatesChinese: Bool, stripsAccents: Bool, lowercases: Bool) {
        self.cleansText = cleansText
        self.separatesChinese = separatesChinese
        self.stripsAccents = stripsAccents
        self.lowercases = lowercases
        ascii = (0..<0x80).map { (byte: UInt8) -> Int16 in
            let scalar = Unicode.Scalar(byte)
            if cleansText && scalar.isRemovedByBERT { return -1 }
            if cleansText && scalar.properties.isWhitespace { return 0x20 }
            return Int16(lowercases && byte >= 0x41 && byte <= 0x5A ? byte + 0x20 : byte)
        }
    }

    /// Appends the bytes `range` of valid UTF-8, normalised, to `text`.
    ///
    /// - Parameter first: the number of their first scalar.
    /// - Returns: the number of the scalar after them.
    func append(
        _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, firstScalar first: Int, to text: inout NormalizedText
    ) -> Int {
        text.reserve(range.count)
        var position = range.lowerBound
        var origin = Int32(truncatingIfNeeded: first)
        while position < range.upperBound {
            let byte = bytes[position]
            if byte < 0x80 {
                let new = ascii[Int(byte)]
                if new >= 0 { text.append(UInt8(truncatingIfNeeded: new), from: origin) }
                position += 1
            } else {
                let (scalar, count) = bytes.scalar(at: position)
                append(scalar, from: origin, to: &text)
                position += count
            }
            origin &+= 1
        }
        return Int(origin)
    }

    private func append(_ scalar: Unicode.Scalar, from origin: Int32, to text: inout NormalizedText) {
        if cleansText {
            if scalar.isRemovedByBERT { return }
            if scalar.properties.isWhitespace { return text.append(0x20, from: origin) }
        }
        let isApart = separatesChinese && scalar.isChineseOfBERT
        if isApart { text.append(0x20, from: origin) }
        if stripsAccents, let parts = scalar.canonicalDecomposition {
            for part in parts { appendFolded(part, from: origin, to: &text) }
        } else {
            appendFolded(scalar, from: origin, to: &text)
        }
        if isApart { text.append(0x20, from: origin) }
    }

    private func appendFolded(_ scalar: Unicode.Scalar, from origin: Int32, to text: inout NormalizedText) {
        if stripsAccents && scalar.isAccentOfBERT { return }
        if lowercases && scalar.properties.changesWhenLowercased {
            for lower in scalar.properties.lowercaseMapping.unicodeScalars { text.append(lower, from: origin) }
        } else {
            text.append(scalar, from: origin)
        }
    }

    /// Calls `body` with each word of `range`: what stands between spaces, every punctuation mark for itself.
    static func forEachWord(
        _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ body: (Range<Int>) -> Void
    ) {
        var start = range.lowerBound
        var position = range.lowerBound
        while position < range.upperBound {
            let byte = bytes[position]
            var count = 1
            let kind: WordClass
            if byte < 0x80 {
                kind = asciiClasses[Int(byte)]
            } else {
                let (scalar, length) = bytes.scalar(at: position)
                count = length
                kind = WordClass(scalar)
            }
            if kind != .part {
                if start < position { body(start..<position) }
                if kind == .punctuation { body(position..<position + count) }
                start = position + count
            }
            position += count
        }
        if start < range.upperBound { body(start..<range.upperBound) }
    }

    private enum WordClass: UInt8 {
        case part, space, punctuation

        init(_ scalar: Unicode.Scalar) {
            self = scalar.properties.isWhitespace ? .space : scalar.isPunctuationOfBERT ? .punctuation : .part
        }
    }

    private static let asciiClasses = (0..<0x80).map { (byte: UInt8) in WordClass(Unicode.Scalar(byte)) }
}
