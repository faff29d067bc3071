import COneDNN

/// The largest value in each window. Padding never wins.
///
/// - Parameters:
///   - input: N×C×H×W, any layout.
///   - window, stride: vertical, horizontal, in pixels.
/// - Returns: N×C×H'×W', sizes rounded down.
public func maxPool2D(
    _ input: Tensor, window: (Int, Int), stride: (Int, Int), padding: SpatialPadding = .zero
) -> Tensor {
    pool(input, PoolingGeometry(input, window, stride, padding, .maximum))
}

/// The mean of each window.
///
/// - Parameters:
///   - input: N×C×H×W, any layout.
///   - window, stride: vertical, horizontal, in pixels.
///   - countsPadding: whether the divisor is the window's size (as in PyTorch) or the number of pixels
///     in it that belong to the image (as in Keras).
/// - Returns: N×C×H'×W', sizes rounded down.
public func averagePool2D(
    _ input: Tensor, window: (Int, Int), stride: (Int, Int), padding: SpatialPadding = .zero,
    countsPadding: Bool = true
) -> Tensor {
    pool(
        input.dequantized,
        PoolingGeometry(input, window, stride, padding, countsPadding ? .averageOfWindow : .averageOfImage))
}

/// The mean over all positions: N×C×H×W → N×C, row-major.
public func globalAveragePool(_ input: Tensor) -> Tensor {
    precondition(input.rank == 4, "globalAveragePool: the input \(input.shape) is not N×C×H×W")
    let (n, c, h, w) = (input.shape[0], input.shape[1], input.shape[2], input.shape[3])
    return averagePool2D(input, window: (h, w), stride: (h, w)).reshaped([n, c])
}

private func pool(_ input: Tensor, _ geometry: PoolingGeometry) -> Tensor {
    guard input.shape[0] > 0 else {
        return Tensor.zeros(geometry.output).recorded("pooling of nothing", from: [input]) { _ in
            [Tensor.zeros(geometry.input)]
        }
    }
    let plan = PoolingPlan.plan(for: geometry, input, learns: input.requiresGradient && Tape.isRecording)
    let (output, workspace) = plan.forward(input)
    return output.recorded("pooling", from: [input]) { gradient in
        [poolGradient(gradient, geometry, plan, workspace)]
    }
}

/// Spreads gradients over the windows they came from. Linear: its own gradient pools with the same winners.
private func poolGradient(
    _ gradient: Tensor, _ geometry: PoolingGeometry, _ plan: PoolingPlan, _ workspace: Storage?
) -> Tensor {
    plan.backward(gradient, workspace).recorded("pooling gradient", from: [gradient]) { second in
        switch geometry.kind {
        case .averageOfWindow, .averageOfImage: return [pool(second, geometry)]
        case .maximum: return [plan.gatherWinners(of: second, like: gradient.shape, workspace)]
        }
    }
}

private struct PoolingGeometry: Hashable {
    enum Kind { case maximum, averageOfWindow, averageOfImage }
    let input: [Int]
    let output: [Int]
    let windowY, windowX, strideY, strideX: Int
    let padding: SpatialPadding
    let kind: Kind

    init(
        _ input: Tensor, _ window: (Int, Int), _ stride: (Int, Int), _ padding: SpatialPadding, _ kind: Kind
    ) {
        precondition(input.rank == 4, "pooling: the input \(input.shape) is not N×C×H×W")
        let height = input.shape[2] + padding.top + padding.bottom - window.0
        let width = input.shape[3] + padding.left + padding.right - window.1
        precondition(
            height >= 0 && width >= 0 && stride.0 > 0 && stride.1 > 0,
            "pooling: the window \(window) with stride \(stride) does not fit the input \(input.shape) with padding \(padding)"
        )
        self.input = input.shape
        output = [input.shape[0], input.shape[1], height / stride.0 + 1, width / stride.1 + 1]
        (windowY, windowX) = window
        (strideY, strideX) = stride
        self.padding = padding
        self.kind = kind
    }

    var algorithm: dnnl_alg_kind_t {
        switch kind {
        case .maximum: dnnl_pooling_max
        case .averageOfWindow: dnnl_pooling_avg_include_padding
        case .averageOfImage: dnnl_pooling_avg_exclude_padding
        }
    }
}

private final class PoolingPlan {
    private let geometry: PoolingGeometry
    private let sourceLayout, outputLayout: OpaqueLayout
    private let workspaceLayout: OpaqueLayout?
    private let forwardPrimitive: Primitive

    private struct Key: Hashable {
        let geometry: PoolingGeometry
        let source: LayoutKey
        let type: ElementType
        let learns: Bool
        let threads: Int
    }
    private static let cache = PrimitiveCache<Key, PoolingPlan>()

    /// - Parameter learns: whether a backward will want to know which elements won.
    static func plan(for geometry: PoolingGeometry, _ input: Tensor, learns: Bool) -> PoolingPlan {
        let source = input.opaqueLayout
        let key = Key(
            geometry: geometry, source: LayoutKey(source), type: input.elementType, learns: learns,
            threads: Threads.count)
        return cache.value(for: key) { PoolingPlan(geometry, source: source, input.elementType, learns: learns) }
    }

