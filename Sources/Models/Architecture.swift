import Collectives
import Foundation

/// Which network: a family, its size, its variant, and what goes in and comes out.
///
/// | names | variants, the default first | input | classes |
/// | --- | --- | --- | --- |
/// | `resnet18` `34` `50` `101` `152` | `v1.5`, `v1`, `keras` (50 and deeper) | 224 | 1000 |
/// | `resnet20` `32` `44` `56` | `option-a` | 32 | 10 |
/// | `resnet8` | `keras` | 32 | 10 |
/// | `vgg11` `13` `16` `19`, `vgg16_bn` (with batch norm) | `torchvision` | 224 | 1000 |
/// | `mobilenet_v1`, `mobilenet_v1_0.25` (any width) | `keras`, `pytorch` | 224 | 1000 |
/// | `mobilenet_v2`, `mobilenet_v2_0.5` (any width) | `torchvision`, `keras` | 224 | 1000 |
/// | `bert_tiny` `mini` `small` `medium` `base` `large` | `sequence-classification` | 512 tokens | 2 |
/// | `gpt2`, `gpt2_medium` `large` `xl` | `language-model` | 1024 tokens | 50257 |
///
/// Input sizes are those the published weights were trained at; any other that the layers allow works.
public struct Architecture: Equatable, Sendable {
    /// The family's table entry.
    enum Configuration: Equatable, Sendable {
        case resNet(ResNet.Depth, ResNet.Variant)
        case cifarResNet(CIFARResNet.Depth)
        case resNet8
        case vgg(VGG.Depth, normalizes: Bool)
        case mobileNetV1(width: Double, MobileNetV1.Variant)
        case mobileNetV2(width: Double, MobileNetV2.Variant)
        case bert(BERT.Size)
        case gpt2(GPT2.Size)
    }

    /// The name that `init(named:)` knows (`resnet50`, `mobilenet_v1_0.25`).
    public let name: String
    public let variant: String
    /// The number of outputs.
    public let classes: Int
    /// 3 for RGB, 1 for grey.
    public let inputChannels: Int
    /// Height and width in pixels that the published weights were trained at; of networks over text, the most tokens.
    public let inputSize: Int
    /// What tokens a network over text takes; nil for a network over images.
    public let tokens: TokenInput?
    let configuration: Configuration

    /// Looks an architecture up.
    ///
    /// - Parameters:
    ///   - name: a name from the table; `resnet50-v1` names the variant as well.
    ///   - variant: a variant from the table.
    ///   - classes: the number of outputs, by default that of the published weights.
    /// - Throws: `ModelError` with the nearest names or the known variants.
    public init(
        named name: String, variant: String? = nil, classes: Int? = nil, inputChannels: Int? = nil
    ) throws {
        let parts = name.split(separator: "-", maxSplits: 1).map(String.init)
        let base = parts.first ?? ""
        let variant = variant ?? (parts.count > 1 ? parts[1] : nil)
        let entry = try Self.entry(named: base, variant: variant)
        self.name = entry.name
        self.variant = entry.variant
        configuration = entry.configuration
        inputSize = entry.inputSize
        tokens = entry.tokens
        self.classes = classes ?? entry.classes
        self.inputChannels = inputChannels ?? 3
        try check(self.classes, "classes")
        try check(self.inputChannels, "input channels")
    }

    /// The same architecture with another number of classes.
    public func with(classes: Int) throws -> Architecture {
        try Architecture(named: name, variant: variant, classes: classes, inputChannels: inputChannels)
    }

    /// Builds the network.
    ///
    /// - Parameter seed: what initial values are drawn from (when they are first needed).
    public func network(seed: UInt64 = 0) -> Network {
        switch configuration {
        case .resNet(let depth, let variant): ResNet.network(self, depth, variant, seed: seed)
        case .cifarResNet(let depth): CIFARResNet.network(self, depth, seed: seed)
        case .resNet8: ResNet8.network(self, seed: seed)
        case .vgg(let depth, let normalizes): VGG.network(self, depth, normalizes: normalizes, seed: seed)
        case .mobileNetV1(let width, let variant): MobileNetV1.network(self, width: width, variant, seed: seed)
        case .mobileNetV2(let width, let variant): MobileNetV2.network(self, width: width, variant, seed: seed)
        case .bert(let size): BERT.network(self, size, seed: seed)
        case .gpt2(let size): GPT2.network(self, size, seed: seed)
        }
    }

    /// All names without a width.
    public static let knownNames: [String] =
        ResNet.Depth.allCases.map { "resnet\($0.rawValue)" } + ["resnet8"]
        + CIFARResNet.Depth.allCases.map { "resnet\($0.rawValue)" } + ["mobilenet_v1", "mobilenet_v2"]
        + VGG.Depth.allCases.flatMap { ["vgg\($0.rawValue)", "vgg\($0.rawValue)_bn"] }
        + BERT.Size.allCases.map { "bert_\($0.rawValue)" } + GPT2.Size.allCases.map(gpt2Name)

    private func check(_ number: Int, _ key: String) throws {
        guard number >= 1 else {
            throw ModelError.invalidNumber(
                architecture: name, key: key, value: "\(number)", expected: "a positive number")
        }
    }
}

/// What a network over text takes: tokens N×T, `Int32`.
public struct TokenInput: Equatable, Sendable {
    /// How many tokens there are.
    public let vocabulary: Int
    /// The most tokens of a sequence.
    public let positions: Int
    /// The token that only fills a sequence up; nil where there is none.
    public let padding: Int32?
}

