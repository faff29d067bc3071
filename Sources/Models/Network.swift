import Layers
import Tensors

/// A part of a network that is frozen, compiled or cached as a whole. Cuts lie between stages: one
/// tensor passes from each to the next.
public struct Stage {
    /// Short and unique in the network (`layer1`).
    public let name: String
    /// The paths of its parameters and buffers begin with one of these components (`conv1`, `bn1`).
    public let parameterPrefixes: [String]
    public let module: any Module

    /// The mean over all positions, N×C×H×W to N×C, as a stage of its own: what comes out is small to keep.
    static var globalAveragePool: Stage {
        Stage(name: "avgpool", parameterPrefixes: [], module: GlobalAveragePool())
    }

    /// Whether the parameter or buffer at `path` belongs to the stage.
    public func owns(_ path: String) -> Bool {
        parameterPrefixes.contains { path.hasPrefix($0 + ".") }
    }
}

/// What a network gives, and the labels that its cross-entropy takes. N samples; T tokens each.
public enum OutputKind: String, Sendable, CaseIterable {
    /// Logits N×classes; labels N.
    case classes
    /// Logits N×T×classes, of every token; labels N×T.
    case tokenClasses = "token-classes"
    /// Logits N×T×2, of a stretch of tokens to begin and to end at each; labels N×2, its first and last position, each a
    /// label of its own. Padding is no position.
    case spans
    /// Logits N×T×vocabulary, of what stands at each position; labels N×T.
    case maskedTokens = "masked-tokens"
    /// Logits N×T×vocabulary, of what follows each position; labels N×T.
    case nextTokens = "next-tokens"
    /// One row N×width for each sample; no labels.
    case embedding
}

/// A network over images or text: stages, then a head.
///
/// Input images N×C×H×W, float32, preprocessed as the weights ask, or tokens N×T, int32; output as
/// `architecture.output` says, N×classes logits of a classifier.
public final class Network {
    public let architecture: Architecture
    /// All parameters and buffers, by path.
    public let store: ParameterStore
    public let stages: [Stage]
    /// What the paths of the classifier begin with (`fc`): `head: new` replaces these. A `*` at its end stands for any
    /// letters (`vocab_*`).
    public let headPrefix: String
    /// What the paths begin with of parameters that belong to the task nearly as much (`bert.pooler`): with a new head
    /// they are new too where a file has none.
    public let prefixNewWithHead: String?
    /// A second classifier that helps in training; nil where the architecture has none.
    public let auxiliary: AuxiliaryHead?
    private let head: any Module

    init(
        _ architecture: Architecture, store: ParameterStore, stages: [Stage], head: any Module,
        headPrefix: String, prefixNewWithHead: String? = nil, auxiliary: AuxiliaryHead? = nil
    ) {
        self.architecture = architecture
        self.auxiliary = auxiliary
        self.store = store
        self.stages = stages
        self.head = head
        self.headPrefix = headPrefix
        self.prefixNewWithHead = prefixNewWithHead
    }

    /// Computes logits, or what else `architecture.output` says.
    ///
    /// - Parameters:
    ///   - context: of a network over text, with `segments` where there are several.
    ///   - first: the stage to start at; the input is then what the stage before it gave.
    /// - Throws: `ModelError` or `LayerError` where the input does not fit.
    public func callAsFunction(
        _ input: Tensor, _ context: ForwardContext = .inference, startingAt first: Int = 0
    ) throws -> Tensor {
        let context = first == 0 ? try prepared(context, for: input) : context
        return try head(runPrepared(input, stages: first..<stages.count, context), context)
    }

    /// Computes logits and, in a training pass through the stages before it, those of the auxiliary classifier.
    ///
    /// - Parameter first: as above.
    /// - Throws: `ModelError` or `LayerError` where the input does not fit.
    public func output(
        _ input: Tensor, _ context: ForwardContext, startingAt first: Int = 0
    ) throws -> NetworkOutput {
        guard context.isTraining, let auxiliary, first <= auxiliary.stage else {
            return NetworkOutput(logits: try self(input, context, startingAt: first))
        }
        let next = auxiliary.stage + 1
        let features = try run(input, stages: first..<next, context)
        let logits = try self(features, context, startingAt: next)
        return NetworkOutput(
            logits: logits,
            auxiliary: try auxiliary.logits(features, context).map { (logits: $0, weight: auxiliary.weight) })
    }

    /// Computes the cross-entropy between logits and labels, summed over samples (over tokens, where each has a label,
    /// and without holding all logits of a vocabulary where they are many; over the two ends of spans).
    /// In training that of an auxiliary classifier is added.
    ///
    /// - Parameters:
    ///   - labels: classes, `Int32`, of the shape that `architecture.output` says. A span's end that lies outside of the
    ///     sequence counts nothing.
    ///   - labelSmoothing: as `Tensors.crossEntropy` takes it.
    ///   - ignoreIndex: the label of what counts nothing.
    ///   - first: as a call takes it.
    /// - Throws: `ModelError` or `LayerError` where the input or the labels do not fit.
    public func crossEntropy(
        _ input: Tensor, labels: Tensor, _ context: ForwardContext, labelSmoothing: Float = 0,
        ignoreIndex: Int32? = nil, startingAt first: Int = 0
    ) throws -> Tensor {
        let labels = Labels(labels, smoothing: labelSmoothing, ignored: ignoreIndex)
        if auxiliary != nil {
            let output = try self.output(input, context, startingAt: first)
            try check(labels, output.logits.shape)
            return output.crossEntropy(
                labels: labels.tensor, labelSmoothing: labelSmoothing, ignoreIndex: ignoreIndex)
        }
        let context = first == 0 ? try prepared(context, for: input) : context
        let features = try runPrepared(input, stages: first..<stages.count, context)
        try check(labels, features.shape)
        if let head = head as? any LabelledHead { return try head.crossEntropy(features, labels, context) }
        return labels.crossEntropy(of: try head(features, context))
    }

