import Tensors

/// Modules side by side on the same input, what they give joined along the channels.
///
/// Input N×C×H×W; output N×O×H′×W′, O the sum of the branches' channels, in their order.
public struct Branches: Module {
    public let path: String
    public let modules: [any Module]

    /// - Parameter path: what errors call it.
    /// - Precondition: there is a module.
    public init(_ path: String, _ modules: [any Module]) {
        precondition(!modules.isEmpty, "\(path): there are no branches to join")
        (self.path, self.modules) = (path, modules)
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        let outputs = try modules.map { try $0(input, context).dequantized }
        _ = try joined(outputs.map(\.shape))
        return concatenated(outputs, axis: 1)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        let shape = try joined(modules.map { try $0.outputShape(for: input, in: pass) })
        pass.record(path, shape)
        return shape
    }

    private func joined(_ shapes: [[Int]]) throws -> [Int] {
        guard var shape = shapes.first, shape.count == 4 else {
            throw LayerError.wrongInput(path: path, expected: "branches that give N×C×H×W", actual: shapes.first ?? [])
        }
        for other in shapes.dropFirst() {
            guard other.count == 4, other[0] == shape[0], other[2...] == shape[2...] else {
                throw LayerError.branchesDiffer(path: path, main: shape, shortcut: other)
            }
            shape[1] += other[1]
        }
        return shape
    }
}
