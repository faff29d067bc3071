import Foundation
import Models
import Training

extension Recipe {
    /// `trunk:` what becomes of the part of a network that a phase leaves frozen.
    public struct Trunk: Equatable, Sendable {
        /// Whether it is compiled; else the network runs as a whole, as where everything learns.
        public var compiles = true
        /// What it computes with, once compiled.
        public var precision = FrozenTrunk.Precision.float32
        public var cache = Cache.auto
        /// The most bytes on disk that one phase may take.
        public var maximumBytes = 20_000_000_000
        /// Of augmented images and running text, new in every epoch: how many variants of each sample are kept, epoch e
        /// reading variant e mod that. nil keeps none and runs the trunk in every epoch.
        public var variants: Int?

        /// Where its outputs are kept.
        public enum Cache: Equatable, Sendable {
            /// Beside the run directory, where that saves time and they fit.
            case auto
            case off
            /// In this folder; that they do not fit is an error.
            case folder(String)
        }

        public init() {}
    }

    /// What the training loop is to do with frozen trunks.
    public var trunkSettings: TrunkSettings {
        var settings = TrunkSettings()
        settings.compiles = trunk.compiles
        settings.precision = trunk.precision
        settings.maximumBytes = trunk.maximumBytes
        settings.variants = trunk.variants
        switch trunk.cache {
        case .off: settings.cache = .off
        case .auto: settings.cache = .automatic(folder: Self.sibling("trunk-cache", of: outputDirectory))
        case .folder(let path): settings.cache = .required(folder: path)
        }
        return settings
    }

    /// `runs/name` and `a` to `runs/a`.
    private static func sibling(_ name: String, of path: String) -> String {
        let parts = path.split(separator: "/", omittingEmptySubsequences: true)
        return (path.hasPrefix("/") ? "/" : "") + (parts.dropLast().map(String.init) + [name]).joined(separator: "/")
    }
}

extension Recipe.Trunk {
    static let keys = ["compile", "precision", "cache", "max-size", "variants"]

    init(_ section: Section) throws {
        compiles = try section.flag("compile") ?? compiles
        precision = try section.choice("precision", of: FrozenTrunk.Precision.self) ?? precision
        switch try section.text("cache") {
        case nil: break
        case "auto": cache = .auto
        case "off": cache = .off
        case let path?: cache = .folder(path)
        }
        maximumBytes = try Self.bytes(section, "max-size") ?? maximumBytes
        variants = try section.integer("variants", atLeast: 1, atMost: 10_000)
        if !compiles, case .folder = cache {
            throw section.conflict("cache", "'\(section.fullName("compile"))' is false", "remove one of the two")
        }
        if !compiles, precision == .int8 {
            throw section.conflict("precision", "'\(section.fullName("compile"))' is false", "remove one of the two")
        }
        if variants != nil, !compiles || cache == .off {
            throw section.conflict("variants", "nothing is kept", "remove it or let the trunk be compiled and cached")
        }
    }

    private static let units = [("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)]

    /// `20 GB`.
    private static func bytes(_ section: Section, _ key: String) throws -> Int? {
        guard let text = try section.text(key) else { return nil }
        guard let (unit, factor) = units.first(where: { text.hasSuffix($0.0) }),
            let number = Double(text.dropLast(unit.count).trimmingCharacters(in: .whitespaces)),
            number > 0, number * factor < 1e17
        else {
            throw section.invalid(key, text, "give a number and kB, MB, GB or TB, such as 20 GB")
        }
        return Int(number * factor)
    }

    private static func text(bytes: Int) -> String {
        let (unit, factor) = units.last { bytes % Int($0.1) == 0 } ?? units[0]
        let number = Double(bytes) / factor
        return number == number.rounded() ? "\(Int(number)) \(unit)" : "\(number) \(unit)"
    }

    var node: RecipeNode {
        let cache: String
        switch self.cache {
        case .auto: cache = "auto"
        case .off: cache = "off"
        case .folder(let path): cache = path
        }
        return RecipeNode([
            "compile": RecipeNode(compiles), "precision": RecipeNode(precision.rawValue), "cache": RecipeNode(cache),
            "max-size": RecipeNode(Self.text(bytes: maximumBytes)), "variants": variants.map { RecipeNode($0) },
        ])
    }
}
