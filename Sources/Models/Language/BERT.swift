// BERT: from tiny to large and any other size, with heads for sequences, tokens, answers and masked tokens.
//
// Papers: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
//   Understanding", 2018, https://arxiv.org/abs/1810.04805; the small sizes: Turc et al. 2019,
//   https://arxiv.org/abs/1908.08962; the embeddings: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084
// Variants: post-norm blocks, exact GELU, ε 1e-12 or another, dropout 0.1 everywhere (none in the embedding variants), and
//   `sequence-classification`: tanh pooler over the first token, linear classifier (BertForSequenceClassification);
//   `mean-classification`: a linear classifier over the mean of all tokens, which transformers has not;
//   `token-classification`: linear classifier over every token (BertForTokenClassification);
//   `question-answering`: two logits a token (BertForQuestionAnswering);
//   `masked-language-model`: transform, then the word embedding as decoder (BertForMaskedLM);
//   `embedding`, `mean-embedding`: the mean over tokens, of unit length or as it is (sentence-transformers).
// Input: tokens N×T, `Int32`; `ForwardContext.segments` tells pairs apart. The padding token, 0 unless `padding` of the
//   sizes says otherwise, is seen by no position.
// Weight names: Hugging Face's — bert.embeddings.word_embeddings, bert.embeddings.LayerNorm,
//   bert.encoder.layer.0.attention.self.query, …, bert.pooler.dense, classifier, qa_outputs, cls.predictions. Files of
//   the bare BertModel (no `bert.`), and with gamma and beta for weight and bias of norms, are read too.
// Checked against: transformers' network of every variant — logits, loss and gradients, with padding and segments
//   (Tests/ModelsTests/Reference); all-MiniLM-L6-v2's embeddings.

import Layers
import Tensors

extension Family {
    static let bert = Family(
        title: "BERT", names: BERT.sizes.names,
        member: { asked in
            guard let (name, sizes, size) = try BERT.sizes.find(asked) else { return nil }
            let task = try asked.choose(from: EncoderTask.allCases)
            return Member(
                name: name, variant: task, of: EncoderTask.allCases, sizes: sizes,
                input: .tokens(size.tokens(padding: size.padding)), output: task.output, classes: task.classes(size),
                build: { BERT.network($0, task, size, seed: $1) })
        },
        recognise: { BERT.recognise($0) },
        nameMaps: [
            NameMap("Hugging Face, with gamma and beta", prefixes: [("", "")], endings: BERT.oldEndings),
            NameMap(
                "Hugging Face, the bare BertModel",
                prefixes: [
                    ("embeddings.", "bert.embeddings."), ("encoder.", "bert.encoder."), ("pooler.", "bert.pooler."),
                ],
                endings: BERT.oldEndings),
        ],
        leftOut: [
            ("bert.embeddings.position_ids", "only counts positions"),
            ("bert.pooler.dense.weight", "this variant has no pooler"),
            ("bert.pooler.dense.bias", "this variant has no pooler"),
            ("cls.seq_relationship.weight", "tells whether sentences follow each other"),
            ("cls.seq_relationship.bias", "tells whether sentences follow each other"),
        ],
        tied: [
            ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
            ("cls.predictions.decoder.bias", "cls.predictions.bias"),
        ],
        heads: ["classifier", "qa_outputs", "cls"],
        huggingFace: BERT.huggingFace)
}

public enum BERT {
    public typealias Variant = EncoderTask

    static let sizes = TransformerSizes(
        name: "bert", standard: size(12, 768),
        published: [
            ("bert_tiny", size(2, 128)), ("bert_mini", size(4, 256)), ("bert_small", size(4, 512)),
            ("bert_medium", size(8, 512)), ("bert_base", size(12, 768)), ("bert_large", size(24, 1024)),
        ])

    /// transformers' classes; of several for a task the first is written.
    fileprivate static let classes: [(name: String, task: EncoderTask)] = [
        ("BertForSequenceClassification", .sequenceClassification),
        ("BertForTokenClassification", .tokenClassification), ("BertForQuestionAnswering", .questionAnswering),
        ("BertForMaskedLM", .maskedLanguageModel), ("BertForPreTraining", .maskedLanguageModel),
        ("BertModel", .embedding), ("BertModel", .meanEmbedding),
    ]
    fileprivate static let oldEndings: [(stored: String, canonical: String)] = [
        ("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"),
    ]
    fileprivate static let huggingFace = HuggingFaceFormat(
        modelType: "bert", sizes: sizes, classes: classes.map { ($0.name, $0.task.rawValue) },
        keys: [
            ("layers", "num_hidden_layers"), ("width", "hidden_size"), ("heads", "num_attention_heads"),
            ("inner", "intermediate_size"), ("vocabulary", "vocab_size"),
            ("positions", "max_position_embeddings"), ("segments", "type_vocab_size"),
            ("padding", "pad_token_id"),
        ],
        dropouts: [
            ("hidden_dropout_prob", 0.1), ("attention_probs_dropout_prob", 0.1), ("classifier_dropout", nil),
        ],
        attentionDropout: "attention_probs_dropout_prob", epsilon: ("layer_norm_eps", 1e-12),
        fixed: [
            ("hidden_act", [.string("gelu")]), ("position_embedding_type", [.string("absolute")]),
            ("is_decoder", [.bool(false)]),
            ("add_cross_attention", [.bool(false)]), ("tie_word_embeddings", [.bool(true)]),
            ("problem_type", [.null, .string("single_label_classification")]),
        ])
    private static let epsilon: Float = 1e-12

    private static func size(_ layers: Int, _ width: Int) -> TransformerSize {
        TransformerSize(
            layers: layers, width: width, vocabulary: 30_522, positions: 512, segments: 2, padding: 0)
    }

