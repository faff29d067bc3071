import Tensors

/// activation(residual + convolution(x) · factor): how a branch without a batch norm at its end meets its shortcut; one
/// convolution where the context has `folded`.
///
/// Input N×C×H×W; residual and output N×O×H′×W′. The convolution's own activation is the identity.
public struct ConvolutionSum {
    public let convolution: Convolution2D
    /// What the branch counts (Szegedy et al. 2016, https://arxiv.org/abs/1602.07261, section 3.3).
    public let factor: Float
    public let activation: Activation

    public init(_ convolution: Convolution2D, factor: Float = 1, activation: Activation = .identity) {
        (self.convolution, self.factor, self.activation) = (convolution, factor, activation)
    }

    /// - Throws: `LayerError` where input or residual does not fit.
    public func callAsFunction(_ input: Tensor, residual: Tensor, _ context: ForwardContext) throws -> Tensor {
        if let folded = context.folded, !context.isTraining {
            return try folded.run(convolution, nil, input, residual: residual, factor: factor, activation: activation)
        }
        let branch = try convolution(input, context)
        guard branch.shape == residual.shape else {
            throw LayerError.branchesDiffer(path: convolution.path, main: branch.shape, shortcut: residual.shape)
        }
        return activated(residual + (factor == 1 ? branch : branch * factor), activation)
    }

    /// Follows the shape through and checks that the residual can be added.
    public func outputShape(for input: [Int], residual: [Int], in pass: ShapePass) throws -> [Int] {
        let shape = try convolution.outputShape(for: input, in: pass)
        guard shape == residual else {
            throw LayerError.branchesDiffer(path: convolution.path, main: shape, shortcut: residual)
        }
        // The sum is kept besides the branch.
        pass.record(convolution.path, shape)
        return shape
    }
}
