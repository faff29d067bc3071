import Layers
import Tensors

/// Logits over a vocabulary by the token embedding itself (Press and Wolf 2017, https://arxiv.org/abs/1608.05859).
/// Input N×T×width, output N×T×vocabulary.
struct VocabularyHead: Module {
    /// Vocabulary × width; the embedding registered it.
    let weight: Parameter

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
        try check(x.shape)
        return linear(x, weight: weight.value)
    }

    /// The summed cross-entropy of the logits, which are never all in memory where they are many.
    func crossEntropy(_ x: Tensor, labels: Tensor, labelSmoothing: Float, ignoreIndex: Int32?) throws -> Tensor {
        try check(x.shape)
        return linearCrossEntropy(
            x, weight: weight.value, labels: labels, labelSmoothing: labelSmoothing, ignoreIndex: ignoreIndex)
    }

    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try check(input)
        let output = Array(input.dropLast()) + [weight.shape[0]]
        pass.record("lm_head", output, multiplications: input.dropLast().reduce(1, *) * weight.count)
        return output
    }

    private func check(_ input: [Int]) throws {
        guard input.count == 3, input[2] == weight.shape[1] else {
            throw LayerError.wrongInput(path: "lm_head", expected: "N×T×\(weight.shape[1])", actual: input)
        }
    }
}
