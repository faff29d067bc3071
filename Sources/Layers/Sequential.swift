import Tensors

/// Modules one after the other.
public struct Sequential: Module {
    public let modules: [Module]
    public init(_ modules: [Module]) { self.modules = modules }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        try modules.reduce(input) { try $1($0, context) }
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try modules.reduce(input) { try $1.outputShape(for: $0, in: pass) }
    }

    public var isRandomInTraining: Bool { modules.contains(where: \.isRandomInTraining) }
}
