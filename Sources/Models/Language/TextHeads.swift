import Layers
import Tensors

/// What an encoder of text is used for: the variants of BERT and its relatives.
public enum EncoderTask: String, CaseIterable, Sendable {
    /// One class for a sequence.
    case sequenceClassification = "sequence-classification"
    /// One class for a sequence, from the mean over all tokens but padding: for encoders that were trained to embed
    /// sentences, of which the first token says little. transformers has no class for it.
    case meanClassification = "mean-classification"
    /// A class for every token.
    case tokenClassification = "token-classification"
    /// Where in a text the answer to a question begins and ends.
    case questionAnswering = "question-answering"
    /// The tokens that were masked.
    case maskedLanguageModel = "masked-language-model"
    /// The mean over all tokens but padding, of unit length, as sentence-transformers' MiniLM gives it.
    case embedding
    /// The mean over all tokens but padding as it is.
    case meanEmbedding = "mean-embedding"

    var output: OutputKind {
        switch self {
        case .sequenceClassification, .meanClassification: .classes
        case .tokenClassification: .tokenClasses
        case .questionAnswering: .spans
        case .maskedLanguageModel: .maskedTokens
        case .embedding, .meanEmbedding: .embedding
        }
    }

    /// Outputs where nobody says how many.
    func classes(_ size: TransformerSize) -> Int {
        switch self {
        case .sequenceClassification, .meanClassification, .tokenClassification, .questionAnswering: 2
        case .maskedLanguageModel: size.vocabulary
        case .embedding, .meanEmbedding: size.width
        }
    }

    /// Embeddings are features: nothing is dropped unless asked for.
    var publishedDropout: Float { output == .embedding ? 0 : 0.1 }
}

/// Labels as `Network.crossEntropy` takes them.
struct Labels {
    let tensor: Tensor
    let smoothing: Float
    let ignored: Int32?

    init(_ tensor: Tensor, smoothing: Float, ignored: Int32?) {
        (self.tensor, self.smoothing, self.ignored) = (tensor, smoothing, ignored)
    }

    /// Summed over all labels; logits have one more dimension than they.
    func crossEntropy(of logits: Tensor) -> Tensor {
        Tensors.crossEntropy(logits, labels: tensor, labelSmoothing: smoothing, ignoreIndex: ignored)
    }
}

/// A head whose cross-entropy is not simply that of its logits.
protocol LabelledHead: Module {
    func crossEntropy(_ features: Tensor, _ labels: Labels, _ context: ForwardContext) throws -> Tensor
}

/// Logits over a vocabulary by the token embedding itself (Press and Wolf 2017, https://arxiv.org/abs/1608.05859).
/// Input N×T×width, output N×T×vocabulary.
struct VocabularyHead: LabelledHead {
    /// Vocabulary × width; the embedding registered it.
    let weight: Parameter

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
        try check(x.shape)
        return linear(x, weight: weight.value)
    }

    /// Logits are never all in memory where they are many.
    func crossEntropy(_ x: Tensor, _ labels: Labels, _ context: ForwardContext) throws -> Tensor {
        try check(x.shape)
        return linearCrossEntropy(
            x, weight: weight.value, labels: labels.tensor, labelSmoothing: labels.smoothing,
            ignoreIndex: labels.ignored)
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

/// norm(gelu(dense(x))) · embeddingᵀ + bias: logits of the token at each position. Input N×T×width, output
/// N×T×vocabulary.
struct MaskedTokenHead: LabelledHead {
    let dense: Linear
    let norm: LayerNorm
    /// Vocabulary × width; the embedding registered it.
    let weight: Parameter
    let bias: Parameter

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
        let inner = gelu(try dense.product(x), bias: dense.bias?.value)
        return linear(try norm(inner, context), weight: weight.value, bias: bias.value)
    }

    /// Only positions with a label, which few have, are computed.
    func crossEntropy(_ x: Tensor, _ labels: Labels, _ context: ForwardContext) throws -> Tensor {
        let all = labels.tensor.indices
        let counted = all.indices.filter { all[$0] != labels.ignored }
        guard !counted.isEmpty else { return x.sum() * 0 }
        let places = Tensor(indices: counted.map(Int32.init), shape: [counted.count])
        let logits = try self(x.reshaped([-1, weight.shape[1]]).gathered(rows: places), context)
        let wanted = Tensor(indices: counted.map { all[$0] }, shape: [counted.count])
        return Labels(wanted, smoothing: labels.smoothing, ignored: nil).crossEntropy(of: logits)
    }

    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        let inner = try norm.outputShape(for: dense.outputShape(for: input, in: pass), in: pass)
        let output = Array(inner.dropLast()) + [weight.shape[0]]
        pass.record(bias.path, output, multiplications: inner.dropLast().reduce(1, *) * weight.count)
        return output
    }
}

