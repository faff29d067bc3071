import COneDNN

/// Zeros (or, for pooling, nothing) around an image, in pixels.
public struct SpatialPadding: Hashable, Sendable {
    public var top, bottom, left, right: Int

    public init(top: Int, bottom: Int, left: Int, right: Int) {
        (self.top, self.bottom, self.left, self.right) = (top, bottom, left, right)
    }

    /// The same on all sides.
    public init(_ all: Int) { self.init(top: all, bottom: all, left: all, right: all) }

    public static let zero = SpatialPadding(0)
}

/// Which algorithms convolutions may use.
public enum ConvolutionAlgorithms {
    /// Direct sums only. Otherwise 3×3 convolutions of stride 1 with enough channels and positions use Winograd's
    /// F(4×4, 3×3) (Lavin and Gray 2016, arXiv:1509.09308), which multiplies a quarter as often and rounds more: an
    /// error of about 2e-6 of the largest value in place of 3e-7. Set before anything is computed, the same on all
    /// ranks.
    nonisolated(unsafe) public static var areExact = false
}

/// Two-dimensional convolution (cross-correlation, as the field has it).
///
/// With the activation that follows it fused in:
///
///     y[n,o,i,j] = activation(bias[o] + Σ x[n, c, i·stride + u·dilation - top, j·stride + v·dilation - left] · weight[o,c,u,v])
///
/// - Parameters:
///   - input: N×I×H×W, any layout.
///   - weight: O×(I/groups)×kH×kW. `groups` = I with weight I×1×kH×kW is a depthwise convolution.
///   - bias: O.
///   - stride, dilation: vertical, horizontal.
/// - Returns: N×O×H'×W', in the layout that suits the processor.
/// - Precondition: sizes fit together and the output is not empty.
///
/// Differentiable twice. Checked against PyTorch's `conv2d`.
public func convolution2D(
    _ input: Tensor, weight: Tensor, bias: Tensor? = nil, stride: (Int, Int) = (1, 1),
    padding: SpatialPadding = .zero, dilation: (Int, Int) = (1, 1), groups: Int = 1,
    activation: Activation = .identity
) -> Tensor {
    let geometry = ConvolutionGeometry(
        input: input.shape, weight: weight.shape, stride: stride, padding: padding, dilation: dilation,
        groups: groups)
    // A rank may have no samples of a small last batch: nothing to compute, and zero gradients.
    guard input.shape[0] > 0 else { return emptyConvolution(input, weight, bias, geometry) }
    let plan = ConvolutionPlan.plan(for: geometry, usesBias: bias != nil, activation)
    let output = plan.forward(input, weight, bias)
    let kept = activation == .identity ? nil : output
    let inputs = [input, weight] + (bias.map { [$0] } ?? [])
    return output.recorded("convolution", from: inputs, squaredInputs: 1..<3) { gradient in
        if let kept { gradient = activationGradient(&gradient, output: kept, activation) }
        let inputGradient =
            input.requiresGradient ? convolutionInputGradient(gradient, weight: weight, geometry) : nil
        var weightGradient: Tensor?
        var biasGradient: Tensor?
        if Tape.squaresSamples {
            if weight.requiresGradient { weightGradient = squaredWeightGradient(input, gradient, geometry) }
            if bias?.requiresGradient == true {
                let sums = gradient.sum(axes: [2, 3])
                biasGradient = (sums * sums).sum(axes: [0])
            }
        } else if weight.requiresGradient, bias?.requiresGradient == true, !Tape.isRecording {
            (weightGradient, biasGradient) = plan.parameterGradients(
                input, gradient, into: weight.memoryForGradient())
        } else {
            if weight.requiresGradient {
                weightGradient = convolutionWeightGradient(
                    input, gradient, geometry, into: weight.memoryForGradient())
            }
            if bias?.requiresGradient == true { biasGradient = gradient.sum(axes: [0, 2, 3]) }
        }
        return bias == nil ? [inputGradient, weightGradient] : [inputGradient, weightGradient, biasGradient]
    }
}

