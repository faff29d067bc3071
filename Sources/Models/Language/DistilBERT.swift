// DistilBERT: BERT with half the layers and no segments, trained to give what BERT gives.
//
// Paper: Sanh, Debut, Chaumond, Wolf, "DistilBERT, a distilled version of BERT", 2019,
//   https://arxiv.org/abs/1910.01108
// Variants: BERT's blocks, exact GELU, ε 1e-12, dropout 0.1 (none in the embedding variants), and
//   `sequence-classification`: a map with ReLU over the first token, dropout 0.2, a linear classifier
//   (DistilBertForSequenceClassification);
//   `mean-classification`: a linear classifier over the mean of all tokens, which transformers has not;
//   `token-classification`: linear classifier over every token (DistilBertForTokenClassification);
//   `question-answering`: two logits a token, dropout 0.1 before them (DistilBertForQuestionAnswering);
//   `masked-language-model`: transform, then the word embedding as decoder (DistilBertForMaskedLM);
//   `embedding`, `mean-embedding`: the mean over tokens, of unit length or as it is (sentence-transformers).
// Input: tokens N×T, `Int32`; the padding token, 0 unless `padding` of the sizes says otherwise, is seen by no position.
// Weight names: Hugging Face's — distilbert.embeddings.word_embeddings,
//   distilbert.transformer.layer.0.attention.q_lin, …, pre_classifier, classifier, qa_outputs, vocab_transform. Files
//   of the bare DistilBertModel (no `distilbert.`) are read too.
// Checked against: transformers' network of every variant — logits, loss and gradients, with padding
//   (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let distilBERT = Family(
        title: "DistilBERT", names: DistilBERT.sizes.names,
        member: { asked in
            guard let (name, sizes, size) = try DistilBERT.sizes.find(asked) else { return nil }
            let task = try asked.choose(from: EncoderTask.allCases)
            return Member(
                name: name, variant: task, of: EncoderTask.allCases, sizes: sizes,
                input: .tokens(size.tokens(padding: size.padding)), output: task.output, classes: task.classes(size),
                build: { DistilBERT.network($0, task, size, seed: $1) })
        },
        recognise: { DistilBERT.recognise($0) },
        nameMaps: [
            NameMap(
                "Hugging Face, the bare DistilBertModel",
                prefixes: [
                    ("embeddings.", "distilbert.embeddings."), ("transformer.layer.", "distilbert.transformer.layer."),
                ])
        ],
        leftOut: [("distilbert.embeddings.position_ids", "only counts positions")],
        tied: [("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight")],
        heads: [
            "classifier", "pre_classifier", "qa_outputs", "vocab_transform", "vocab_layer_norm", "vocab_projector",
        ],
        huggingFace: DistilBERT.huggingFace)
}

public enum DistilBERT {
    public typealias Variant = EncoderTask

    static let sizes = TransformerSizes(
        name: "distilbert", standard: base, published: [("distilbert_base", base)])

    /// transformers' classes; of several for a task the first is written.
    fileprivate static let classes: [(name: String, task: EncoderTask)] = [
        ("DistilBertForSequenceClassification", .sequenceClassification),
        ("DistilBertForTokenClassification", .tokenClassification),
        ("DistilBertForQuestionAnswering", .questionAnswering), ("DistilBertForMaskedLM", .maskedLanguageModel),
        ("DistilBertModel", .embedding), ("DistilBertModel", .meanEmbedding),
    ]
    private static let base = TransformerSize(
        layers: 6, width: 768, vocabulary: 30_522, positions: 512, padding: 0)
    fileprivate static let huggingFace = HuggingFaceFormat(
        modelType: "distilbert", sizes: sizes,
        classes: classes.map { ($0.name, $0.task.rawValue) },
        keys: [
            ("layers", "n_layers"), ("width", "dim"), ("heads", "n_heads"), ("inner", "hidden_dim"),
            ("vocabulary", "vocab_size"), ("positions", "max_position_embeddings"), ("padding", "pad_token_id"),
        ],
        dropouts: [
            ("dropout", 0.1), ("attention_dropout", 0.1), ("seq_classif_dropout", 0.2), ("qa_dropout", 0.1),
        ],
        attentionDropout: "attention_dropout",
        fixed: [
            ("activation", [.string("gelu")]),
            ("problem_type", [.null, .string("single_label_classification")]),
        ])
    private static let epsilon: Float = 1e-12