    /// Runs some stages, without the head. Padding among tokens is masked where they go in; who starts later gives the
    /// context its `keyMask`.
    public func run(_ input: Tensor, stages range: Range<Int>, _ context: ForwardContext) throws -> Tensor {
        try runPrepared(input, stages: range, range.lowerBound == 0 ? prepared(context, for: input) : context)
    }

    private func runPrepared(_ input: Tensor, stages range: Range<Int>, _ context: ForwardContext) throws -> Tensor {
        guard context.recomputes, context.isTraining else {
            return try stages[range].reduce(input) { try $1.module($0, context) }
        }
        return try Segments(of: stages[range].map(\.module), input: input.shape)(input, context)
    }

    /// Checks what goes in at the first stage, and masks padding.
    private func prepared(_ context: ForwardContext, for input: Tensor) throws -> ForwardContext {
        try check(input.shape, after: context.cache?.length ?? 0)
        if let segments = context.segments, segments.shape != input.shape {
            throw ModelError.wrongTokens(
                architecture: architecture.name, expected: "with segments of their own shape", actual: segments.shape)
        }
        var context = context
        context.keyMask = keyMask(of: input) ?? context.keyMask
        return context
    }

    /// What keeps attention off the padding among tokens N×T: `ForwardContext.keyMask`; nil where there is none.
    public func keyMask(of tokens: Tensor) -> Tensor? {
        guard let padding = architecture.tokens?.padding else { return nil }
        let indices = tokens.indices
        guard indices.contains(padding) else { return nil }
        return Tensor(indices.map { $0 == padding ? -.infinity : 0 }, shape: tokens.shape)
    }

    /// - Parameter features: the shape of what the head is given.
    private func check(_ labels: Labels, _ features: [Int]) throws {
        let expected: [Int]
        switch architecture.output {
        case .classes: expected = Array(features.prefix(1))
        case .spans: expected = [features[0], 2]
        case .tokenClasses, .maskedTokens, .nextTokens: expected = Array(features.prefix(2))
        case .embedding: throw ModelError.learnsNoLabels(architecture: "\(architecture)")
        }
        guard labels.tensor.shape == expected else {
            throw ModelError.wrongLabels(
                architecture: "\(architecture)", expected: expected, actual: labels.tensor.shape)
        }
        guard architecture.output != .spans else { return }
        for label in labels.tensor.indices where label != labels.ignored {
            guard label >= 0, Int(label) < architecture.classes else {
                throw ModelError.labelOutOfRange(
                    architecture: "\(architecture)", label: Int(label), classes: architecture.classes)
            }
        }
    }

    /// Whether a parameter or buffer belongs to the classifier, or to the last layer of an auxiliary one.
    public func isHead(_ path: String) -> Bool {
        path.hasPrefix(headPrefix.last == "*" ? String(headPrefix.dropLast()) : headPrefix + ".")
            || auxiliary.map { path.hasPrefix($0.classifierPrefix + ".") } ?? false
    }

    /// Whether a parameter may be new where the head is, though it does not belong to it.
    public func isNewWithHead(_ path: String) -> Bool { prefixNewWithHead.map { path.hasPrefix($0 + ".") } ?? false }

    /// Follows the shape N×C×H×W through all layers without computing.
    ///
    /// - Throws: what a call with such images would throw, with the path of the layer.
    /// - Returns: every layer's output shape and work, the logits last.
    public func shapes(for images: [Int]) throws -> ShapePass {
        let pass = ShapePass()
        try check(images)
        let trunk = try stages.reduce(images) { try $1.module.outputShape(for: $0, in: pass) }
        _ = try head.outputShape(for: trunk, in: pass)
        return pass
    }

    /// Values that a training pass with images N×C×H×W keeps for backward, at most.
    ///
    /// - Throws: as `shapes(for:)`.
    public func keptValues(for images: [Int], recomputes: Bool) throws -> Int {
        let all = try shapes(for: images).outputCount
        return recomputes ? try min(all, Segments(of: stages.map(\.module), input: images).keptCount) : all
    }

    /// The shape of the logits for images N×C×H×W, found without computing.
    ///
    /// - Throws: what a call with such images would throw, with the path of the layer.
    public func outputShape(for images: [Int]) throws -> [Int] {
        try shapes(for: images).steps.last?.outputShape ?? images
    }

    /// The shape that the given stage hands to the next, for images N×C×H×W.
    public func outputShape(for images: [Int], ofStage index: Int) throws -> [Int] {
        let pass = ShapePass()
        try check(images)
        return try stages[...index].reduce(images) { try $1.module.outputShape(for: $0, in: pass) }
    }

    /// - Parameter earlier: tokens that come before these.
    private func check(_ images: [Int], after earlier: Int = 0) throws {
        if let tokens = architecture.tokens {
            guard images.count == 2, images[1] >= 1, earlier + images[1] <= tokens.positions else {
                let most = tokens.positions - earlier
                throw ModelError.wrongTokens(
                    architecture: architecture.name, expected: "N×T, T from 1 to \(most)", actual: images)
            }
            return
        }
        guard images.count == 4, images[1] == architecture.inputChannels else {
            throw ModelError.wrongImages(
                architecture: architecture.name, expected: "N×\(architecture.inputChannels)×H×W",
                actual: images)
        }
    }
}
