import Tensors

/// x·weightᵀ + bias. Input N×I; `weight` O×I; `bias` O; output N×O.
public struct Linear: Module {
    public let path: String
    public let weight: Parameter
    public let bias: Parameter?

    /// Registers `weight` (and `bias`) in `scope`; by default drawn as `torch.nn.Linear` does.
    public init(
        _ scope: Scope, inputs: Int, outputs: Int, usesBias: Bool = true, initializer: Initializer? = nil,
        biasInitializer: Initializer? = nil
    ) {
        path = scope.path
        weight = scope.parameter(
            "weight", shape: [outputs, inputs], role: .weight,
            initializer: initializer ?? .uniform(fan: inputs))
        bias =
            usesBias
            ? scope.parameter(
                "bias", shape: [outputs], role: .bias, initializer: biasInitializer ?? .uniform(fan: inputs))
            : nil
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        try check(input.shape)
        return linear(input, weight: weight.value, bias: bias?.value)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try check(input)
        let output = [input[0], weight.shape[0]]
        pass.record(path, output, multiplications: input[0] * weight.count)
        return output
    }

    private func check(_ input: [Int]) throws {
        guard input.count == 2, input[1] == weight.shape[1] else {
            throw LayerError.wrongInput(path: path, expected: "N×\(weight.shape[1])", actual: input)
        }
    }
}
