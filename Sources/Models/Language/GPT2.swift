// GPT-2: small to XL and any other size, with the tied head that predicts the next token, or a classifier.
//
// Paper: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019,
//   https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
// Variants: pre-norm blocks, GELU with tanh, ε 1e-5, dropout 0.1, weights of linear maps lie inputs × outputs, and
//   `language-model`: the head is the token embedding (GPT2LMHeadModel);
//   `sequence-classification`: a linear map without bias of the last token that is not padding
//   (GPT2ForSequenceClassification).
// Input: tokens N×T, `Int32`. A position sees those before it. The padding of sequences to be classified is `padding`
//   of the sizes, by default the last token of the vocabulary (the end of a text); a language model has none.
// Weight names: Hugging Face's — transformer.wte, transformer.wpe, transformer.h.0.ln_1,
//   transformer.h.0.attn.c_attn, …, transformer.ln_f, score. Files of the bare GPT2Model (no `transformer.`) are read too.
// Checked against: transformers' network of either variant — logits, loss and gradients, and greedy generation
//   (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let gpt2 = Family(
        title: "GPT-2", names: GPT2.sizes.names,
        member: { asked in
            guard let (name, sizes, size) = try GPT2.sizes.find(asked) else { return nil }
            let variant = try asked.choose(from: GPT2.Variant.allCases)
            let isClassifier = variant == .sequenceClassification
            return Member(
                name: name, variant: variant, of: GPT2.Variant.allCases, sizes: sizes,
                input: .tokens(size.tokens(padding: isClassifier ? size.padding ?? size.vocabulary - 1 : nil)),
                output: isClassifier ? .classes : .nextTokens, classes: isClassifier ? 2 : size.vocabulary,
                build: { GPT2.network($0, variant, size, seed: $1) })
        },
        recognise: { GPT2.recognise($0) },
        nameMaps: [
            NameMap(
                "Hugging Face, the bare GPT2Model",
                prefixes: [
                    ("wte.", "transformer.wte."), ("wpe.", "transformer.wpe."), ("h.", "transformer.h."),
                    ("ln_f.", "transformer.ln_f."), ("lm_head.", "lm_head."), ("score.", "score."),
                ])
        ],
        leftOut: [(".attn.bias", "only masks what follows"), (".attn.masked_bias", "only masks what follows")],
        tied: [("lm_head.weight", "transformer.wte.weight")],
        heads: ["lm_head", "score"],
        huggingFace: GPT2.huggingFace)
}

public enum GPT2 {
    public enum Variant: String, CaseIterable, Sendable {
        case languageModel = "language-model"
        case sequenceClassification = "sequence-classification"
    }

    static let sizes = TransformerSizes(
        name: "gpt2", standard: size(12, 768),
        published: [
            ("gpt2", size(12, 768)), ("gpt2_medium", size(24, 1024)), ("gpt2_large", size(36, 1280)),
            ("gpt2_xl", size(48, 1600)),
        ])

    /// transformers' classes; of several for a variant the first is written.
    fileprivate static let classes: [(name: String, variant: Variant)] = [
        ("GPT2LMHeadModel", .languageModel), ("GPT2ForSequenceClassification", .sequenceClassification),
        ("GPT2Model", .languageModel),
    ]
    fileprivate static let huggingFace = HuggingFaceFormat(
        modelType: "gpt2", sizes: sizes, classes: classes.map { ($0.name, $0.variant.rawValue) },
        keys: [
            ("layers", "n_layer"), ("width", "n_embd"), ("heads", "n_head"), ("inner", "n_inner"),
            ("vocabulary", "vocab_size"), ("positions", "n_positions"), ("padding", "pad_token_id"),
        ],
        dropouts: [("resid_pdrop", 0.1), ("embd_pdrop", 0.1), ("attn_pdrop", 0.1)], attentionDropout: "attn_pdrop",
        epsilon: ("layer_norm_epsilon", 1e-5),
        fixed: [
            ("activation_function", [.string("gelu_new"), .string("gelu_pytorch_tanh")]),
            ("scale_attn_weights", [.bool(true)]),
            ("scale_attn_by_inverse_layer_idx", [.bool(false)]), ("add_cross_attention", [.bool(false)]),
            ("tie_word_embeddings", [.bool(true)]),
            ("problem_type", [.null, .string("single_label_classification")]),
        ])
    private static let epsilon: Float = 1e-5

