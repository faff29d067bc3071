import Foundation

/// The width multiplier α of MobileNets (Howard et al. 2017, https://arxiv.org/abs/1704.04861, section 3.3), which stands
/// behind the family in a name: `mobilenet_v1_0.25`.
enum MobileNetWidth {
    static let range = 0.05...8.0

    /// Which widths are tried for the channels that a file has, the first that fits counting: several may, as channels are
    /// rounded. The published ones, then multiples of 0.05, then of 0.01.
    static let tried: [Double] = {
        let published = [1, 0.75, 0.5, 0.35, 0.25, 1.3, 1.4]
        let others = (1...40).map { Double($0) / 20 } + (5...200).map { Double($0) / 100 }
        return others.reduce(into: published) { if !$0.contains($1) { $0.append($1) } }
    }()
}

extension Architecture {
    /// `mobilenet_v1` and 0.25 → `mobilenet_v1_0.25`; nothing is appended for 1.
    public static func name(_ family: String, width: Double) -> String {
        let short = String(format: "%g", width)
        return width == 1 ? family : "\(family)_\(Double(short) == width ? short : "\(width)")"
    }
}

extension MemberName {
    /// The width behind the name of a family: `mobilenet_v1_0.25` → 0.25, without one → 1; nil where the name is another.
    ///
    /// - Throws: `ModelError.invalidNumber`.
    func width(after family: String) throws -> Double? {
        guard name.hasPrefix(family) else { return nil }
        let suffix = name.dropFirst(family.count)
        if suffix.isEmpty { return 1 }
        guard suffix.first == "_", let width = Double(suffix.dropFirst()) else { return nil }
        guard MobileNetWidth.range.contains(width) else {
            throw ModelError.invalidNumber(
                architecture: family, key: "width", value: "\(suffix.dropFirst())", expected: "0.05 to 8")
        }
        return width
    }
}
