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

/// A network over images or text: stages (of images the last is a pooling), then a head.
///
/// Input images N×C×H×W, float32, preprocessed as the weights ask, or tokens N×T, int32; output N×classes logits (of a
/// language model N×T×vocabulary).
public final class Network {
    public let architecture: Architecture
    /// All parameters and buffers, by path.
    public let store: ParameterStore
    public let stages: [Stage]
    /// What the paths of the classifier begin with (`fc`): `head: new` replaces these.
    public let headPrefix: String
    /// A second classifier that helps in training; nil where the architecture has none.
    public let auxiliary: AuxiliaryHead?
    private let head: any Module

    init(
        _ architecture: Architecture, store: ParameterStore, stages: [Stage], head: any Module,
        headPrefix: String, auxiliary: AuxiliaryHead? = nil
    ) {
        self.architecture = architecture
        self.auxiliary = auxiliary
        self.store = store
        self.stages = stages
        self.head = head
        self.headPrefix = headPrefix
    }

    /// Computes logits N×classes.
    ///
    /// - Parameter first: the stage to start at; the input is then what the stage before it gave.
    /// - Throws: `ModelError` or `LayerError` where the input does not fit.
    public func callAsFunction(
        _ input: Tensor, _ context: ForwardContext = .inference, startingAt first: Int = 0
    ) throws -> Tensor {
        try head(run(input, stages: first..<stages.count, context), context)
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

    /// Computes the cross-entropy between logits and labels, summed over samples (of a language model over positions,
    /// without holding all logits where the vocabulary is large). In training that of an auxiliary classifier is added.
    ///
    /// - Parameters:
    ///   - labels: N (of a language model N×T) classes, `Int32`.
    ///   - labelSmoothing, ignoreIndex: as `Tensors.crossEntropy` takes them.
    /// - Throws: `ModelError` or `LayerError` where the input does not fit.
    public func crossEntropy(
        _ input: Tensor, labels: Tensor, _ context: ForwardContext, labelSmoothing: Float = 0,
        ignoreIndex: Int32? = nil
    ) throws -> Tensor {
        if let head = head as? VocabularyHead {
            return try head.crossEntropy(
                run(input, stages: 0..<stages.count, context), labels: labels, labelSmoothing: labelSmoothing,
                ignoreIndex: ignoreIndex)
        }
        return try output(input, context).crossEntropy(
            labels: labels, labelSmoothing: labelSmoothing, ignoreIndex: ignoreIndex)
    }

    /// Runs some stages, without the head. Padding among tokens is masked where they go in; who starts later gives the
    /// context its `keyMask`.
    public func run(_ input: Tensor, stages range: Range<Int>, _ context: ForwardContext) throws -> Tensor {
        var context = context
        if range.lowerBound == 0 {
            try check(input.shape)
            context.keyMask = keyMask(of: input) ?? context.keyMask
        }
        guard context.recomputes, context.isTraining else {
            return try stages[range].reduce(input) { try $1.module($0, context) }
        }
        return try Segments(of: stages[range].map(\.module), input: input.shape)(input, context)
    }

    /// What keeps attention off the padding among tokens N×T: `ForwardContext.keyMask`; nil where there is none.
    public func keyMask(of tokens: Tensor) -> Tensor? {
        guard let padding = architecture.tokens?.padding else { return nil }
        let indices = tokens.indices
        guard indices.contains(padding) else { return nil }
        return Tensor(indices.map { $0 == padding ? -.infinity : 0 }, shape: tokens.shape)
    }

    /// Whether a parameter or buffer belongs to the classifier, or to the last layer of an auxiliary one.
    public func isHead(_ path: String) -> Bool {
        path.hasPrefix(headPrefix + ".") || auxiliary.map { path.hasPrefix($0.classifierPrefix + ".") } ?? false
    }

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

    private func check(_ images: [Int]) throws {
        if let tokens = architecture.tokens {
            guard images.count == 2, (1...tokens.positions).contains(images[1]) else {
                throw ModelError.wrongTokens(
                    architecture: architecture.name, expected: "N×T, T from 1 to \(tokens.positions)", actual: images)
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
