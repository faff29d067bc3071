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
        add(try linear.product(x), to: residual, context)
    }

    /// residual + dropout(product + bias), of a product that is there already.
    func add(_ product: Tensor, to residual: Tensor, _ context: ForwardContext) -> Tensor {
        residualSum(
            residual, product, bias: linear.bias?.value, rate: context.isTraining ? dropout : 0,
            key: RandomKey(seed: context.seed, purpose: .dropout, path: linear.path, epoch: context.epoch),
            offset: context.position * product.shape.dropFirst().reduce(1, *))
    }
}

/// The two maps of a transformer's block with GELU between them: residual + dropout(down(gelu(up(x)))).
/// Input and output N×T×W. What GELU gives is not kept.
public struct FeedForward {
    public let up: Linear
    public let down: ResidualLinear
    public let approximation: GELUApproximation

    public init(up: Linear, down: Linear, approximation: GELUApproximation, dropout: Float) {
        (self.up, self.approximation) = (up, approximation)
        self.down = ResidualLinear(down, dropout: dropout)
    }

    public func callAsFunction(_ x: Tensor, residual: Tensor, _ context: ForwardContext) throws -> Tensor {
        let product = geluLinear(
            try up.product(x), bias: up.bias?.value, approximation: approximation, weight: down.linear.weight.value,
            inputsFirst: down.linear.inputsFirst)
        return down.add(product, to: residual, context)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try down.linear.outputShape(for: up.outputShape(for: input, in: pass), in: pass)
    }
}
