import Tensors

/// Batch norm and activation before the convolutions of a block (He et al. 2016, "Identity Mappings in Deep Residual
/// Networks", https://arxiv.org/abs/1603.05027). Input and output N×C×H×W.
///
/// What goes in is a sum that the block's shortcut takes too, so there is no convolution to fold it into: it runs as it is
/// in compiled passes too.
public struct PreActivation: Module {
    public let normalization: BatchNorm2D
    public let activation: Activation

    /// Registers the batch norm in `scope`.
    public init(_ scope: Scope, channels: Int, rule: NormalizationRule, activation: Activation = .relu) {
        normalization = BatchNorm2D(scope, channels: channels, rule: rule)
        self.activation = activation
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        try normalization(input.dequantized, activation: activation, context)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try normalization.check(input)
        pass.record(normalization.path, input)
        return input
    }
}