/// Σ over samples of the square of one sample's weight gradient.
private func squaredWeightGradient(
    _ input: Tensor, _ gradient: Tensor, _ geometry: ConvolutionGeometry
) -> Tensor {
    var sum = Tensor.zeros(geometry.weight)
    for sample in 0..<input.shape[0] {
        let one = convolutionWeightGradient(
            input.detached.sliced(axis: 0, sample..<sample + 1), gradient.sliced(axis: 0, sample..<sample + 1),
            geometry.ofOneSample)
        sum = sum + one * one
    }
    return sum
}

private func emptyConvolution(
    _ input: Tensor, _ weight: Tensor, _ bias: Tensor?, _ geometry: ConvolutionGeometry
) -> Tensor {
    let inputs = [input, weight] + (bias.map { [$0] } ?? [])
    return Tensor.zeros(geometry.output)
        .recorded("convolution of nothing", from: inputs, squaredInputs: 1..<3) { _ in
            inputs.map { Tensor.zeros($0.shape) }
        }
}

/// The gradient of a convolution's input: a transposed convolution of the output's gradient.
func convolutionInputGradient(_ gradient: Tensor, weight: Tensor, _ geometry: ConvolutionGeometry) -> Tensor {
    ConvolutionPlan.plan(for: geometry, usesBias: false).inputGradient(gradient, weight)
        .recorded("convolution input gradient", from: [gradient, weight]) { second in
            [
                gradient.requiresGradient ? geometry.convolve(second, weight) : nil,
                weight.requiresGradient ? convolutionWeightGradient(second, gradient, geometry) : nil,
            ]
        }
}

/// The gradient of a convolution's weight.
///
/// - Parameter target: where to write it; new memory by default.
func convolutionWeightGradient(
    _ input: Tensor, _ gradient: Tensor, _ geometry: ConvolutionGeometry, into target: Tensor? = nil
) -> Tensor {
    ConvolutionPlan.plan(for: geometry, usesBias: false).parameterGradients(input, gradient, into: target).weight
        .recorded("convolution weight gradient", from: [input, gradient]) { second in
            [
                input.requiresGradient ? convolutionInputGradient(gradient, weight: second, geometry) : nil,
                gradient.requiresGradient ? geometry.convolve(input, second) : nil,
            ]
        }
}

/// Everything that determines which convolution is meant, and so which primitive computes it.
struct ConvolutionGeometry: Hashable {
    let input: [Int]
    let weight: [Int]
    let output: [Int]
    let strideY, strideX, dilationY, dilationX: Int
    let padding: SpatialPadding
    let groups: Int

    init(
        input: [Int], weight: [Int], stride: (Int, Int), padding: SpatialPadding, dilation: (Int, Int),
        groups: Int
    ) {
        precondition(
            input.count == 4 && weight.count == 4,
            "convolution2D: input \(input) must be N×C×H×W and weight \(weight) O×I×kH×kW")
        precondition(
            groups > 0 && input[1] == weight[1] * groups && weight[0] % groups == 0,
            "convolution2D: input \(input) does not fit weight \(weight) with \(groups) groups")
        func outputSize(_ size: Int, _ kernel: Int, _ before: Int, _ after: Int, _ stride: Int, _ dilation: Int) -> Int
        {
            let span = size + before + after - dilation * (kernel - 1) - 1
            return span < 0 ? 0 : span / stride + 1
        }
        let height = outputSize(input[2], weight[2], padding.top, padding.bottom, stride.0, dilation.0)
        let width = outputSize(input[3], weight[3], padding.left, padding.right, stride.1, dilation.1)
        precondition(
            height > 0 && width > 0,
            "convolution2D: input \(input) is smaller than the kernel of weight \(weight) with padding \(padding)")
        self.input = input
        self.weight = weight
        output = [input[0], weight[0], height, width]
        (strideY, strideX) = stride
        (dilationY, dilationX) = dilation
        self.padding = padding
        self.groups = groups
    }

