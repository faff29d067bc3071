import Collectives
import Tensors

/// A layer, or anything built of layers, that turns one tensor into another.
public protocol Module {
    /// - Throws: `LayerError` where the input does not fit, with the path of the layer.
    func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor

    /// What shape comes out for an input of this shape, without computing anything. Throws exactly
    /// where a call with such an input would.
    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int]

    /// The parts, one after the other, that are each recomputed as a whole where the context `recomputes`: this module
    /// itself unless it says otherwise.
    var segments: [any Module] { get }
}

extension Module {
    public var segments: [any Module] { [self] }
}

/// What a forward pass must know besides its input.
public struct ForwardContext {
    /// Whose statistics batch norm uses while training.
    public enum BatchNormMode: String, Codable, Sendable, CaseIterable {
        /// Each rank's own slice of the batch.
        case local
        /// The running ones, which stay put, as in evaluation.
        case frozen
        /// The whole global batch, over all ranks.
        case synchronised
    }

    /// Training against evaluation: batch statistics, dropout.
    public var isTraining: Bool
    /// With epoch and position, what dropout draws from.
    public var seed: UInt64
    public var epoch: Int
    /// Position in the epoch of the first sample of this rank's slice of the batch.
    public var position: Int
    /// The ranks, for synchronised batch norm.
    public var collectives: Collectives?
    public var batchNorm: BatchNormMode
    /// N×T, added to the attention scores of keys: -∞ for padding, 0 for tokens; nil where all are tokens. The network
    /// sets it from the tokens it is given.
    public var keyMask: Tensor?
    /// N×T, `Int32`: which segment each token belongs to, such as 0 for a question and 1 for the text it is asked of; nil
    /// where all belong to the first. Networks without segments pass over it.
    public var segments: Tensor?
    /// What causal attention remembers of the positions before the input; nil where the input is the whole sequence.
    public var cache: AttentionCache?
    /// Whether a training pass keeps the inputs of segments only, so that backward computes the segments again.
    public var recomputes: Bool
    /// What the segment under way has noted, or takes over from its first pass; nil outside of such segments.
    var firstPass: SegmentNotes?
    /// In inference, off the tape: convolutions with their batch norm folded in. nil for the plain layers.
    public var folded: FoldedConvolutions?

    public init(
        isTraining: Bool, seed: UInt64 = 0, epoch: Int = 0, position: Int = 0,
        collectives: Collectives? = nil, batchNorm: BatchNormMode = .local, recomputes: Bool = false,
        folded: FoldedConvolutions? = nil
    ) {
        self.isTraining = isTraining
        self.seed = seed
        self.epoch = epoch
        self.position = position
        self.collectives = collectives
        self.batchNorm = batchNorm
        self.recomputes = recomputes
        self.folded = folded
    }

    /// Evaluation and prediction, layer by layer.
    public static var inference: ForwardContext { ForwardContext(isTraining: false) }
    /// A context for many passes of evaluation or prediction off the tape, while no parameter changes: each batch norm is
    /// folded into the convolution before it when that first runs (`FoldedConvolutions`). Logits differ from those of
    /// `inference` by less than 1e-5 of the largest.
    public static func compiledInference() -> ForwardContext {
        ForwardContext(isTraining: false, folded: FoldedConvolutions())
    }
    /// Training in a single process.
    public static var training: ForwardContext { ForwardContext(isTraining: true) }
}

/// Collects what layers would produce while shapes are followed through a network.
public final class ShapePass {
    /// One layer's output.
    public struct Step {
        public let path: String
        public let outputShape: [Int]
        /// Multiplications (each with an addition) of the forward pass.
        public let multiplications: Int
    }
    public private(set) var steps: [Step] = []
    public init() {}

    public func record(_ path: String, _ outputShape: [Int], multiplications: Int = 0) {
        steps.append(Step(path: path, outputShape: outputShape, multiplications: multiplications))
    }

    /// Values in all outputs together: what a training step keeps, at most.
    public var outputCount: Int { steps.reduce(0) { $0 + $1.outputShape.reduce(1, *) } }
    public var multiplications: Int { steps.reduce(0) { $0 + $1.multiplications } }
}

/// An input that a layer cannot take.
public enum LayerError: GraftError, Equatable {
    /// The input of the layer at `path` does not have the dimensions it needs.
    case wrongInput(path: String, expected: String, actual: [Int])
    /// The input is smaller than the layer's window.
    case inputTooSmall(path: String, window: [Int], actual: [Int])
    /// Two branches that are summed, or joined along the channels, have different shapes.
    case branchesDiffer(path: String, main: [Int], shortcut: [Int])
    /// A token that an embedding has no row for.
    case tokenOutOfRange(path: String, token: Int, count: Int)

    public var exitCode: ExitCode { .data }

    public var description: String {
        switch self {
        case .wrongInput(let path, let expected, let actual):
            return "\(path): expects \(expected), not \(words(actual)); check the input size and channels"
        case .inputTooSmall(let path, let window, let actual):
            return "\(path): an input of \(words(actual)) is smaller than the window of \(words(window)); "
                + "use larger images"
        case .tokenOutOfRange(let path, let token, let count):
            return "\(path): the token \(token) is not one of \(count); use the tokenizer that belongs to the weights"
        case .branchesDiffer(let path, let main, let shortcut):
            return "\(path): the branches that meet give \(words(main)) and \(words(shortcut)); "
                + "use another input size"
        }
    }

    private func words(_ shape: [Int]) -> String { shape.map(String.init).joined(separator: "×") }
}
