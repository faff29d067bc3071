/// A family of networks: all that Graft knows of it, from the names a recipe may write to the names in weight files.
///
/// Each is declared in one file of `Vision/` or `Language/`, as `extension Family { static let … }`, and listed in `all`.
/// docs/models.md shows how to add one.
public struct Family: Sendable {
    /// What people call it (`ResNet`).
    public let title: String
    /// Every name it has; of names with a number in them, such as a width, the usual ones.
    public let names: [String]
    /// The network of a name; nil where the name is not of this family.
    let member: @Sendable (MemberName) throws -> Member?
    /// What tensors under canonical paths are weights of; nil where they are of no network of this family.
    let recognise: @Sendable (WeightShapes) -> Recognition?
    /// How sources name the tensors of this family where not by canonical paths, Keras apart.
    var nameMaps: [NameMap] = []
    /// Tensors in files that hold nothing learned, by the end of their canonical path, and why they are left out.
    var leftOut: [(ending: String, reason: String)] = []
    /// Tensors that files may hold twice: the canonical paths of copy and original. A copy that differs is an error.
    var tied: [(copy: String, original: String)] = []
    /// What the paths of heads begin with that files of the family may have beside the trunk (`cls`): a new head, or a
    /// variant without a head, replaces them.
    var heads: [String] = []
    /// How Hugging Face's `config.json` describes networks of the family; nil where it does not.
    var huggingFace: HuggingFaceFormat?
}

extension Family {
    /// All families. The order matters to nobody: a name or a weight file belongs to one of them at most.
    public static let all: [Family] = [
        .vgg, .resNet, .resNeXt, .cifarResNet, .resNet8, .resNetV2, .inceptionV3, .inceptionResNetV2, .mobileNetV1,
        .mobileNetV2, .bert, .distilBERT, .gpt2,
    ]
}

extension Family {
    /// The networks that Keras names the layers of, each with its table.
    package static let kerasNetworks: [Architecture] = all.flatMap(\.names)
        .compactMap { try? Architecture(named: $0, variant: "keras") }.filter { $0.kerasLayers != nil }

    /// The family whose paths and shapes these are, and what it tells of the network.
    package func recognises(_ weights: WeightShapes) -> Recognition? { recognise(weights) }

    /// What a source's names become: those of the family's name maps after canonical paths themselves.
    package var sources: [NameMap] { [.canonical] + nameMaps }

    /// Why files may hold a tensor under this path that no network takes; nil where they may not.
    package func reasonToLeaveOut(_ path: String) -> String? {
        leftOut.first { path.hasSuffix($0.ending) }?.reason
    }

    /// Whether the tensor under this path belongs to a head that some network of the family has.
    package func isOfHead(_ path: String) -> Bool { heads.contains { path.hasPrefix($0 + ".") } }

    /// What the tensor under this path is a copy of.
    package func original(of path: String) -> String? { tied.first { $0.copy == path }?.original }
}

/// What somebody calls a network.
struct MemberName {
    /// `mobilenet_v1_0.25`
    let name: String
    /// `keras`; nil for the default.
    let variant: String?
    /// Numbers that the name does not say, such as the layers of a `bert`.
    let sizes: [String: Int]

    /// The variant meant, the first of `known` by default.
    ///
    /// - Throws: `ModelError.unknownVariant`.
    func choose<Variant: RawRepresentable<String>>(from known: [Variant]) throws -> Variant {
        guard let variant else { return known[0] }
        guard let chosen = known.first(where: { $0.rawValue == variant.lowercased() }) else {
            throw ModelError.unknownVariant(architecture: name, variant: variant, known: known.map(\.rawValue))
        }
        return chosen
    }

    /// The number behind the name of a family: `resnet50` → 50.
    func number(after family: String) -> Int? {
        name.hasPrefix(family) ? Int(name.dropFirst(family.count)) : nil
    }
}

/// One network of a family.
struct Member: Sendable {
    /// The one name it has, whichever way it was asked for.
    let name: String
    let variant: String
    /// All variants of the name, the default first.
    let variants: [String]
    let sizes: [String: Int]
    let input: NetworkInput
    let output: OutputKind
    /// Outputs of the published weights.
    let classes: Int
    /// Keras's layers with weights, in the order of Keras's `model.layers`; nil where Keras has no such network.
    let kerasLayers: [KerasLayer]?
    let build: @Sendable (Architecture, _ seed: UInt64) -> Network

    init<Variant: RawRepresentable<String>>(
        name: String, variant: Variant, of variants: [Variant], sizes: [String: Int] = [:], input: NetworkInput,
        output: OutputKind = .classes, classes: Int, kerasLayers: [KerasLayer]? = nil,
        build: @escaping @Sendable (Architecture, _ seed: UInt64) -> Network
    ) {
        self.name = name
        self.variant = variant.rawValue
        self.variants = variants.map(\.rawValue)
        self.sizes = sizes
        self.input = input
        self.output = output
        self.classes = classes
        self.kerasLayers = kerasLayers
        self.build = build
    }
}

/// What goes into a network.
enum NetworkInput: Sendable {
    /// Preprocessed as the published weights ask, which were trained at `Preprocessing.inputSize`.
    case images(Preprocessing)
    case tokens(TokenInput)
}

/// What a family tells from the names and shapes of tensors.
package struct Recognition: Equatable, Sendable {
    package var name: String
    package var variant: String
    package var sizes: [String: Int] = [:]

    init(_ name: String, _ variant: String, sizes: [String: Int] = [:]) {
        self.name = name
        self.variant = variant
        self.sizes = sizes
    }
}

/// The shapes of a file's tensors by canonical path.
package struct WeightShapes: Sendable {
    let shapes: [String: [Int]]
    /// Whether Keras's names were translated.
    let isKeras: Bool

    package init(_ shapes: [String: [Int]], isKeras: Bool) {
        self.shapes = shapes
        self.isKeras = isKeras
    }

    subscript(path: String) -> [Int]? { shapes[path] }

    func has(_ path: String) -> Bool { shapes[path] != nil }

    /// How many of `prefix0suffix`, `prefix1suffix`, … there are, from 0 on.
    func count(_ prefix: String, _ suffix: String) -> Int {
        (0...).first { !has("\(prefix)\($0)\(suffix)") } ?? 0
    }
}