    static func recognise(_ weights: WeightShapes) -> Recognition? {
        guard let words = weights["distilbert.embeddings.word_embeddings.weight"], words.count == 2,
            let positions = weights["distilbert.embeddings.position_embeddings.weight"]?.first,
            let inner = weights["distilbert.transformer.layer.0.ffn.lin1.weight"]?.first
        else { return nil }
        let size = TransformerSize(
            layers: weights.count("distilbert.transformer.layer.", ".attention.q_lin.weight"), width: words[1],
            inner: inner, vocabulary: words[0], positions: positions)
        let task: EncoderTask
        if weights.has("classifier.weight") {
            task = weights.has("pre_classifier.weight") ? .sequenceClassification : .tokenClassification
        } else if weights.has("qa_outputs.weight") {
            task = .questionAnswering
        } else {
            task = weights.has("vocab_transform.weight") ? .maskedLanguageModel : .embedding
        }
        return sizes.recognition(size, task.rawValue)
    }

    static func network(
        _ architecture: Architecture, _ task: EncoderTask, _ size: TransformerSize, seed: UInt64
    ) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let (bert, rates) = (scope / "distilbert", TransformerRates(architecture, task.publishedDropout, Self.epsilon))
        let (dropout, epsilon) = (rates.dropout, rates.epsilon)
        let embeddings = NormalizedEmbeddings(bert / "embeddings", size, epsilon: epsilon, dropout: dropout)
        var stages = [
            Stage(name: "embeddings", parameterPrefixes: ["distilbert.embeddings"], module: embeddings)
        ]
        for index in 0..<size.layers {
            let layer = bert / "transformer" / "layer" / index
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
        func head(_ name: String, _ outputs: Int, dropout: Float) -> Sequential {
            Sequential([Dropout(scope / "dropout", rate: dropout), Linear.encoding(scope / name, size.width, outputs)])
        }
        switch task {
        case .sequenceClassification:
            let dense = Linear.encoding(scope / "pre_classifier", size.width, size.width)
            stages.append(
                Stage(
                    name: "pre_classifier", parameterPrefixes: ["pre_classifier"],
                    module: FirstTokenPooler(dense: dense, activation: .relu)))
            return finished(
                head("classifier", architecture.classes, dropout: architecture.dropout ?? 0.2), "classifier",
                newWithHead: "pre_classifier")
        case .tokenClassification:
            return finished(head("classifier", architecture.classes, dropout: dropout), "classifier")
        case .questionAnswering:
            return finished(SpanHead(linear: head("qa_outputs", 2, dropout: dropout)), "qa_outputs")
        case .maskedLanguageModel:
            let bias = (scope / "vocab_projector").parameter(
                "bias", shape: [size.vocabulary], role: .bias, initializer: .zeros)
            let head = MaskedTokenHead(
                dense: Linear.encoding(scope / "vocab_transform", size.width, size.width),
                norm: LayerNorm(scope / "vocab_layer_norm", width: size.width, epsilon: epsilon),
                weight: embeddings.words.weight, bias: bias)
            return finished(head, "vocab_*")
        case .embedding, .meanEmbedding, .meanClassification:
            stages.append(
                Stage(
                    name: "pooling", parameterPrefixes: [], module: MeanPooling(hasUnitLength: task == .embedding)))
            guard task == .meanClassification else { return finished(Sequential([]), "embedding") }
            return finished(head("classifier", architecture.classes, dropout: dropout), "classifier")
        }
    }

    private static func block(
        _ scope: Scope, _ size: TransformerSize, _ rates: TransformerRates, isFirstPositionEnough: Bool
    ) -> PostNormBlock {
        let (dropout, epsilon) = (rates.dropout, rates.epsilon)
        let (width, maps) = (size.width, scope / "attention")
        return PostNormBlock(
            query: Linear.encoding(maps / "q_lin", width, width), key: Linear.encoding(maps / "k_lin", width, width),
            value: Linear.encoding(maps / "v_lin", width, width),
            attention: SelfAttention(maps, heads: size.heads, isCausal: false, dropout: rates.attentionDropout),
            // transformers drops nothing behind the attention's output map.
            attentionOutput: ResidualLinear(Linear.encoding(maps / "out_lin", width, width), dropout: 0),
            attentionNorm: LayerNorm(scope / "sa_layer_norm", width: width, epsilon: epsilon),
            feedForward: FeedForward(
                up: Linear.encoding(scope / "ffn" / "lin1", width, size.inner),
                down: Linear.encoding(scope / "ffn" / "lin2", size.inner, width), approximation: .none, dropout: dropout
            ),
            outputNorm: LayerNorm(scope / "output_layer_norm", width: width, epsilon: epsilon),
            isFirstPositionEnough: isFirstPositionEnough)
    }
}
