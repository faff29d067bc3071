import Tensors

/// residual + dropout(linear(x)): how a branch of a transformer's block joins the stream again, in one pass behind the
/// matrix product. Input N×T×I, residual and output N×T×O. Dropout as `Dropout` has it.
public struct ResidualLinear {
    public let linear: Linear
    /// The rate at which values are dropped in training.
    public let dropout: Float

    public init(_ linear: Linear, dropout: Float) {
        (self.linear, self.dropout) = (linear, dropout)
    }

    public func callAsFunction(_ x: Tensor, residual: Tensor, _ context: ForwardContext) throws -> Tensor {
        let product = try linear.product(x)
        return residualSum(
            residual, product, bias: linear.bias?.value, rate: context.isTraining ? dropout : 0,
            key: RandomKey(seed: context.seed, purpose: .dropout, path: linear.path, epoch: context.epoch),
            offset: context.position * product.shape.dropFirst().reduce(1, *))
    }
}

/// The two maps of a transformer's block with GELU between them: residual + dropout(down(gelu(up(x)))).
/// Input and output N×T×W.
public struct FeedForward {
    public let up: Linear
    public let down: ResidualLinear
    public let approximation: GELUApproximation

    public init(up: Linear, down: Linear, approximation: GELUApproximation, dropout: Float) {
        (self.up, self.approximation) = (up, approximation)
        self.down = ResidualLinear(down, dropout: dropout)
    }

    public func callAsFunction(_ x: Tensor, residual: Tensor, _ context: ForwardContext) throws -> Tensor {
        let inner = gelu(try up.product(x), bias: up.bias?.value, approximation: approximation)
        return try down(inner, residual: residual, context)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try down.linear.outputShape(for: up.outputShape(for: input, in: pass), in: pass)
    }
}
