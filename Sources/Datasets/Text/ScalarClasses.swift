import Foundation

/// The character classes of Hugging Face tokenizers. Their tables are of different Unicode versions: categories for
/// BERT of version 8, those of GPT-2's expression of 16, canonical decompositions of 12, the order of marks of 9. Swift's
/// are newer, so that a scalar assigned later than the version in question counts as unassigned, and the few that
/// changed are named.
extension Unicode.Scalar {
    @inline(__always)
    private func isAssigned(asOf major: Int) -> Bool { (properties.age?.major ?? .max) <= major }

    /// Whether BERT's normalisation takes the scalar away: controls other than tab, line feed and carriage return,
    /// format characters, private use, NUL and U+FFFD.
    var isRemovedByBERT: Bool {
        switch value {
        case 0x09, 0x0A, 0x0D: return false
        case 0xFFFD: return true
        default: break
        }
        switch properties.generalCategory {
        case .control, .privateUse: return true
        case .format: return isAssigned(asOf: 8)
        default: return false
        }
    }

    /// Whether BERT takes the scalar for punctuation: category P, and all ASCII that is neither letter, digit,
    /// control nor space.
    var isPunctuationOfBERT: Bool {
        switch value {
        case 0..<0x80: return value > 0x20 && value < 0x7F && !isASCIILetterOrDigit
        case 0x166D, 0x111C9: return true
        default: break
        }
        switch properties.generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
            .finalPunctuation, .otherPunctuation:
            return isAssigned(asOf: 8)
        default: return false
        }
    }

    private var isASCIILetterOrDigit: Bool {
        (value >= 0x30 && value <= 0x39) || (value | 0x20 >= 0x61 && value | 0x20 <= 0x7A)
    }

    /// Whether BERT takes the scalar for an accent, which it strips after decomposing: category Mn.
    var isAccentOfBERT: Bool {
        switch value {
        case 0x1734, 0x1171E: return true
        case 0x1885, 0x1886, 0xA9BD, 0x111C9: return false
        default: return properties.generalCategory == .nonspacingMark && isAssigned(asOf: 8)
        }
    }

    /// What BERT takes for a Chinese character: the blocks of CJK ideographs as Hugging Face has them (its fifth
    /// block begins at U+2B920, where Google's code has U+2B820).
    var isChineseOfBERT: Bool {
        switch value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B81F, 0x2B920...0x2CEAF,
            0xF900...0xFAFF, 0x2F800...0x2FA1F:
            return true
        default: return false
        }
    }

    /// A class of GPT-2's splitting expression.
    enum GPT2Class: UInt8 { case letter, number, space, other }

    /// `\p{L}`, `\p{N}`, `\s` or none of them.
    var gpt2Class: GPT2Class {
        if properties.isWhitespace { return .space }
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
            return isAssigned(asOf: 16) ? .letter : .other
        case .decimalNumber, .letterNumber, .otherNumber:
            return isAssigned(asOf: 16) ? .number : .other
        default: return .other
        }
    }

    /// `\w` of a regular expression, for added tokens that match whole words only.
    var isWordScalar: Bool {
        guard isAssigned(asOf: 16) else { return false }
        if properties.isAlphabetic || properties.isJoinControl { return true }
        switch properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
        default: return false
        }
    }

    /// The scalars of the canonical decomposition (NFD), nil where the scalar stands for itself.
    var canonicalDecomposition: [Unicode.Scalar]? {
        if value >= 0xAC00, value < 0xAC00 + 11_172 { return Self.hangulDecomposition(value - 0xAC00) }
        return Self.decompositions[value]
    }

    /// Syllables are composed of leading consonant, vowel and perhaps a trailing consonant, by arithmetic.
    private static func hangulDecomposition(_ index: UInt32) -> [Unicode.Scalar] {
        let trailing = index % 28
        let parts = [0x1100 + index / 588, 0x1161 + index % 588 / 28] + (trailing > 0 ? [0x11A7 + trailing] : [])
        return parts.compactMap(Unicode.Scalar.init)
    }

    /// By what canonical ordering sorts the marks after a letter; 0 for what is no such mark.
    var combiningClass: UInt8 {
        let combiningClass = properties.canonicalCombiningClass.rawValue
        return combiningClass != 0 && isAssigned(asOf: 9) ? combiningClass : 0
    }

    /// All others, from one call for all the blocks that have some.
    private static let decompositions: [UInt32: [Unicode.Scalar]] = {
        let blocks: [Range<UInt32>] = [
            0xC0..<0x3400, 0xF900..<0xFE00, 0x11000..<0x12000, 0x1D000..<0x1D800, 0x2F800..<0x2FA20,
        ]
        let scalars = blocks.joined().compactMap(Unicode.Scalar.init).filter { $0.isAssigned(asOf: 12) }
        var text = String.UnicodeScalarView()
        for scalar in scalars { text.append(contentsOf: [scalar, "\n"]) }
        let parts = String(text).decomposedStringWithCanonicalMapping.unicodeScalars.split(
            separator: "\n", omittingEmptySubsequences: false)
        var decompositions: [UInt32: [Unicode.Scalar]] = [:]
        for (scalar, part) in zip(scalars, parts) where !part.elementsEqual([scalar]) {
            decompositions[scalar.value] = Array(part)
        }
        return decompositions
    }()
}