extension Architecture: CustomStringConvertible {
    /// `resnet50 (v1.5)`.
    public var description: String { "\(name) (\(variant))" }
}

extension Architecture {
    private struct Entry {
        var name: String
        var variant: String
        var configuration: Configuration
        var inputSize: Int
        var classes: Int
        var tokens: TokenInput?
    }

    private static func entry(named name: String, variant: String?) throws -> Entry {
        if name.hasPrefix("mobilenet_v1") { return try mobileNetV1(name, variant) }
        if name.hasPrefix("mobilenet_v2") { return try mobileNetV2(name, variant) }
        if let language = try language(name, variant) { return language }
        let number = name.hasPrefix("resnet") ? Int(name.dropFirst("resnet".count)) : nil
        if let number, let depth = ResNet.Depth(rawValue: number) {
            let choice = try choose(variant, from: depth.variants, for: name)
            return Entry(
                name: name, variant: choice.rawValue, configuration: .resNet(depth, choice),
                inputSize: 224, classes: 1000)
        }
        if let number, let depth = CIFARResNet.Depth(rawValue: number) {
            let choice = try choose(variant, from: CIFARResNet.Variant.allCases, for: name)
            return Entry(
                name: name, variant: choice.rawValue, configuration: .cifarResNet(depth),
                inputSize: 32, classes: 10)
        }
        if name.hasPrefix("vgg") {
            let normalizes = name.hasSuffix("_bn")
            let depth = Int(name.dropFirst("vgg".count).dropLast(normalizes ? "_bn".count : 0)).flatMap(
                VGG.Depth.init(rawValue:))
            guard let depth else { throw unknown(name) }
            let choice = try choose(variant, from: VGG.Variant.allCases, for: name)
            return Entry(
                name: name, variant: choice.rawValue, configuration: .vgg(depth, normalizes: normalizes),
                inputSize: 224, classes: 1000)
        }
        if name == "resnet8" {
            let choice = try choose(variant, from: ResNet8.Variant.allCases, for: name)
            return Entry(
                name: name, variant: choice.rawValue, configuration: .resNet8, inputSize: 32, classes: 10)
        }
        throw unknown(name)
    }

    /// The smallest GPT-2 is just `gpt2`.
    private static func gpt2Name(_ size: GPT2.Size) -> String {
        size == .small ? "gpt2" : "gpt2_\(size.rawValue)"
    }

    private static func language(_ name: String, _ variant: String?) throws -> Entry? {
        if let size = BERT.Size.allCases.first(where: { "bert_\($0.rawValue)" == name }) {
            let choice = try choose(variant, from: BERT.Variant.allCases, for: name)
            return Entry(
                name: name, variant: choice.rawValue, configuration: .bert(size), inputSize: BERT.tokens.positions,
                classes: 2, tokens: BERT.tokens)
        }
        guard let size = GPT2.Size.allCases.first(where: { gpt2Name($0) == name }) else { return nil }
        let choice = try choose(variant, from: GPT2.Variant.allCases, for: name)
        return Entry(
            name: name, variant: choice.rawValue, configuration: .gpt2(size), inputSize: GPT2.tokens.positions,
            classes: GPT2.tokens.vocabulary, tokens: GPT2.tokens)
    }

    private static func mobileNetV1(_ name: String, _ variant: String?) throws -> Entry {
        let width = try width(of: name, after: "mobilenet_v1")
        let choice = try choose(variant, from: MobileNetV1.Variant.allCases, for: name)
        return Entry(
            name: Self.name("mobilenet_v1", width: width), variant: choice.rawValue,
            configuration: .mobileNetV1(width: width, choice), inputSize: 224, classes: 1000)
    }

    private static func mobileNetV2(_ name: String, _ variant: String?) throws -> Entry {
        let width = try width(of: name, after: "mobilenet_v2")
        let choice = try choose(variant, from: MobileNetV2.Variant.allCases, for: name)
        return Entry(
            name: Self.name("mobilenet_v2", width: width), variant: choice.rawValue,
            configuration: .mobileNetV2(width: width, choice), inputSize: 224, classes: 1000)
    }

    /// The width multiplier in a name: `mobilenet_v1_0.25` → 0.25, without one → 1.
    private static func width(of name: String, after family: String) throws -> Double {
        let suffix = name.dropFirst(family.count)
        if suffix.isEmpty { return 1 }
        guard suffix.first == "_", let width = Double(suffix.dropFirst()) else { throw unknown(name) }
        guard width >= 0.05, width <= 8 else {
            throw ModelError.invalidNumber(
                architecture: family, key: "width", value: "\(suffix.dropFirst())", expected: "0.05 to 8")
        }
        return width
    }

    /// `mobilenet_v1` and 0.25 → `mobilenet_v1_0.25`; nothing is appended for 1.
    public static func name(_ family: String, width: Double) -> String {
        width == 1 ? family : "\(family)_\(String(format: "%g", width))"
    }

    private static func choose<Variant: RawRepresentable<String>>(
        _ name: String?, from known: [Variant], for architecture: String
    ) throws -> Variant {
        guard let name else { return known[0] }
        guard let variant = known.first(where: { $0.rawValue == name.lowercased() }) else {
            throw ModelError.unknownVariant(
                architecture: architecture, variant: name, known: known.map(\.rawValue))
        }
        return variant
    }

    private static func unknown(_ name: String) -> ModelError {
        .unknownArchitecture(
            name: name,
            nearest: nearestNames(to: name, among: knownNames + ["mobilenet_v1_0.25", "mobilenet_v2_0.5"]))
    }
}
