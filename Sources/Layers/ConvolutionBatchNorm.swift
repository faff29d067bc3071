import Tensors

/// A convolution and the batch norm behind it, with the activation and residual sum that follow:
/// one convolution where the context has `folded`.
///
/// Input N×C×H×W, output N×O×H′×W′; a residual has the output's shape and is added before the
/// activation. The two have scopes of their own because families name them differently
/// (`conv1`, `bn1`; `features.0.0`, `features.0.1`; `conv1`, `conv1_bn`).
public struct ConvolutionBatchNorm: Module {
    public let convolution: Convolution2D
    public let normalization: BatchNorm2D
    public let activation: Activation

    public init(
        convolution: Convolution2D, normalization scope: Scope, rule: NormalizationRule = .pytorch,
        activation: Activation
    ) {
        self.convolution = convolution
        normalization = BatchNorm2D(scope, channels: convolution.weight.shape[0], rule: rule)
        self.activation = activation
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        try self(input, residual: nil, context)
    }

    public func callAsFunction(_ input: Tensor, residual: Tensor?, _ context: ForwardContext) throws -> Tensor {
        if let folded = context.folded, !context.isTraining {
            return try folded.run(
                convolution, normalization, input, residual: residual, activation: activation)
        }
        return try normalization(convolution(input, context), residual: residual, activation: activation, context)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        let shape = try convolution.outputShape(for: input, in: pass)
        try normalization.check(shape)
        pass.record(normalization.path, shape)
        return shape
    }

    /// Follows the shape through and checks that a residual of the given shape can be added.
    public func outputShape(for input: [Int], residual: [Int], in pass: ShapePass) throws -> [Int] {
        let shape = try outputShape(for: input, in: pass)
        guard shape == residual else {
            throw LayerError.branchesDiffer(path: normalization.path, main: shape, shortcut: residual)
        }
        return shape
    }
}
