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

/// A classifier of images: stages, the last of them a pooling, then a head.
///
/// Input N×C×H×W, float32, preprocessed as the weights ask; output N×classes, logits.
public final class Network {
    public let architecture: Architecture
    /// All parameters and buffers, by path.
    public let store: ParameterStore
    public let stages: [Stage]
    /// What the paths of the classifier begin with (`fc`): `head: new` replaces these.
    public let headPrefix: String
    private let head: any Module

    init(
        _ architecture: Architecture, store: ParameterStore, stages: [Stage], head: any Module,
        headPrefix: String
    ) {
        self.architecture = architecture
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

    /// Runs some stages, without the head.
    public func run(_ input: Tensor, stages range: Range<Int>, _ context: ForwardContext) throws -> Tensor {
        if range.lowerBound == 0 { try check(input.shape) }
        return try stages[range].reduce(input) { try $1.module($0, context) }
    }

    /// Whether a parameter or buffer belongs to the classifier.
    public func isHead(_ path: String) -> Bool { path.hasPrefix(headPrefix + ".") }

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
        guard images.count == 4, images[1] == architecture.inputChannels else {
            throw ModelError.wrongImages(
                architecture: architecture.name, expected: "N×\(architecture.inputChannels)×H×W",
                actual: images)
        }
    }
}
