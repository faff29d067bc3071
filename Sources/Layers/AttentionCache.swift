import Tensors

/// Keys and values that causal attention has computed of some sequences, so that a pass over what follows them computes
/// new positions only. A network's pass with it in the context adds the positions of its input, off the tape.
public final class AttentionCache {
    /// By the path of the attention: N×T×W each.
    private var held: [String: (key: Tensor, value: Tensor)] = [:]

    public init() {}

    /// T, the positions held.
    public var length: Int { held.values.map { $0.key.shape[1] }.min() ?? 0 }

    /// Adds keys and values of new positions, N×t×W.
    ///
    /// - Returns: all of them, N×(T+t)×W, and T.
    func extend(_ path: String, key: Tensor, value: Tensor) -> (key: Tensor, value: Tensor, position: Int) {
        let (earlier, new) = (held[path], (key: key.detached, value: value.detached))
        let all = earlier.map {
            (key: concatenated([$0.key, new.key], axis: 1), value: concatenated([$0.value, new.value], axis: 1))
        }
        held[path] = all ?? new
        return ((all ?? new).key, (all ?? new).value, earlier?.key.shape[1] ?? 0)
    }
}