    var ofOneSample: ConvolutionGeometry {
        ConvolutionGeometry(
            input: [1] + input.dropFirst(), weight: weight, stride: (strideY, strideX), padding: padding,
            dilation: (dilationY, dilationX), groups: groups)
    }

    func convolve(_ input: Tensor, _ weight: Tensor) -> Tensor {
        convolution2D(
            input, weight: weight, stride: (strideY, strideX), padding: padding,
            dilation: (dilationY, dilationX), groups: groups)
    }

    /// Whether Winograd's algorithm pays: a function of the layer's shape, never of the batch, so that every rank and
    /// every last batch chooses alike. On AVX-512, one thread, it made 1.3 to 3 times the speed of direct sums from 12
    /// output positions a side on at 4 samples or more (docs/performance.md); below that it is slower.
    var suitsWinograd: Bool {
        !ConvolutionAlgorithms.areExact
            && weight[2] == 3 && weight[3] == 3 && groups == 1
            && (strideY, strideX) == (1, 1) && (dilationY, dilationX) == (1, 1)
            && weight[0] % 16 == 0 && weight[1] % 16 == 0 && min(weight[0], weight[1]) >= 32
            && min(output[2], output[3]) >= 12
    }

    /// Multiplications (each with an addition) of a direct computation.
    var multiplications: Int { output.elementCount * Array(weight.dropFirst()).elementCount }

    /// The weight as oneDNN sees it: groups×O/groups×I/groups×kH×kW where there are groups.
    var weightDimensions: [Int] {
        groups == 1 ? weight : [groups, weight[0] / groups, weight[1], weight[2], weight[3]]
    }
}

/// The compiled forward and backward of one convolution; the backwards are made when first asked for.
///
/// Which algorithm runs is a function of shape and processor: Winograd's where it suits the shape and oneDNN has it
/// for the processor, direct sums elsewhere.
private final class ConvolutionPlan {
    private let geometry: ConvolutionGeometry
    private let usesBias: Bool
    private let weightRows: OpaqueLayout
    private let biasLayout: OpaqueLayout
    private let forwardPrimitive: Primitive
    private let sourceLayout, weightLayout, outputLayout: OpaqueLayout

    private struct Key: Hashable {
        let geometry: ConvolutionGeometry
        let usesBias: Bool
        let activation: Activation
        /// Primitives are compiled for a number of threads.
        let threads: Int
        let isExact: Bool
    }
    private static let cache = PrimitiveCache<Key, ConvolutionPlan>()

    static func plan(
        for geometry: ConvolutionGeometry, usesBias: Bool, _ activation: Activation = .identity
    ) -> ConvolutionPlan {
        let key = Key(
            geometry: geometry, usesBias: usesBias, activation: activation, threads: Threads.count,
            isExact: ConvolutionAlgorithms.areExact)
        return cache.value(for: key) { ConvolutionPlan(geometry, usesBias: usesBias, activation) }
    }

    private init(_ geometry: ConvolutionGeometry, usesBias: Bool, _ activation: Activation) {
        self.geometry = geometry
        self.usesBias = usesBias
        weightRows = .rowMajor(geometry.weightDimensions)
        let biasLayout = OpaqueLayout.rowMajor([geometry.weight[0]])
        self.biasLayout = biasLayout
        let attributes = PrimitiveAttributes(activation: activation)
        let primitive = geometry.primitive("convolution", attributes: attributes) { algorithm, operation in
            geometry.withDescriptors { source, weight, output, strides, dilates, before, after in
                withUnsafePointer(to: biasLayout.descriptor) { bias in
                    dnnl_dilated_convolution_forward_desc_init(
                        &operation, dnnl_forward_training, algorithm, source, weight, usesBias ? bias : nil, output,
                        strides, dilates, before, after)
                }
            }
        }
        forwardPrimitive = primitive
        sourceLayout = primitive.layout(of: DNNL_ARG_SRC)
        weightLayout = primitive.layout(of: DNNL_ARG_WEIGHTS)
        outputLayout = primitive.layout(of: DNNL_ARG_DST)
    }