    private static func size(_ layers: Int, _ width: Int) -> TransformerSize {
        TransformerSize(layers: layers, width: width, vocabulary: 50_257, positions: 1024)
    }

    static func recognise(_ weights: WeightShapes) -> Recognition? {
        guard let words = weights["transformer.wte.weight"], words.count == 2,
            let positions = weights["transformer.wpe.weight"]?.first,
            let inner = weights["transformer.h.0.mlp.c_fc.weight"]?.last
        else { return nil }
        let size = TransformerSize(
            layers: weights.count("transformer.h.", ".ln_1.weight"), width: words[1], inner: inner,
            vocabulary: words[0], positions: positions)
        let variant: Variant = weights.has("score.weight") ? .sequenceClassification : .languageModel
        return sizes.recognition(size, variant.rawValue)
    }

    static func network(
        _ architecture: Architecture, _ variant: Variant, _ size: TransformerSize, seed: UInt64
    ) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let (transformer, rates) = (scope / "transformer", TransformerRates(architecture, 0.1, epsilon))
        let embeddings = Embeddings(transformer, size, dropout: rates.dropout)
        var stages = [
            Stage(
                name: "embeddings", parameterPrefixes: ["transformer.wte", "transformer.wpe"], module: embeddings)
        ]
        for index in 0..<size.layers {
            let block = transformer / "h" / index
            stages.append(
                Stage(
                    name: "h.\(index)", parameterPrefixes: [block.path],
                    module: Block(block, size, rates)))
        }
        stages.append(
            Stage(
                name: "ln_f", parameterPrefixes: ["transformer.ln_f"],
                module: LayerNorm(transformer / "ln_f", width: size.width, epsilon: rates.epsilon)))
        guard variant == .sequenceClassification else {
            return Network(
                architecture, store: scope.store, stages: stages,
                head: VocabularyHead(weight: embeddings.tokens.weight), headPrefix: "lm_head")
        }
        stages.append(Stage(name: "last", parameterPrefixes: [], module: LastToken()))
        let score = Linear(
            scope / "score", inputs: size.width, outputs: architecture.classes, usesBias: false,
            initializer: .normal(standardDeviation: 0.02))
        return Network(architecture, store: scope.store, stages: stages, head: score, headPrefix: "score")
    }

    /// dropout(token + position). Input N×T tokens, output N×T×width.
    struct Embeddings: Module {
        let tokens: Embedding
        private let positions: Embedding
        private let dropout: Dropout

        init(_ scope: Scope, _ size: TransformerSize, dropout: Float) {
            func embedding(_ name: String, _ count: Int) -> Embedding {
                Embedding(
                    scope / name, count: count, width: size.width, initializer: .normal(standardDeviation: 0.02))
            }
            tokens = embedding("wte", size.vocabulary)
            positions = embedding("wpe", size.positions)
            self.dropout = Dropout(scope / "drop", rate: dropout)
        }

        func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
            let (length, first) = (input.shape[1], context.cache?.length ?? 0)
            let places = Tensor(indices: (first..<first + length).map(Int32.init), shape: [length])
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

        init(_ scope: Scope, _ size: TransformerSize, _ rates: TransformerRates) {
            let (width, dropout) = (size.width, rates.dropout)
            // Maps that join the stream start smaller by √(2 · layers).
            let joining = 0.02 / Float(2 * size.layers).squareRoot()
            func linear(_ scope: Scope, _ inputs: Int, _ outputs: Int, joins: Bool = false) -> Linear {
                Linear(
                    scope, inputs: inputs, outputs: outputs, inputsFirst: true,
                    initializer: .normal(standardDeviation: joins ? joining : 0.02), biasInitializer: .zeros)
            }
            attentionNorm = LayerNorm(scope / "ln_1", width: width, epsilon: rates.epsilon)
            maps = linear(scope / "attn" / "c_attn", width, 3 * width)
            attention = SelfAttention(
                scope / "attn", heads: size.heads, isCausal: true, dropout: rates.attentionDropout)
            attentionOutput = ResidualLinear(
                linear(scope / "attn" / "c_proj", width, width, joins: true), dropout: dropout)
            feedForwardNorm = LayerNorm(scope / "ln_2", width: width, epsilon: rates.epsilon)
            feedForward = FeedForward(
                up: linear(scope / "mlp" / "c_fc", width, size.inner),
                down: linear(scope / "mlp" / "c_proj", size.inner, width, joins: true), approximation: .tanh,
                dropout: dropout)
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