    static func recognise(_ weights: WeightShapes) -> Recognition? {
        guard let words = weights["bert.embeddings.word_embeddings.weight"], words.count == 2,
            weights.has("bert.embeddings.LayerNorm.weight"),
            let positions = weights["bert.embeddings.position_embeddings.weight"]?.first,
            let segments = weights["bert.embeddings.token_type_embeddings.weight"]?.first,
            let inner = weights["bert.encoder.layer.0.intermediate.dense.weight"]?.first
        else { return nil }
        let size = TransformerSize(
            layers: weights.count("bert.encoder.layer.", ".attention.self.query.weight"), width: words[1],
            inner: inner, vocabulary: words[0], positions: positions, segments: segments)
        let task: EncoderTask
        if weights.has("classifier.weight") {
            task = weights.has("bert.pooler.dense.weight") ? .sequenceClassification : .tokenClassification
        } else if weights.has("qa_outputs.weight") {
            task = .questionAnswering
        } else {
            task = weights.has("cls.predictions.transform.dense.weight") ? .maskedLanguageModel : .embedding
        }
        return sizes.recognition(size, task.rawValue)
    }

    static func network(
        _ architecture: Architecture, _ task: EncoderTask, _ size: TransformerSize, seed: UInt64
    ) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let (bert, rates) = (scope / "bert", TransformerRates(architecture, task.publishedDropout, Self.epsilon))
        let (dropout, epsilon) = (rates.dropout, rates.epsilon)
        let embeddings = NormalizedEmbeddings(bert / "embeddings", size, epsilon: epsilon, dropout: dropout)
        var stages = [
            Stage(name: "embeddings", parameterPrefixes: ["bert.embeddings"], module: embeddings)
        ]
        for index in 0..<size.layers {
            let layer = bert / "encoder" / "layer" / index
            // The pooler reads the first position alone: the last layer computes no other.
            let isFirstPositionEnough = task == .sequenceClassification && index == size.layers - 1
            stages.append(
                Stage(
                    name: "layer.\(index)", parameterPrefixes: [layer.path],
                    module: block(layer, size, rates, isFirstPositionEnough: isFirstPositionEnough)))
        }
        func finished(_ head: any Module, _ prefix: String, newWithHead: String? = nil) -> Network {
            Network(
                architecture, store: scope.store, stages: stages, head: head, headPrefix: prefix,
                prefixNewWithHead: newWithHead)
        }
        func classifier() -> Sequential {
            Sequential([
                Dropout(scope / "dropout", rate: dropout),
                Linear.encoding(scope / "classifier", size.width, architecture.classes),
            ])
        }
        switch task {
        case .sequenceClassification:
            let dense = Linear.encoding(bert / "pooler" / "dense", size.width, size.width)
            stages.append(
                Stage(
                    name: "pooler", parameterPrefixes: ["bert.pooler"],
                    module: FirstTokenPooler(dense: dense, activation: .tanh)))
            return finished(classifier(), "classifier", newWithHead: "bert.pooler")
        case .tokenClassification:
            return finished(classifier(), "classifier")
        case .questionAnswering:
            return finished(SpanHead(linear: Linear.encoding(scope / "qa_outputs", size.width, 2)), "qa_outputs")
        case .maskedLanguageModel:
            let predictions = scope / "cls" / "predictions"
            return finished(maskedTokenHead(predictions, embeddings.words.weight, size, epsilon: epsilon), "cls")
        case .embedding, .meanEmbedding, .meanClassification:
            stages.append(
                Stage(
                    name: "pooling", parameterPrefixes: [], module: MeanPooling(hasUnitLength: task == .embedding)))
            guard task == .meanClassification else { return finished(Sequential([]), "embedding") }
            return finished(classifier(), "classifier")
        }
    }

    private static func block(
        _ scope: Scope, _ size: TransformerSize, _ rates: TransformerRates, isFirstPositionEnough: Bool
    ) -> PostNormBlock {
        let (dropout, epsilon) = (rates.dropout, rates.epsilon)
        let (width, maps, output) = (size.width, scope / "attention" / "self", scope / "attention" / "output")
        return PostNormBlock(
            query: Linear.encoding(maps / "query", width, width), key: Linear.encoding(maps / "key", width, width),
            value: Linear.encoding(maps / "value", width, width),
            attention: SelfAttention(maps, heads: size.heads, isCausal: false, dropout: rates.attentionDropout),
            attentionOutput: ResidualLinear(Linear.encoding(output / "dense", width, width), dropout: dropout),
            attentionNorm: LayerNorm(output / "LayerNorm", width: width, epsilon: epsilon),
            feedForward: FeedForward(
                up: Linear.encoding(scope / "intermediate" / "dense", width, size.inner),
                down: Linear.encoding(scope / "output" / "dense", size.inner, width), approximation: .none,
                dropout: dropout),
            outputNorm: LayerNorm(scope / "output" / "LayerNorm", width: width, epsilon: epsilon),
            isFirstPositionEnough: isFirstPositionEnough)
    }

    private static func maskedTokenHead(
        _ scope: Scope, _ words: Parameter, _ size: TransformerSize, epsilon: Float
    ) -> MaskedTokenHead {
        let bias = scope.parameter("bias", shape: [size.vocabulary], role: .bias, initializer: .zeros)
        let transform = scope / "transform"
        return MaskedTokenHead(
            dense: Linear.encoding(transform / "dense", size.width, size.width),
            norm: LayerNorm(transform / "LayerNorm", width: size.width, epsilon: epsilon), weight: words, bias: bias)
    }
}