    func forward(_ input: Tensor, _ weight: Tensor, _ bias: Tensor?) -> Tensor {
        let output = Storage(byteCount: outputLayout.byteCount)
        let learns = weight.requiresGradient && Tape.isRecording
        var arguments = [
            (DNNL_ARG_SRC, sourceLayout, OneDNN.storage(of: input, in: sourceLayout)),
            (DNNL_ARG_WEIGHTS, weightLayout, weight.storage(ofWeightIn: weightLayout, from: weightRows, keep: !learns)),
            (DNNL_ARG_DST, outputLayout, output),
        ]
        if let bias { arguments.append((DNNL_ARG_BIAS, biasLayout, bias.rowMajor.storage)) }
        forwardPrimitive.execute(arguments)
        return Tensor(shape: geometry.output, storage: output, layout: outputLayout.layout(of: geometry.output))
    }

    func inputGradient(_ gradient: Tensor, _ weight: Tensor) -> Tensor {
        let target = Storage(byteCount: inputGradientPrimitive.inputLayout.byteCount)
        let plan = inputGradientPrimitive
        plan.primitive.execute([
            (DNNL_ARG_DIFF_DST, plan.gradientLayout, OneDNN.storage(of: gradient, in: plan.gradientLayout)),
            (
                DNNL_ARG_WEIGHTS, plan.weightLayout,
                weight.storage(ofWeightIn: plan.weightLayout, from: weightRows, keep: !weight.requiresGradient)
            ),
            (DNNL_ARG_DIFF_SRC, plan.inputLayout, target),
        ])
        return Tensor(shape: geometry.input, storage: target, layout: plan.inputLayout.layout(of: geometry.input))
    }

    /// - Parameter target: row-major memory for the weight's gradient; new by default.
    func parameterGradients(
        _ input: Tensor, _ gradient: Tensor, into target: Tensor? = nil
    ) -> (weight: Tensor, bias: Tensor?) {
        let plan = weightGradientPrimitive
        let rows = target ?? Tensor(uninitialized: geometry.weight)
        let isRowMajor = plan.weightLayout.isSame(as: weightRows)
        let blocked = isRowMajor ? rows.storage : Storage(byteCount: plan.weightLayout.byteCount)
        var arguments = [
            (DNNL_ARG_SRC, plan.inputLayout, OneDNN.storage(of: input, in: plan.inputLayout)),
            (DNNL_ARG_DIFF_DST, plan.gradientLayout, OneDNN.storage(of: gradient, in: plan.gradientLayout)),
            (DNNL_ARG_DIFF_WEIGHTS, plan.weightLayout, blocked),
        ]
        let bias = usesBias ? Tensor(uninitialized: [geometry.weight[0]]) : nil
        if let bias { arguments.append((DNNL_ARG_DIFF_BIAS, biasLayout, bias.storage)) }
        plan.primitive.execute(arguments)
        if !isRowMajor { OneDNN.reorder(blocked, plan.weightLayout, to: rows.storage, weightRows) }
        return (rows, bias)
    }

    // MARK: Backward primitives

    private struct BackwardPrimitive {
        let primitive: Primitive
        let inputLayout, weightLayout, gradientLayout: OpaqueLayout
    }

    private lazy var inputGradientPrimitive: BackwardPrimitive = {
        let primitive = geometry.primitive("convolution input gradient", hint: forwardPrimitive) {
            algorithm, operation in
            geometry.withDescriptors { source, weight, output, strides, dilates, before, after in
                dnnl_dilated_convolution_backward_data_desc_init(
                    &operation, algorithm, source, weight, output, strides, dilates, before, after)
            }
        }
        return BackwardPrimitive(
            primitive: primitive, inputLayout: primitive.layout(of: DNNL_ARG_DIFF_SRC),
            weightLayout: primitive.layout(of: DNNL_ARG_WEIGHTS),
            gradientLayout: primitive.layout(of: DNNL_ARG_DIFF_DST))
    }()

