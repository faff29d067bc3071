import Layers
import Tensors

/// A second classifier, on what a stage in the middle gives: its loss brings gradients to the stages before it on a shorter
/// way (Szegedy et al. 2014, https://arxiv.org/abs/1409.4842). Training passes compute it, others do not.
public struct AuxiliaryHead {
    /// The index of the stage whose output it takes.
    public let stage: Int
    /// What the paths of its parameters begin with (`AuxLogits`).
    public let prefix: String
    /// What the paths of its last layer begin with (`AuxLogits.fc`): a new head replaces this one too.
    public let classifierPrefix: String
    /// What its loss counts where that of the classifier counts 1.
    public let weight: Float
    private let module: any Module
    private let parameters: [Parameter]

    init(
        after stage: Int, prefix: String, classifierPrefix: String, weight: Float, module: any Module,
        parameters: [Parameter]
    ) {
        self.stage = stage
        self.prefix = prefix
        self.classifierPrefix = classifierPrefix
        self.weight = weight
        self.module = module
        self.parameters = parameters
    }

    /// Logits N×classes of what the stage gave; nil where nothing could learn from them: images are too small for its
    /// layers, or neither it nor anything before it learns.
    func logits(_ features: Tensor, _ context: ForwardContext) throws -> Tensor? {
        guard features.requiresGradient || parameters.contains(where: \.isTrainable),
            (try? module.outputShape(for: features.shape, in: ShapePass())) != nil
        else { return nil }
        return try module(features, context)
    }
}

/// What a network computes from a batch.
public struct NetworkOutput {
    /// N×classes (of a language model N×T×vocabulary).
    public let logits: Tensor
    /// Those of the auxiliary classifier, with what their loss counts: in training, where the network has one.
    public let auxiliary: (logits: Tensor, weight: Float)?

    public init(logits: Tensor, auxiliary: (logits: Tensor, weight: Float)? = nil) {
        (self.logits, self.auxiliary) = (logits, auxiliary)
    }

    /// Cross-entropy of logits N×classes and labels, summed over samples, that of the auxiliary classifier added with its
    /// weight.
    ///
    /// - Parameters:
    ///   - labels: N classes, `Int32`.
    ///   - labelSmoothing, ignoreIndex: as `Tensors.crossEntropy` takes them.
    public func crossEntropy(labels: Tensor, labelSmoothing: Float = 0, ignoreIndex: Int32? = nil) -> Tensor {
        func loss(_ logits: Tensor) -> Tensor {
            Tensors.crossEntropy(logits, labels: labels, labelSmoothing: labelSmoothing, ignoreIndex: ignoreIndex)
        }
        return auxiliary.map { loss(logits) + loss($0.logits) * $0.weight } ?? loss(logits)
    }
}
