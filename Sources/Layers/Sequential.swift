import Tensors

/// Modules one after the other.
public struct Sequential: Module {
    public let modules: [Module]
    /// Whether the modules are blocks, each large enough to be recomputed for itself; else the whole is.
    public let areBlocks: Bool

    public init(_ modules: [Module], areBlocks: Bool = false) {
        self.modules = modules
        self.areBlocks = areBlocks
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        try modules.reduce(input) { try $1($0, context) }
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        try modules.reduce(input) { try $1.outputShape(for: $0, in: pass) }
    }

    public var segments: [any Module] { areBlocks ? modules.flatMap(\.segments) : [self] }
}