    private lazy var weightGradientPrimitive: BackwardPrimitive = {
        let primitive = geometry.primitive("convolution weight gradient", hint: forwardPrimitive) {
            algorithm, operation in
            geometry.withDescriptors { source, weight, output, strides, dilates, before, after in
                withUnsafePointer(to: biasLayout.descriptor) { bias in
                    dnnl_dilated_convolution_backward_weights_desc_init(
                        &operation, algorithm, source, weight, usesBias ? bias : nil, output, strides, dilates, before,
                        after)
                }
            }
        }
        return BackwardPrimitive(
            primitive: primitive, inputLayout: primitive.layout(of: DNNL_ARG_SRC),
            weightLayout: primitive.layout(of: DNNL_ARG_DIFF_WEIGHTS),
            gradientLayout: primitive.layout(of: DNNL_ARG_DIFF_DST))
    }()
}

extension ConvolutionGeometry {
    /// Compiles what `describe` asks for, with Winograd's algorithm where that suits and exists.
    func primitive(
        _ name: StaticString, hint: Primitive? = nil, attributes: PrimitiveAttributes? = nil,
        isDirect: Bool = false,
        _ describe: (dnnl_alg_kind_t, inout dnnl_convolution_desc_t) -> dnnl_status_t
    ) -> Primitive {
        let algorithms =
            suitsWinograd && !isDirect
            ? [dnnl_convolution_winograd, dnnl_convolution_direct]
            : [dnnl_convolution_direct]
        for algorithm in algorithms {
            var operation = dnnl_convolution_desc_t()
            OneDNN.check(describe(algorithm, &operation), name)
            let primitive = Primitive(
                operation: &operation, hint: hint, attributes: attributes, name: name,
                operations: 2 * multiplications)
            if let primitive { return primitive }
        }
        preconditionFailure("oneDNN has no \(name) for \(self)")
    }

    typealias Descriptor = UnsafePointer<dnnl_memory_desc_t>
    typealias Dimensions = UnsafePointer<Int64>

    /// Calls `body` with the given descriptors, by default ones that leave layouts to oneDNN; strides, dilations and
    /// padding.
    func withDescriptors(
        source: dnnl_memory_desc_t? = nil, weight: dnnl_memory_desc_t? = nil, output: dnnl_memory_desc_t? = nil,
        _ body: (Descriptor, Descriptor, Descriptor, Dimensions, Dimensions, Dimensions, Dimensions) -> dnnl_status_t
    ) -> dnnl_status_t {
        var source = source ?? OneDNN.anyLayout(input)
        var weight = weight ?? OneDNN.anyLayout(weightDimensions)
        var output = output ?? OneDNN.anyLayout(self.output)
        let strides = [Int64(strideY), Int64(strideX)]
        // oneDNN counts the holes between taps: 0 for a plain kernel.
        let dilates = [Int64(dilationY - 1), Int64(dilationX - 1)]
        return body(
            &source, &weight, &output, strides, dilates, [Int64(padding.top), Int64(padding.left)],
            [Int64(padding.bottom), Int64(padding.right)])
    }
}

extension Tensor {
    /// A convolution's weight in a layout of oneDNN's choice. The copy is kept where the values will stay and the next
    /// batch wants the same: it is dropped as soon as the weight changes.
    ///
    /// - Parameter rows: the weight's row-major layout, with groups where there are some.
    func storage(ofWeightIn wanted: OpaqueLayout, from rows: OpaqueLayout, keep: Bool) -> Storage {
        guard !wanted.isSame(as: rows) else { return rowMajor.storage }
        if let kept = storage.reordered.first(where: { $0.layout.isSame(as: wanted) }) { return kept.storage }
        let copy = Storage(byteCount: wanted.byteCount)
        OneDNN.reorder(rowMajor.storage, rows, to: copy, wanted)
        if keep { storage.reordered.append((wanted, copy)) }
        return copy
    }
}
