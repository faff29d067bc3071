import Tensors

/// Layer normalisation over the last dimension: (x − mean)/√(variance + ε) · weight + bias, for each row
/// (Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450).
///
/// Input and output …×W; `weight` and `bias` W. The same in training and in evaluation.
public struct LayerNorm: Module {
    public let path: String
    public let scale: Parameter
    public let shift: Parameter
    public let epsilon: Float

    /// Registers `weight` (ones) and `bias` (zeros) in `scope`.
    public init(_ scope: Scope, width: Int, epsilon: Float) {
        path = scope.path
        self.epsilon = epsilon
        scale = scope.parameter("weight", shape: [width], role: .normalizationScale, initializer: .ones)
        shift = scope.parameter("bias", shape: [width], role: .normalizationShift, initializer: .zeros)
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        try check(input.shape)
        return layerNormalization(input, scale: scale.value, shift: shift.value, epsilon: epsilon)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try check(input)
        pass.record(path, input)
        return input
    }

    private func check(_ input: [Int]) throws {
        guard input.last == scale.count else {
            throw LayerError.wrongInput(path: path, expected: "…×\(scale.count)", actual: input)
        }
    }
}
