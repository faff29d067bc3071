import Layers
import Tensors

/// activation(convolutions(x) + shortcut(x)), the activation being the last convolution's (He et al. 2015,
/// https://arxiv.org/abs/1512.03385).
///
/// Input N×C×H×W; output N×O×H′×W′, which the shortcut gives too.
struct ResidualBlock: Module {
    enum Shortcut {
        /// Nothing is added.
        case none
        /// The input itself.
        case identity
        /// What these layers make of it.
        case projection(any Module)
    }

    /// All convolutions but the last, each with its norm and activation.
    let convolutions: [ConvolutionBatchNorm]
    /// The one that the shortcut is added to, before its activation.
    let last: ConvolutionBatchNorm
    let shortcut: Shortcut

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
        let inner = try convolutions.reduce(x) { try $1($0, context) }
        switch shortcut {
        case .none: return try last(inner, context)
        case .identity: return try last(inner, residual: x, context)
        case .projection(let layers): return try last(inner, residual: layers(x, context), context)
        }
    }

    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        let inner = try convolutions.reduce(input) { try $1.outputShape(for: $0, in: pass) }
        switch shortcut {
        case .none: return try last.outputShape(for: inner, in: pass)
        case .identity: return try last.outputShape(for: inner, residual: input, in: pass)
        case .projection(let layers):
            return try last.outputShape(for: inner, residual: layers.outputShape(for: input, in: pass), in: pass)
        }
    }
}
