import Tensors

/// What is added around an image before a window slides over it.
public enum PaddingRule: Equatable, Sendable {
    /// The same number of zeros on all four sides.
    case symmetric(Int)
    /// Zeros at the bottom and right only: Keras' `ZeroPadding2D(((0, 1), (0, 1)))`.
    case bottomRight(Int)
    /// Keras' and TensorFlow's "same": the output has ⌈size/stride⌉ positions, and where the zeros
    /// needed are odd in number, the bottom and right get one more.
    case same

    /// The zeros on each side, for an input of the given height and width.
    public func padding(height: Int, width: Int, window: (Int, Int), stride: (Int, Int)) -> SpatialPadding {
        switch self {
        case .symmetric(let all): return SpatialPadding(all)
        case .bottomRight(let all): return SpatialPadding(top: 0, bottom: all, left: 0, right: all)
        case .same:
            let vertical = Self.total(height, window.0, stride.0)
            let horizontal = Self.total(width, window.1, stride.1)
            return SpatialPadding(
                top: vertical / 2, bottom: vertical - vertical / 2,
                left: horizontal / 2, right: horizontal - horizontal / 2)
        }
    }

    private static func total(_ size: Int, _ window: Int, _ stride: Int) -> Int {
        let outputs = (size + stride - 1) / stride
        return max(0, (outputs - 1) * stride + window - size)
    }
}

/// A window that slides over an image: the geometry convolutions and pooling share.
public struct SlidingWindow: Equatable, Sendable {
    /// In pixels.
    public var height: Int
    /// In pixels.
    public var width: Int
    /// By how many pixels it moves at once, in both directions.
    public var stride: Int
    public var padding: PaddingRule

    /// A square one.
    public init(_ size: Int, stride: Int = 1, padding: PaddingRule) {
        self.init(height: size, width: size, stride: stride, padding: padding)
    }

    public init(height: Int, width: Int, stride: Int = 1, padding: PaddingRule) {
        self.height = height
        self.width = width
        self.stride = stride
        self.padding = padding
    }

    /// The zeros around an input N×C×H×W.
    public func padding(for input: [Int]) -> SpatialPadding {
        padding.padding(height: input[2], width: input[3], window: (height, width), stride: (stride, stride))
    }

    /// Output height and width for an input N×C×H×W.
    ///
    /// - Throws: `LayerError.inputTooSmall` where the window does not fit.
    public func outputSize(for input: [Int], path: String) throws -> (height: Int, width: Int) {
        let pad = padding(for: input)
        let rows = input[2] + pad.top + pad.bottom - height
        let columns = input[3] + pad.left + pad.right - width
        guard input[2] > 0, input[3] > 0, rows >= 0, columns >= 0 else {
            throw LayerError.inputTooSmall(path: path, window: [height, width], actual: [input[2], input[3]])
        }
        return (rows / stride + 1, columns / stride + 1)
    }
}

/// Two-dimensional convolution, and the activation that follows it.
///
/// Input N×C×H×W; `weight` O×(C/groups)×kH×kW; `bias` O; output N×O×H′×W′. Depthwise where `groups` is
/// the number of input channels.
public struct Convolution2D: Module {
    public let path: String
    public let weight: Parameter
    public let bias: Parameter?
    public let window: SlidingWindow
    public let groups: Int
    public let activation: Activation

    /// Registers `weight` (and `bias`) in `scope`.
    public init(
        _ scope: Scope, inputChannels: Int, outputChannels: Int, window: SlidingWindow, groups: Int = 1,
        usesBias: Bool = false, activation: Activation = .identity, initializer: Initializer? = nil,
        biasInitializer: Initializer? = nil
    ) {
        let shape = [outputChannels, inputChannels / groups, window.height, window.width]
        path = scope.path
        self.window = window
        self.groups = groups
        self.activation = activation
        weight = scope.parameter(
            "weight", shape: shape, role: .weight, initializer: initializer ?? .pytorchDefault(shape))
        bias =
            usesBias
            ? scope.parameter(
                "bias", shape: [outputChannels], role: .bias,
                initializer: biasInitializer ?? .pytorchDefault(shape))
            : nil
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        if let folded = context.folded, !context.isTraining {
            return try folded.run(self, nil, input, activation: activation)
        }
        _ = try outputShape(of: input.shape)
        return convolution2D(
            input, weight: weight.value, bias: bias?.value, stride: (window.stride, window.stride),
            padding: window.padding(for: input.shape), groups: groups, activation: activation)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        let output = try outputShape(of: input)
        pass.record(
            path, output, multiplications: output.reduce(1, *) * weight.shape.dropFirst().reduce(1, *))
        return output
    }

    func outputShape(of input: [Int]) throws -> [Int] {
        let channels = weight.shape[1] * groups
        guard input.count == 4, input[1] == channels else {
            throw LayerError.wrongInput(path: path, expected: "N×\(channels)×H×W", actual: input)
        }
        let size = try window.outputSize(for: input, path: path)
        return [input[0], weight.shape[0], size.height, size.width]
    }
}
