import Layers
import Tensors

/// dropout(norm(word + position + segment)). Input N×T tokens, output N×T×width.
struct NormalizedEmbeddings: Module {
    let words: Embedding
    private let positions: Embedding
    /// nil where the network tells no segments apart.
    private let segments: Embedding?
    private let norm: LayerNorm
    private let dropout: Dropout

    /// Registers the tables and the norm in `scope`, under BERT's names.
    init(_ scope: Scope, _ size: TransformerSize, epsilon: Float, dropout: Float) {
        func embedding(_ name: String, _ count: Int, padding: Int? = nil) -> Embedding {
            Embedding(
                scope / name, count: count, width: size.width, padding: padding.map(Int32.init),
                initializer: .normal(standardDeviation: 0.02))
        }
        words = embedding("word_embeddings", size.vocabulary, padding: size.padding)
        positions = embedding("position_embeddings", size.positions)
        segments = size.segments > 0 ? embedding("token_type_embeddings", size.segments) : nil
        norm = LayerNorm(scope / "LayerNorm", width: size.width, epsilon: epsilon)
        self.dropout = Dropout(scope / "dropout", rate: dropout)
    }

    func callAsFunction(_ tokens: Tensor, _ context: ForwardContext) throws -> Tensor {
        let length = tokens.shape[1]
        let places = Tensor(indices: (0..<Int32(length)).map { $0 }, shape: [length])
        var place = try positions(places, context)
        if let segments {
            let first = Tensor(indices: [Int32](repeating: 0, count: length), shape: [length])
            place = try place + segments(context.segments ?? first, context)
        }
        return try dropout(norm(words(tokens, context) + place, context), context)
    }

    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try norm.outputShape(for: words.outputShape(for: input, in: pass), in: pass)
    }
}

/// A block of the first transformers (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762): attention and
/// feed-forward, each added to its input and then normalised. Input and output N×T×width; output N×1×width where the
/// first position is enough.
struct PostNormBlock: Module {
    let query, key, value: Linear
    let attention: SelfAttention
    let attentionOutput: ResidualLinear
    let attentionNorm: LayerNorm
    let feedForward: FeedForward
    let outputNorm: LayerNorm
    /// Whether what follows reads the first position alone, so that no other is computed.
    let isFirstPositionEnough: Bool

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
        let asking = isFirstPositionEnough ? x.sliced(axis: 1, 0..<1) : x
        let seen = try attention(query(asking, context), key(x, context), value(x, context), context)
        let middle = try attentionNorm(attentionOutput(seen, residual: asking, context), context)
        return try outputNorm(feedForward(middle, residual: middle, context), context)
    }

    func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        for map in [key, value] { _ = try map.outputShape(for: input, in: pass) }
        let asking = isFirstPositionEnough && input.count == 3 ? [input[0], 1, input[2]] : input
        let seen = try query.outputShape(for: asking, in: pass)
        let middle = try attentionNorm.outputShape(
            for: attentionOutput.linear.outputShape(for: seen, in: pass), in: pass)
        return try outputNorm.outputShape(for: feedForward.outputShape(for: middle, in: pass), in: pass)
    }
}

extension Linear {
    /// As BERT starts all its maps: weights normal with deviation 0.02, biases 0.
    static func encoding(_ scope: Scope, _ inputs: Int, _ outputs: Int) -> Linear {
        Linear(
            scope, inputs: inputs, outputs: outputs, initializer: .normal(standardDeviation: 0.02),
            biasInitializer: .zeros)
    }
}
