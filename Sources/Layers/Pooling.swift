import Tensors

/// The largest value under a square window. Input N×C×H×W, output N×C×H′×W′; padding never wins.
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
            input, window: (window.size, window.size), stride: (window.stride, window.stride),
            padding: window.padding(for: input.shape))
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
        let size = try window.outputSize(for: input, path: path)
        return [input[0], input[1], size.height, size.width]
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
