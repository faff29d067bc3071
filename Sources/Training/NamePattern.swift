/// A pattern for parameter paths such as `layer4.*`, `head` or `*.bn*`.
///
/// `*` stands for any characters, dots included, and `?` for one. A pattern also matches everything
/// below what it names: `layer4` and `layer4.*` are the same. A leading `*.` also matches at the top,
/// so that `*.bn*` finds `bn1.weight` as well as `layer1.0.bn1.weight`. `head` is the classifier,
/// whatever the architecture calls it.
public struct NamePattern: Hashable, Sendable, CustomStringConvertible {
    public let text: String

    public init(_ text: String) {
        self.text = text
    }

    public var description: String { text }

    /// Whether the pattern covers the parameter at `path`.
    ///
    /// - Parameters:
    ///   - path: dotted path of a parameter or buffer.
    ///   - headPrefix: the path of the classifier, which `head` stands for; nil where there is none.
    public func matches(_ path: String, headPrefix: String? = nil) -> Bool {
        let wanted = Array(resolved(headPrefix: headPrefix).utf8)
        let letters = Array(path.utf8)
        if Self.glob(wanted, letters) { return true }
        if wanted.starts(with: Array("*.".utf8)), Self.glob(Array(wanted.dropFirst(2)), letters) {
            return true
        }
        return false
    }

    /// The pattern with a leading `head` replaced by the classifier's path.
    func resolved(headPrefix: String?) -> String {
        guard let headPrefix, text == "head" || text.hasPrefix("head.") else { return text }
        return headPrefix + text.dropFirst("head".count)
    }

    /// Whether `pattern` matches all of `letters`, or a prefix that ends at a dot. Linear in
    /// practice: only the last star is ever retried.
    private static func glob(_ pattern: [UInt8], _ letters: [UInt8]) -> Bool {
        let star = UInt8(ascii: "*"), any = UInt8(ascii: "?"), dot = UInt8(ascii: ".")
        var p = 0, l = 0
        var retry: (pattern: Int, letter: Int)?
        while true {
            if p == pattern.count, l == letters.count || (letters[l] == dot && p > 0) { return true }
            if p < pattern.count, pattern[p] == star {
                retry = (p + 1, l)
                p += 1
            } else if p < pattern.count, l < letters.count, pattern[p] == any || pattern[p] == letters[l] {
                p += 1
                l += 1
            } else if let last = retry, last.letter < letters.count {
                retry = (last.pattern, last.letter + 1)
                p = last.pattern
                l = last.letter + 1
            } else {
                return false
            }
        }
    }
}
