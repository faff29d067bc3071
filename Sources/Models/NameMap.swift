/// How one source of weight files names the tensors of a family, where it does not use canonical paths: as data, for
/// reading.
public struct NameMap: Sendable {
    /// Where such files come from (`Hugging Face, without a head`).
    public let source: String
    /// What a name begins with, and what the canonical path does; the first that fits counts. A name that none fits
    /// is not of this source.
    let prefixes: [(stored: String, canonical: String)]
    /// What a name ends with, and what the canonical path does; names that none fits keep their ending.
    let endings: [(stored: String, canonical: String)]

    /// Canonical paths, as they are.
    static let canonical = NameMap("canonical", prefixes: [("", "")])

    init(
        _ source: String, prefixes: [(stored: String, canonical: String)],
        endings: [(stored: String, canonical: String)] = []
    ) {
        self.source = source
        self.prefixes = prefixes
        self.endings = endings
    }

    /// The canonical path of a stored name; nil where this source has no such name.
    package func path(of name: String) -> String? {
        guard let prefix = prefixes.first(where: { name.hasPrefix($0.stored) }) else { return nil }
        let path = prefix.canonical + name.dropFirst(prefix.stored.count)
        guard let ending = endings.first(where: { path.hasSuffix($0.stored) }) else { return path }
        return path.dropLast(ending.stored.count) + ending.canonical
    }
}

/// A layer with weights of a Keras model.
public struct KerasLayer: Equatable, Sendable {
    /// Keras's class; what variables it has, in Keras's order, follows.
    public enum Kind: Equatable, Sendable {
        case convolution(hasBias: Bool)
        case depthwiseConvolution(hasBias: Bool)
        case dense
        /// A dense layer on a flattened image: its kernel lies (H·W·C)×O, that of a canonical path O×(C·H·W).
        case denseAfterFlatten(channels: Int)
        /// `hasScale`: InceptionV3 and InceptionResNetV2 of Keras have no gamma.
        case batchNormalization(hasScale: Bool = true)
    }

    /// Keras's name (`conv2_block1_1_conv`). Numbers that Keras counts on while a program runs (`conv2d_3`,
    /// `batch_normalization`) begin at none, as in the first model of a program.
    public let name: String
    public let kind: Kind
    /// The canonical path of the layer (`layer1.0.conv1`).
    public let path: String

    init(_ name: String, _ kind: Kind, _ path: String) {
        self.name = name
        self.kind = kind
        self.path = path
    }

    /// One of the arrays that belong to a layer.
    public struct Variable: Equatable, Sendable {
        /// Keras's name (`kernel`), without `:0`.
        public let name: String
        /// The canonical path (`layer1.0.conv1.weight`).
        public let path: String
    }

    /// The name of Keras's class (`BatchNormalization`).
    public var className: String {
        switch kind {
        case .convolution: "Conv2D"
        case .depthwiseConvolution: "DepthwiseConv2D"
        case .dense, .denseAfterFlatten: "Dense"
        case .batchNormalization: "BatchNormalization"
        }
    }

    /// In the order of Keras's `layer.weights`.
    public var variables: [Variable] {
        func variable(_ name: String, _ ours: String) -> Variable { Variable(name: name, path: "\(path).\(ours)") }
        switch kind {
        case .convolution(let hasBias):
            return [variable("kernel", "weight")] + (hasBias ? [variable("bias", "bias")] : [])
        case .depthwiseConvolution(let hasBias):
            return [variable("depthwise_kernel", "weight")] + (hasBias ? [variable("bias", "bias")] : [])
        case .dense, .denseAfterFlatten:
            return [variable("kernel", "weight"), variable("bias", "bias")]
        case .batchNormalization(let hasScale):
            return (hasScale ? [variable("gamma", "weight")] : []) + [
                variable("beta", "bias"), variable("moving_mean", "running_mean"),
                variable("moving_variance", "running_var"),
            ]
        }
    }
}
