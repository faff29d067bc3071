import Tensors

/// x·weightᵀ + bias. Input …×I; `weight` O×I (I×O where inputs come first, as GPT-2's files have it); `bias` O; output
/// …×O.
public struct Linear: Module {
    public let path: String
    public let weight: Parameter
    public let bias: Parameter?
    /// Whether the weight lies I×O.
    public let inputsFirst: Bool

    /// Registers `weight` (and `bias`) in `scope`; by default drawn as `torch.nn.Linear` does.
    public init(
        _ scope: Scope, inputs: Int, outputs: Int, usesBias: Bool = true, inputsFirst: Bool = false,
        initializer: Initializer? = nil, biasInitializer: Initializer? = nil
    ) {
        path = scope.path
        self.inputsFirst = inputsFirst
        weight = scope.parameter(
            "weight", shape: inputsFirst ? [inputs, outputs] : [outputs, inputs], role: .weight,
            initializer: initializer ?? .uniform(fan: inputs))
        bias =
            usesBias
            ? scope.parameter(
                "bias", shape: [outputs], role: .bias, initializer: biasInitializer ?? .uniform(fan: inputs))
            : nil
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        try check(input.shape)
        return linear(input, weight: weight.value, bias: bias?.value, inputsFirst: inputsFirst)
    }

    /// Without the bias, for operations that add it as they go.
    public func product(_ input: Tensor) throws -> Tensor {
        try check(input.shape)
        return linear(input, weight: weight.value, inputsFirst: inputsFirst)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try check(input)
        let output = Array(input.dropLast()) + [weight.shape[inputsFirst ? 1 : 0]]
        pass.record(path, output, multiplications: input.dropLast().reduce(1, *) * weight.count)
        return output
    }

    private func check(_ input: [Int]) throws {
        let inputs = weight.shape[inputsFirst ? 0 : 1]
        guard input.count >= 2, input.last == inputs else {
            throw LayerError.wrongInput(path: path, expected: "N×\(inputs)", actual: input)
        }
    }
}
