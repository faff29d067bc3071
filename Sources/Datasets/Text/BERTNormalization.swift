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
        var marks: [CombiningMark] = []
        while position < range.upperBound {
            let byte = bytes[position]
            if byte < 0x80 {
                let new = ascii[Int(byte)]
                if new >= 0 {
                    flush(&marks, to: &text)
                    text.append(UInt8(truncatingIfNeeded: new), from: origin)
                }
                position += 1
            } else {
                let (scalar, count) = bytes.scalar(at: position)
                append(scalar, from: origin, to: &text, marks: &marks)
                position += count
            }
            origin &+= 1
        }
        flush(&marks, to: &text)
        return Int(origin)
    }

    private func append(
        _ scalar: Unicode.Scalar, from origin: Int32, to text: inout NormalizedText, marks: inout [CombiningMark]
    ) {
        if cleansText && scalar.isRemovedByBERT { return }
        let isSpace = cleansText && scalar.properties.isWhitespace
        let isApart = separatesChinese && scalar.isChineseOfBERT
        guard stripsAccents, !isSpace, !isApart else {
            flush(&marks, to: &text)
            if isSpace || isApart { text.append(0x20, from: origin) }
            if isSpace { return }
            for part in stripsAccents ? scalar.canonicalDecomposition ?? [scalar] : [scalar] {
                appendFolded(part, from: origin, to: &text)
            }
            if isApart { text.append(0x20, from: origin) }
            return
        }
        guard let parts = scalar.canonicalDecomposition else {
            return appendDecomposed(scalar, isFirst: true, from: origin, to: &text, marks: &marks)
        }
        for (index, part) in parts.enumerated() {
            appendDecomposed(part, isFirst: index == 0, from: origin, to: &text, marks: &marks)
        }
    }

    /// One of the marks that follow each other and have not been put in canonical order yet.
    private struct CombiningMark {
        let scalar: Unicode.Scalar
        let combiningClass: UInt8
        let isFirst: Bool
        let origin: Int32
    }

    /// - Parameter isFirst: whether the scalar is the first of what one scalar of the text was decomposed to.
    private func appendDecomposed(
        _ scalar: Unicode.Scalar, isFirst: Bool, from origin: Int32, to text: inout NormalizedText,
        marks: inout [CombiningMark]
    ) {
        let combiningClass = scalar.combiningClass
        if combiningClass == 0 {
            flush(&marks, to: &text)
            appendFolded(scalar, from: origin, to: &text)
        } else {
            marks.append(
                CombiningMark(scalar: scalar, combiningClass: combiningClass, isFirst: isFirst, origin: origin))
        }
    }

    /// Appends the marks in canonical order. Each keeps its number in the row, not its own place, as origin: that is how
    /// Hugging Face counts them.
    private func flush(_ marks: inout [CombiningMark], to text: inout NormalizedText) {
        if marks.isEmpty { return }
        let origins = marks.filter(\.isFirst).map(\.origin)
        let sorted = marks.enumerated().sorted {
            ($0.element.combiningClass, $0.offset) < ($1.element.combiningClass, $1.offset)
        }
        var taken = 0
        for (_, mark) in sorted {
            if mark.isFirst { taken += 1 }
            appendFolded(mark.scalar, from: taken > 0 ? origins[taken - 1] : mark.origin, to: &text)
        }
        marks.removeAll(keepingCapacity: true)
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
