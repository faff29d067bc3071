import Tensors

/// The largest value under a window. Input N×C×H×W, output N×C×H′×W′; padding never wins.
public struct MaxPool2D: Module {
    public let path: String
    public let window: SlidingWindow

    public init(_ path: String, window: SlidingWindow) {
        self.path = path
        self.window = window
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        _ = try outputShape(of: input.shape)
        return maxPool2D(
            input, window: (window.height, window.width), stride: (window.stride, window.stride),
            padding: window.padding(for: input.shape))
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        let output = try outputShape(of: input)
        pass.record(path, output)
        return output
    }

    private func outputShape(of input: [Int]) throws -> [Int] {
        try window.outputShape(ofPooling: input, path: path)
    }
}

/// The mean under a window. Input N×C×H×W, output N×C×H′×W′.
public struct AveragePool2D: Module {
    public let path: String
    public let window: SlidingWindow
    /// Whether zeros around the image count, as in PyTorch (`count_include_pad`), or the divisor is the number of pixels
    /// in the window that belong to the image, as in Keras.
    public let countsPadding: Bool

    public init(_ path: String, window: SlidingWindow, countsPadding: Bool) {
        (self.path, self.window, self.countsPadding) = (path, window, countsPadding)
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        _ = try outputShape(of: input.shape)
        return averagePool2D(
            input, window: (window.height, window.width), stride: (window.stride, window.stride),
            padding: window.padding(for: input.shape), countsPadding: countsPadding)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        let output = try outputShape(of: input)
        pass.record(path, output)
        return output
    }

    private func outputShape(of input: [Int]) throws -> [Int] {
        try window.outputShape(ofPooling: input, path: path)
    }
}

extension SlidingWindow {
    fileprivate func outputShape(ofPooling input: [Int], path: String) throws -> [Int] {
        guard input.count == 4 else {
            throw LayerError.wrongInput(path: path, expected: "N×C×H×W", actual: input)
        }
        let size = try outputSize(for: input, path: path)
        return [input[0], input[1], size.height, size.width]
    }
}

/// Zeros around an image as values like any other: the largest of a window may be one of them, where `MaxPool2D`'s own
/// padding never wins (Keras's `ZeroPadding2D` before a pooling). Input N×C×H×W, output N×C×(H + top + bottom)×(W + left
/// + right).
public struct ZeroPadding: Module {
    public let path: String
    public let padding: SpatialPadding

    public init(_ path: String, _ padding: SpatialPadding) {
        (self.path, self.padding) = (path, padding)
    }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        _ = try outputShape(of: input.shape)
        return input.dequantized.padded([
            (0, 0), (0, 0), (padding.top, padding.bottom), (padding.left, padding.right),
        ])
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        let output = try outputShape(of: input)
        pass.record(path, output)
        return output
    }

    private func outputShape(of input: [Int]) throws -> [Int] {
        guard input.count == 4 else {
            throw LayerError.wrongInput(path: path, expected: "N×C×H×W", actual: input)
        }
        return [
            input[0], input[1], input[2] + padding.top + padding.bottom, input[3] + padding.left + padding.right,
        ]
    }
}

/// The mean over all positions. Input N×C×H×W, output N×C.
public struct GlobalAveragePool: Module {
    public init() {}

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        globalAveragePool(input)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        guard input.count == 4 else {
            throw LayerError.wrongInput(path: "global average pool", expected: "N×C×H×W", actual: input)
        }
        return [input[0], input[1]]
    }
}

/// The mean over windows that divide an image of any size into `size`×`size` parts, which overlap where they must:
/// part i covers positions ⌊i·H/size⌋ up to ⌈(i+1)·H/size⌉ (PyTorch's `AdaptiveAvgPool2d`). Input N×C×H×W, output
/// N×C×size×size.
public struct AdaptiveAveragePool: Module {
    public let size: Int
    public init(_ size: Int) { self.size = size }

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        let shape = try outputShape(of: input.shape)
        let input = input.dequantized
        guard shape != input.shape else { return input }
        let rows = matmul(weights(for: input.shape[2]), input)
        return matmul(rows, weights(for: input.shape[3]), transposeB: true)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] { try outputShape(of: input) }

    private func outputShape(of input: [Int]) throws -> [Int] {
        guard input.count == 4, input[2] > 0, input[3] > 0 else {
            throw LayerError.wrongInput(path: "adaptive average pool", expected: "N×C×H×W", actual: input)
        }
        return [input[0], input[1], size, size]
    }

    /// size×positions: what each position weighs in each part.
    private func weights(for positions: Int) -> Tensor {
        Tensor(shape: [size, positions]) { values in
            values.update(repeating: 0)
            for part in 0..<size {
                let (start, end) = (part * positions / size, ((part + 1) * positions + size - 1) / size)
                for position in start..<end { values[part * positions + position] = 1 / Float(end - start) }
            }
        }
    }
}

/// N×C×H×W as N×(C·H·W).
public struct Flatten: Module {
    public init() {}

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        input.dequantized.flattened()
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
        [input.first ?? 0, input.dropFirst().reduce(1, *)]
    }
}

/// max(x, 0), of any shape.
public struct ReLU: Module {
    public init() {}

    public func callAsFunction(_ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        activated(input.dequantized, .relu)
    }

    public func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] { input }
}
