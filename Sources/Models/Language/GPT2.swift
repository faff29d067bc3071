// GPT-2: small to XL, with the tied head that predicts the next token.
//
// Paper: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019,
//   https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
// Variant: `language-model`: Hugging Face's GPT2LMHeadModel; the head is the token embedding. Pre-norm blocks, GELU
//   with tanh, ε 1e-5, dropout 0.1, weights of linear maps lie inputs × outputs.
// Input: tokens N×T of GPT-2's vocabulary, `Int32`, at most 1,024 a sequence. A position sees those before it.
// Weight names: Hugging Face's — transformer.wte, transformer.wpe, transformer.h.0.ln_1,
//   transformer.h.0.attn.c_attn, …, transformer.ln_f.
// Checked against: transformers' GPT2LMHeadModel — logits, loss and gradients (Tests/ModelsTests/Reference).

import Layers
import Tensors

public enum GPT2 {
    public enum Variant: String, CaseIterable, Sendable { case languageModel = "language-model" }

    /// Layers, width and heads; a head is 64 wide.
    public enum Size: String, CaseIterable, Sendable {
        case small, medium, large, xl

        var layers: Int {
            switch self {
            case .small: 12
            case .medium: 24
            case .large: 36
            case .xl: 48
            }
        }

        var width: Int {
            switch self {
            case .small: 768
            case .medium: 1024
            case .large: 1280
            case .xl: 1600
            }
        }
    }

    static let tokens = TokenInput(vocabulary: 50_257, positions: 1024, padding: nil)
    private static let dropout: Float = 0.1
    private static let epsilon: Float = 1e-5

    static func network(_ architecture: Architecture, _ size: Size, seed: UInt64) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let (transformer, width) = (scope / "transformer", size.width)
        let embeddings = Embeddings(transformer, width: width)
        var stages = [
            Stage(
                name: "embeddings", parameterPrefixes: ["transformer.wte", "transformer.wpe"], module: embeddings)
        ]
        for index in 0..<size.layers {
            let block = transformer / "h" / index
            stages.append(
                Stage(
                    name: "h.\(index)", parameterPrefixes: [block.path],
                    module: Block(block, width: width, layers: size.layers)))
        }
        stages.append(
            Stage(
                name: "ln_f", parameterPrefixes: ["transformer.ln_f"],
                module: LayerNorm(transformer / "ln_f", width: width, epsilon: epsilon)))
        return Network(
            architecture, store: scope.store, stages: stages,
            head: VocabularyHead(weight: embeddings.tokens.weight), headPrefix: "lm_head")
    }

    /// dropout(token + position). Input N×T tokens, output N×T×width.
    struct Embeddings: Module {
        let tokens: Embedding
        private let positions: Embedding
        private let dropout: Dropout
        let isRandomInTraining = true

        init(_ scope: Scope, width: Int) {
            tokens = Embedding(
                scope / "wte", count: GPT2.tokens.vocabulary, width: width,
                initializer: .normal(standardDeviation: 0.02))
            positions = Embedding(
                scope / "wpe", count: GPT2.tokens.positions, width: width,
                initializer: .normal(standardDeviation: 0.02))
            dropout = Dropout(scope / "drop", rate: GPT2.dropout)
        }

        func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
            let length = input.shape[1]
            let places = Tensor(indices: (0..<Int32(length)).map { $0 }, shape: [length])
            return try dropout(tokens(input, context) + positions(places, context), context)
        }

        func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
            try tokens.outputShape(for: input, in: pass)
        }
    }

    /// x + attention(norm(x)), then x + feed-forward(norm(x)). Input and output N×T×width.
    struct Block: Module {
        private let attentionNorm: LayerNorm
        private let maps: Linear
        private let attention: SelfAttention
        private let attentionOutput: ResidualLinear
        private let feedForwardNorm: LayerNorm
        private let feedForward: FeedForward
        let isRandomInTraining = true

        /// - Parameter layers: maps that join the stream start smaller by √(2 · layers).
        init(_ scope: Scope, width: Int, layers: Int) {
            func linear(_ scope: Scope, _ inputs: Int, _ outputs: Int, joins: Bool = false) -> Linear {
                Linear(
                    scope, inputs: inputs, outputs: outputs, inputsFirst: true,
                    initializer: .normal(standardDeviation: joins ? 0.02 / Float(2 * layers).squareRoot() : 0.02),
                    biasInitializer: .zeros)
            }
            attentionNorm = LayerNorm(scope / "ln_1", width: width, epsilon: GPT2.epsilon)
            maps = linear(scope / "attn" / "c_attn", width, 3 * width)
            attention = SelfAttention(scope / "attn", heads: width / 64, isCausal: true, dropout: GPT2.dropout)
            attentionOutput = ResidualLinear(
                linear(scope / "attn" / "c_proj", width, width, joins: true), dropout: GPT2.dropout)
            feedForwardNorm = LayerNorm(scope / "ln_2", width: width, epsilon: GPT2.epsilon)
            feedForward = FeedForward(
                up: linear(scope / "mlp" / "c_fc", width, 4 * width),
                down: linear(scope / "mlp" / "c_proj", 4 * width, width, joins: true), approximation: .tanh,
                dropout: GPT2.dropout)
        }

        func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
            let seen = try attention(packed: maps(attentionNorm(x, context), context), context)
            let middle = try attentionOutput(seen, residual: x, context)
            return try feedForward(feedForwardNorm(middle, context), residual: middle, context)
        }

        func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
            let normal = try attentionNorm.outputShape(for: input, in: pass)
            _ = try maps.outputShape(for: normal, in: pass)
            let middle = try attentionOutput.linear.outputShape(for: normal, in: pass)
            return try feedForward.outputShape(for: feedForwardNorm.outputShape(for: middle, in: pass), in: pass)
        }
    }
}
