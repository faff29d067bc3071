import Tensors

/// A learned row for every token. Input N×T, `Int32`; `weight` V×W; output N×T×W. The gradient is a set of rows.
public struct Embedding: Module {
    public let path: String
    public let weight: Parameter
    /// The token whose row does not learn from where it is looked up; nil where all do.
    public let padding: Int32?

    /// Registers `weight` in `scope`.
    ///
    /// - Parameters:
    ///   - count: V, the number of rows.
    ///   - width: W.
    ///   - padding: the token whose row does not learn, as PyTorch's `padding_idx`.
    public init(_ scope: Scope, count: Int, width: Int, padding: Int32? = nil, initializer: Initializer) {
        path = scope.path
        self.padding = padding
        weight = scope.parameter("weight", shape: [count, width], role: .weight, initializer: initializer)
    }

    /// - Throws: `LayerError.tokenOutOfRange` for a token without a row.
    public func callAsFunction(_ tokens: Tensor, _ context: ForwardContext) throws -> Tensor {
        let rows = weight.shape[0]
        if let token = tokens.indices.first(where: { $0 < 0 || Int($0) >= rows }) {
            throw LayerError.tokenOutOfRange(path: path, token: Int(token), count: rows)
        }
        return weight.value.gathered(rows: tokens, constant: padding)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        let output = input + [weight.shape[1]]
        pass.record(path, output)
        return output
    }
}
