// BERT: from tiny to large, with the head that classifies sequences.
//
// Papers: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
//   Understanding", 2018, https://arxiv.org/abs/1810.04805; the small sizes: Turc et al. 2019,
//   https://arxiv.org/abs/1908.08962
// Variant: `sequence-classification`: tanh pooler over the first token, dropout, a linear classifier (Hugging Face's
//   BertForSequenceClassification). Post-norm blocks, exact GELU, ε 1e-12, dropout 0.1.
// Input: tokens N×T of BERT's uncased vocabulary, `Int32`; all of the first segment. Tokens 0 are padding, and no
//   position attends to them.
// Weight names: Hugging Face's — bert.embeddings.word_embeddings, bert.embeddings.LayerNorm,
//   bert.encoder.layer.0.attention.self.query, …, bert.pooler.dense, classifier.
// Checked against: transformers' BertForSequenceClassification — logits, loss and gradients, with padding
//   (Tests/ModelsTests/Reference).

import Layers
import Tensors

public enum BERT {
    public enum Variant: String, CaseIterable, Sendable { case sequenceClassification = "sequence-classification" }

    /// Layers and width; there is a head for every 64 of the width, and the inner width is four times as much.
    public enum Size: String, CaseIterable, Sendable {
        case tiny, mini, small, medium, base, large

        var layers: Int {
            switch self {
            case .tiny: 2
            case .mini, .small: 4
            case .medium: 8
            case .base: 12
            case .large: 24
            }
        }

        var width: Int {
            switch self {
            case .tiny: 128
            case .mini: 256
            case .small, .medium: 512
            case .base: 768
            case .large: 1024
            }
        }
    }

    static let tokens = TokenInput(vocabulary: 30_522, positions: 512, padding: 0)
    private static let dropout: Float = 0.1
    private static let epsilon: Float = 1e-12

    static func network(_ architecture: Architecture, _ size: Size, seed: UInt64) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let (bert, width) = (scope / "bert", size.width)
        var stages = [
            Stage(
                name: "embeddings", parameterPrefixes: ["bert.embeddings"],
                module: Embeddings(bert / "embeddings", width: width))
        ]
        for index in 0..<size.layers {
            let layer = bert / "encoder" / "layer" / index
            stages.append(
                Stage(name: "layer.\(index)", parameterPrefixes: [layer.path], module: Layer(layer, width: width)))
        }
        stages.append(
            Stage(
                name: "pooler", parameterPrefixes: ["bert.pooler"],
                module: Pooler(dense: linear(bert / "pooler" / "dense", width, width))))
        return Network(
            architecture, store: scope.store, stages: stages,
            head: Sequential([
                Dropout(scope / "dropout", rate: dropout), linear(scope / "classifier", width, architecture.classes),
            ]), headPrefix: "classifier")
    }

    private static func linear(_ scope: Scope, _ inputs: Int, _ outputs: Int) -> Linear {
        Linear(
            scope, inputs: inputs, outputs: outputs, initializer: .normal(standardDeviation: 0.02),
            biasInitializer: .zeros)
    }

    /// dropout(norm(word + position + segment)). Input N×T tokens, output N×T×width.
    struct Embeddings: Module {
        private let words, positions, segments: Embedding
        private let norm: LayerNorm
        private let dropout: Dropout
        let isRandomInTraining = true

        init(_ scope: Scope, width: Int) {
            func embedding(_ name: String, _ count: Int) -> Embedding {
                Embedding(scope / name, count: count, width: width, initializer: .normal(standardDeviation: 0.02))
            }
            words = embedding("word_embeddings", BERT.tokens.vocabulary)
            positions = embedding("position_embeddings", BERT.tokens.positions)
            segments = embedding("token_type_embeddings", 2)
            norm = LayerNorm(scope / "LayerNorm", width: width, epsilon: BERT.epsilon)
            dropout = Dropout(scope / "dropout", rate: BERT.dropout)
        }

        func callAsFunction(_ tokens: Tensor, _ context: ForwardContext) throws -> Tensor {
            let length = tokens.shape[1]
            let places = Tensor(indices: (0..<Int32(length)).map { $0 }, shape: [length])
            let segment = Tensor(indices: [Int32](repeating: 0, count: length), shape: [length])
            let sum = try words(tokens, context) + (positions(places, context) + segments(segment, context))
            return try dropout(norm(sum, context), context)
        }

        func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
            try norm.outputShape(for: words.outputShape(for: input, in: pass), in: pass)
        }
    }

    /// Attention and feed-forward, each added to its input and then normalised. Input and output N×T×width.
    struct Layer: Module {
        private let query, key, value: Linear
        private let attention: SelfAttention
        private let attentionOutput: ResidualLinear
        private let attentionNorm: LayerNorm
        private let feedForward: FeedForward
        private let outputNorm: LayerNorm
        let isRandomInTraining = true

        init(_ scope: Scope, width: Int) {
            let maps = scope / "attention" / "self"
            query = BERT.linear(maps / "query", width, width)
            key = BERT.linear(maps / "key", width, width)
            value = BERT.linear(maps / "value", width, width)
            attention = SelfAttention(maps, heads: width / 64, isCausal: false, dropout: BERT.dropout)
            let output = scope / "attention" / "output"
            attentionOutput = ResidualLinear(BERT.linear(output / "dense", width, width), dropout: BERT.dropout)
            attentionNorm = LayerNorm(output / "LayerNorm", width: width, epsilon: BERT.epsilon)
            feedForward = FeedForward(
                up: BERT.linear(scope / "intermediate" / "dense", width, 4 * width),
                down: BERT.linear(scope / "output" / "dense", 4 * width, width), approximation: .none,
                dropout: BERT.dropout)
            outputNorm = LayerNorm(scope / "output" / "LayerNorm", width: width, epsilon: BERT.epsilon)
        }

        func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
            let seen = try attention(query(x, context), key(x, context), value(x, context), context)
            let middle = try attentionNorm(attentionOutput(seen, residual: x, context), context)
            return try outputNorm(feedForward(middle, residual: middle, context), context)
        }

        func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
            for map in [query, key, value] { _ = try map.outputShape(for: input, in: pass) }
            let middle = try attentionNorm.outputShape(
                for: attentionOutput.linear.outputShape(for: input, in: pass), in: pass)
            return try outputNorm.outputShape(for: feedForward.outputShape(for: middle, in: pass), in: pass)
        }
    }

    /// tanh(linear(first token)). Input N×T×width, output N×width.
    struct Pooler: Module {
        let dense: Linear

        func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
            try tanh(dense(x.selected(axis: 1, 0), context))
        }

        func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
            try dense.outputShape(for: [input[0], input[2]], in: pass)
        }
    }
}
