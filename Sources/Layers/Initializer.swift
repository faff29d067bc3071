import Tensors

/// How a parameter's first values are drawn. Fans are counted as PyTorch does: for a weight
/// O×I/groups×kH×kW, fan in is I/groups·kH·kW and fan out is O·kH·kW.
public enum Initializer: Equatable, Sendable {
    public enum Fan: Sendable { case fanIn, fanOut }

    case zeros, ones
    /// Normal with standard deviation √(2/fan) (He et al. 2015, https://arxiv.org/abs/1502.01852):
    /// torchvision's convolutions by fan out, others by fan in.
    case kaimingNormal(Fan)
    /// Uniform in ±1/√fan: what `torch.nn.Conv2d` and `Linear` do by themselves, for their biases
    /// with the fan in of the weight.
    case uniform(fan: Int)
    /// Uniform in ±√(6/(fan in + fan out)) (Glorot and Bengio 2010): what Keras does by itself.
    case glorotUniform
    /// Normal around 0.
    case normal(standardDeviation: Float)

    /// PyTorch's own default for a weight of this shape.
    public static func pytorchDefault(_ shape: [Int]) -> Initializer { .uniform(fan: fanIn(shape)) }

    static func fanIn(_ shape: [Int]) -> Int { shape.dropFirst().reduce(1, *) }
    static func fanOut(_ shape: [Int]) -> Int { (shape.first ?? 1) * shape.dropFirst(2).reduce(1, *) }

    /// Draws a tensor. The same key gives the same values, whatever else is drawn.
    public func tensor(shape: [Int], key: RandomKey) -> Tensor {
        func size(_ fan: Fan) -> Float { Float(fan == .fanIn ? Self.fanIn(shape) : Self.fanOut(shape)) }
        func normal(_ deviation: Float) -> Tensor { .normal(shape, standardDeviation: deviation, key: key) }
        func uniform(_ bound: Float) -> Tensor { .uniform(shape, in: -bound..<bound, key: key) }
        switch self {
        case .zeros: return .zeros(shape)
        case .ones: return .ones(shape)
        case .kaimingNormal(let fan): return normal((2 / size(fan)).squareRoot())
        case .uniform(let fan): return uniform(1 / Float(fan).squareRoot())
        case .glorotUniform: return uniform((6 / (size(.fanIn) + size(.fanOut))).squareRoot())
        case .normal(let deviation): return normal(deviation)
        }
    }
}