    private init(_ geometry: PoolingGeometry, source: OpaqueLayout, _ type: ElementType, learns: Bool) {
        self.geometry = geometry
        sourceLayout = source
        var operation = dnnl_pooling_desc_t()
        var output = OneDNN.anyLayout(geometry.output, type)
        Self.withDimensions(geometry) { strides, window, before, after in
            OneDNN.check(
                dnnl_pooling_forward_desc_init(
                    &operation, learns ? dnnl_forward_training : dnnl_forward_inference, geometry.algorithm,
                    &source.descriptor, &output, strides, window, before, after),
                "dnnl_pooling_forward_desc_init")
        }
        guard let primitive = Primitive(operation: &operation, name: "pooling") else {
            preconditionFailure("oneDNN has no pooling for \(geometry)")
        }
        forwardPrimitive = primitive
        outputLayout = primitive.layout(of: DNNL_ARG_DST)
        workspaceLayout = learns && geometry.kind == .maximum ? primitive.layout(of: DNNL_ARG_WORKSPACE) : nil
    }

    func forward(_ input: Tensor) -> (Tensor, workspace: Storage?) {
        let output = Storage(byteCount: outputLayout.byteCount, elementType: input.elementType)
        output.quantizationStep = input.storage.quantizationStep
        let workspace = workspaceLayout.map { Storage(byteCount: $0.byteCount, elementType: .uint8) }
        var arguments = [(DNNL_ARG_SRC, sourceLayout, input.storage), (DNNL_ARG_DST, outputLayout, output)]
        if let workspace, let workspaceLayout {
            arguments.append((DNNL_ARG_WORKSPACE, workspaceLayout, workspace))
        }
        forwardPrimitive.execute(arguments)
        let tensor = Tensor(
            shape: geometry.output, storage: output, layout: outputLayout.layout(of: geometry.output))
        return (tensor, workspace)
    }

    func backward(_ gradient: Tensor, _ workspace: Storage?) -> Tensor {
        let target = Storage(byteCount: sourceLayout.byteCount)
        var arguments = [
            (DNNL_ARG_DIFF_DST, outputLayout, OneDNN.storage(of: gradient, in: outputLayout)),
            (DNNL_ARG_DIFF_SRC, sourceLayout, target),
        ]
        if let workspace, let workspaceLayout {
            arguments.append((DNNL_ARG_WORKSPACE, workspaceLayout, workspace))
        }
        backwardPrimitive.execute(arguments)
        return Tensor(shape: geometry.input, storage: target, layout: sourceLayout.layout(of: geometry.input))
    }

    private lazy var backwardPrimitive: Primitive = {
        var operation = dnnl_pooling_desc_t()
        Self.withDimensions(geometry) { strides, window, before, after in
            OneDNN.check(
                dnnl_pooling_backward_desc_init(
                    &operation, geometry.algorithm, &sourceLayout.descriptor, &outputLayout.descriptor, strides,
                    window, before, after),
                "dnnl_pooling_backward_desc_init")
        }
        guard let primitive = Primitive(operation: &operation, hint: forwardPrimitive, name: "pooling gradient") else {
            preconditionFailure("oneDNN has no backward pooling for \(geometry)")
        }
        return primitive
    }()

    /// The values of `tensor` at the positions that won the maximum: for second derivatives, where speed
    /// does not matter. The winners are found by sending one marked gradient back through each window.
    func gatherWinners(of tensor: Tensor, like shape: [Int], _ workspace: Storage?) -> Tensor {
        let values = tensor.scalars
        let (height, width) = (geometry.output[2], geometry.output[3])
        var result = [Float](repeating: 0, count: shape.elementCount)
        let plane = geometry.input[2] * geometry.input[3]
        for y in 0..<height {
            for x in 0..<width {
                let marked = Tensor(shape: shape) { marks in
                    marks.update(repeating: 0)
                    for image in 0..<shape[0] * shape[1] { marks[(image * height + y) * width + x] = 1 }
                }
                let sent = backward(marked, workspace).scalars
                for image in 0..<shape[0] * shape[1] {
                    for p in image * plane..<(image + 1) * plane where sent[p] != 0 {
                        result[(image * height + y) * width + x] = values[p]
                    }
                }
            }
        }
        return Tensor(result, shape: shape)
    }

    private static func withDimensions(
        _ geometry: PoolingGeometry,
        _ body: (UnsafePointer<Int64>, UnsafePointer<Int64>, UnsafePointer<Int64>, UnsafePointer<Int64>) -> Void
    ) {
        body(
            [Int64(geometry.strideY), Int64(geometry.strideX)], [Int64(geometry.windowY), Int64(geometry.windowX)],
            [Int64(geometry.padding.top), Int64(geometry.padding.left)],
            [Int64(geometry.padding.bottom), Int64(geometry.padding.right)])
    }
}
