import Tensors

/// Sets a fraction of the values to zero while training and scales the others up by 1/(1 − rate)
/// (Srivastava et al. 2014); the identity in evaluation. Any shape.
///
/// Input N×…, samples first. The mask of a sample depends on the context's seed and epoch, on the sample's position
/// in the epoch and on the layer's path, on nothing else: not on ranks, not on how a batch is cut into parts, and a
/// resumed run draws what the first one would have drawn.
public struct Dropout: Module {
    public let path: String
    /// The fraction of values set to zero, 0 ≤ rate < 1.
    public let rate: Float

    /// - Precondition: 0 ≤ rate < 1.
    public init(_ scope: Scope, rate: Float) {
        precondition(rate >= 0 && rate < 1, "\(scope.path): a dropout rate of \(rate) is not in 0..<1")
        path = scope.path
        self.rate = rate
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        guard context.isTraining, rate > 0 else { return input }
        let perSample = input.shape.dropFirst().reduce(1, *)
        return dropout(
            input, rate: rate,
            key: RandomKey(seed: context.seed, purpose: .dropout, path: path, epoch: context.epoch),
            offset: context.position * perSample)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] { input }
}
