import Tensors

/// Multi-head attention of a sequence to itself (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762), between its
/// input maps and its output map, which belong to the block.
///
/// Input N×T×W for each of query (which may be of fewer positions), key and value, or N×T×3W where one map gives them
/// side by side; output as the query. In
/// training probabilities are dropped with `dropout`. Keys at which the context's mask is -∞ count nothing. Where the
/// context has a cache, the positions follow those that it holds, and see these too.
public struct SelfAttention {
    public let path: String
    public let heads: Int
    /// Whether a position sees only itself and those before it.
    public let isCausal: Bool
    /// The rate at which probabilities are dropped in training.
    public let dropout: Float

    public init(_ scope: Scope, heads: Int, isCausal: Bool, dropout: Float) {
        (path, self.heads, self.isCausal, self.dropout) = (scope.path, heads, isCausal, dropout)
    }

    public func callAsFunction(_ query: Tensor, _ key: Tensor, _ value: Tensor, _ context: ForwardContext) -> Tensor {
        attention(
            query: query, key: key, value: value, mask: context.keyMask, rule(query.shape[1], key.shape[1], context))
    }

    /// - Parameter packed: N×T×3W: query, key and value side by side.
    public func callAsFunction(packed: Tensor, _ context: ForwardContext) -> Tensor {
        guard let cache = context.cache else {
            return attention(
                packed: packed, mask: context.keyMask, rule(packed.shape[1], packed.shape[1], context))
        }
        let width = packed.shape[2] / 3
        let parts = (0..<3).map { packed.sliced(axis: 2, $0 * width..<($0 + 1) * width) }
        let (key, value, position) = cache.extend(path, key: parts[1], value: parts[2])
        var rule = self.rule(packed.shape[1], key.shape[1], context)
        rule.position = position
        return attention(query: parts[0], key: key, value: value, mask: context.keyMask, rule)
    }

    private func rule(_ queries: Int, _ keys: Int, _ context: ForwardContext) -> AttentionRule {
        var rule = AttentionRule(heads: heads)
        rule.isCausal = isCausal
        if context.isTraining, dropout > 0 {
            let key = RandomKey(seed: context.seed, purpose: .dropout, path: path, epoch: context.epoch)
            rule.dropout = (dropout, key, context.position * heads * queries * keys)
        }
        return rule
    }
}