/// Two logits a token: how likely a stretch begins and ends there. Input N×T×width, output N×T×2.
struct SpanHead: LabelledHead {
    let linear: any Module

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor { try linear(x, context) }

    /// The sum of two cross-entropies over positions. Padding is none of them: it would make the loss depend on how long the
    /// other texts of a batch are.
    func crossEntropy(_ x: Tensor, _ labels: Labels, _ context: ForwardContext) throws -> Tensor {
        let logits = Network.spanLogits(try self(x, context), keyMask: context.keyMask)
        let length = Int32(logits.shape[2])
        let ignored = labels.ignored ?? -100
        // Answers that a long text was cut before lie outside.
        let places = labels.tensor.indices.map { (0..<length).contains($0) ? $0 : ignored }
        let ends = Tensor(indices: places, shape: labels.tensor.shape)
        return Labels(ends, smoothing: labels.smoothing, ignored: ignored).crossEntropy(of: logits)
    }

    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try linear.outputShape(for: input, in: pass)
    }
}

extension Network {
    /// Logits N×T×2 of `OutputKind.spans` as N×2×T: over which positions the two ends of an answer are chosen. Padding is
    /// none of them.
    package static func spanLogits(_ logits: Tensor, keyMask: Tensor?) -> Tensor {
        let ends = logits.transposed([0, 2, 1])
        return keyMask.map { ends + $0.reshaped([$0.shape[0], 1, $0.shape[1]]) } ?? ends
    }
}

/// The mean over tokens that are not padding, of unit length where asked. Input N×T×W, output N×W; zeros for a
/// sequence of padding alone.
struct MeanPooling: Module {
    let hasUnitLength: Bool

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
        let (samples, length) = (x.shape[0], x.shape[1])
        let counts = context.keyMask?.scalars.map { $0 == 0 ? Float(1) : 0 }
        let weights = Tensor(shape: [samples, length, 1]) { weights in
            for sample in 0..<samples {
                let row = sample * length..<(sample + 1) * length
                let total = counts.map { $0[row].reduce(0, +) } ?? Float(length)
                for i in row { weights[i] = (counts?[i] ?? 1) / max(1, total) }
            }
        }
        let mean = (x * weights).sum(axes: [1])
        guard hasUnitLength else { return mean }
        // Never the root of 0, whose slope is infinite.
        return mean / sqrt(square(mean).sum(axes: [1], keepDimensions: true) + 1e-24)
    }

    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        guard input.count == 3 else {
            throw LayerError.wrongInput(path: "pooling", expected: "N×T×W", actual: input)
        }
        pass.record("pooling", [input[0], input[2]])
        return [input[0], input[2]]
    }
}

/// What the last token that is not padding gives. Input N×T×W, output N×W.
struct LastToken: Module {
    func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
        let (samples, length) = (x.shape[0], x.shape[1])
        let mask = context.keyMask?.scalars
        let places = (0..<samples).map { sample in
            let row = sample * length..<(sample + 1) * length
            guard let mask else { return Int32(row.upperBound - 1) }
            return Int32(row.last { mask[$0] == 0 } ?? row.lowerBound)
        }
        return x.reshaped([samples * length, x.shape[2]])
            .gathered(rows: Tensor(indices: places, shape: [samples]))
    }

    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        guard input.count == 3 else { throw LayerError.wrongInput(path: "last", expected: "N×T×W", actual: input) }
        pass.record("last", [input[0], input[2]])
        return [input[0], input[2]]
    }
}

/// What the first token gives through a map and an activation. Input N×T×W, output N×W.
struct FirstTokenPooler: Module {
    enum Activation { case tanh, relu }

    let dense: Linear
    let activation: Activation

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
        let map = try dense(x.selected(axis: 1, 0), context)
        return activation == .tanh ? tanh(map) : activated(map, .relu)
    }

    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        guard input.count == 3 else {
            throw LayerError.wrongInput(path: dense.path, expected: "N×T×W", actual: input)
        }
        return try dense.outputShape(for: [input[0], input[2]], in: pass)
    }
}
