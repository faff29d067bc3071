import COneDNN

/// Two-dimensional convolution off the tape, with all that follows it in an inference pass fused in:
///
///     activation(convolution(input, weight) + bias + residual)
///
/// - Parameters:
///   - input: N×I×H×W, any layout.
///   - weight: O×(I/groups)×kH×kW. Its copy in the layout that suits the processor is kept with it.
///   - bias: O.
///   - residual: N×O×H'×W', any layout.
///   - stride, dilation: vertical, horizontal.
/// - Returns: N×O×H'×W', in the layout that suits the processor; it has no gradient.
/// - Precondition: sizes fit together and the output is not empty.
///
/// The algorithm is that of `convolution2D`: a function of the layer's shape, never of the batch.
public func fusedConvolution2D(
    _ input: Tensor, weight: Tensor, bias: Tensor? = nil, residual: Tensor? = nil, stride: (Int, Int) = (1, 1),
    padding: SpatialPadding = .zero, dilation: (Int, Int) = (1, 1), groups: Int = 1,
    activation: Activation = .identity
) -> Tensor {
    let geometry = ConvolutionGeometry(
        input: input.shape, weight: weight.shape, stride: stride, padding: padding, dilation: dilation, groups: groups)
    precondition(
        input.elementType == .float32 && residual?.elementType ?? .float32 == .float32,
        "fusedConvolution2D: the input holds \(input.elementType), not float32")
    precondition(
        residual == nil || residual?.shape == geometry.output,
        "fusedConvolution2D: a residual \(residual?.shape ?? []) for an output \(geometry.output)")
    guard input.shape[0] > 0 else { return Tensor.zeros(geometry.output) }
    let key = FusedConvolution.Key(
        geometry: geometry, usesBias: bias != nil, hasResidual: residual != nil, activation: activation,
        threads: Threads.count, isExact: ConvolutionAlgorithms.areExact)
    return FusedConvolution.cache.value(for: key) { FusedConvolution(key) }.run(input, weight, bias, residual)
}

/// A compiled convolution with bias, residual and activation.
private final class FusedConvolution {
    struct Key: Hashable {
        let geometry: ConvolutionGeometry
        let usesBias, hasResidual: Bool
        let activation: Activation
        /// Primitives are compiled for a number of threads.
        let threads: Int
        let isExact: Bool
    }
    static let cache = PrimitiveCache<Key, FusedConvolution>()

    private let geometry: ConvolutionGeometry
    private let primitive: Primitive
    private let weightRows, biasLayout: OpaqueLayout
    private let sourceLayout, weightLayout, outputLayout: OpaqueLayout
    /// Whether the residual is put where the output goes: Winograd's algorithm knows no other way, and it costs a copy.
    private let addsInPlace: Bool

    init(_ key: Key) {
        geometry = key.geometry
        weightRows = .rowMajor(geometry.weightDimensions)
        biasLayout = .rowMajor([geometry.weight[0]])
        let plain = Self.primitive(key, residual: nil)
        addsInPlace = geometry.suitsWinograd
        let residual: PrimitiveAttributes.Residual =
            addsInPlace ? .inPlace : .argument(plain.layout(of: DNNL_ARG_DST))
        primitive = key.hasResidual ? Self.primitive(key, residual: residual) : plain
        sourceLayout = primitive.layout(of: DNNL_ARG_SRC)
        weightLayout = primitive.layout(of: DNNL_ARG_WEIGHTS)
        outputLayout = primitive.layout(of: DNNL_ARG_DST)
    }

    /// As for training: in oneDNN 2.6 this keeps activations in blocks of channels, which Winograd's algorithm needs
    /// too; what it prefers for inference measured slower on ResNet-50.
    private static func primitive(_ key: Key, residual: PrimitiveAttributes.Residual?) -> Primitive {
        let bias = OpaqueLayout.rowMajor([key.geometry.weight[0]])
        let attributes = PrimitiveAttributes(residual: residual, activation: key.activation)
        return key.geometry.primitive("convolution", attributes: attributes) { algorithm, operation in
            key.geometry.withDescriptors { source, weight, output, strides, dilates, before, after in
                withUnsafePointer(to: bias.descriptor) { bias in
                    dnnl_dilated_convolution_forward_desc_init(
                        &operation, dnnl_forward_training, algorithm, source, weight, key.usesBias ? bias : nil, output,
                        strides, dilates, before, after)
                }
            }
        }
    }

    func run(_ input: Tensor, _ weight: Tensor, _ bias: Tensor?, _ residual: Tensor?) -> Tensor {
        let output = Storage(byteCount: outputLayout.byteCount)
        var arguments = [
            (DNNL_ARG_SRC, sourceLayout, OneDNN.storage(of: input, in: sourceLayout)),
            (DNNL_ARG_WEIGHTS, weightLayout, weight.storage(ofWeightIn: weightLayout, from: weightRows, keep: true)),
            (DNNL_ARG_DST, outputLayout, output),
        ]
        if let bias { arguments.append((DNNL_ARG_BIAS, biasLayout, bias.rowMajor.storage)) }
        if let residual, addsInPlace {
            OneDNN.reorder(residual.storage, residual.opaqueLayout, to: output, outputLayout)
        } else if let residual {
            let storage = OneDNN.storage(of: residual, in: outputLayout)
            arguments.append((PrimitiveAttributes.residualArgument, outputLayout, storage))
        }
        primitive.execute(arguments)
        return Tensor(shape: geometry.output, storage: output, layout: outputLayout.layout(of: geometry.output))
    }
}
