import COneDNN

/// A two-dimensional convolution in 8 bits, off the tape:
///
///     activation(convolution(input, weight) + bias + residual)
///
/// Weights are stored as signed integers with a step for each output channel, the input as signed or unsigned ones with
/// one step; products are summed in 32 bits, and bias, residual and activation are applied in float32 before the
/// result is rounded once.
///
/// - Input: N×I×H×W. Output: N×O×H'×W', channels last. Checked against the float32 convolution.
public final class QuantizedConvolution {
    /// How input, residual and output are stored; nil for an output in float32 or no residual.
    public struct Storing {
        public var input: Quantization
        public var residual: Quantization?
        public var output: Quantization?

        public init(input: Quantization, residual: Quantization?, output: Quantization?) {
            self.input = input
            self.residual = residual
            self.output = output
        }
    }

    private let weight: Tensor
    private let shape: [Int]
    private let bias: Tensor
    private let stride, groups: Int
    private let storing: Storing
    private let attributes: PrimitiveAttributeValues

    private struct PrimitiveAttributeValues {
        let scales: [Float]
        let activation: Activation
        let unit: Float
        let activationScale: Float
    }
    private struct Key: Hashable {
        let geometry: ConvolutionGeometry
        let threads: Int
    }
    private let plans = PrimitiveCache<Key, Plan>(capacity: 8)

    /// - Parameters:
    ///   - weight: O×(I/groups)×kH×kW.
    ///   - bias: O.
    public init(
        weight: Tensor, bias: Tensor?, stride: Int, groups: Int, activation: Activation, storing: Storing
    ) {
        shape = weight.shape
        self.stride = stride
        self.groups = groups
        self.storing = storing
        let (rounded, steps) = Self.round(weight)
        self.weight = rounded
        // Sums are scaled to the unit that the residual is stored in, or else the output.
        let unit = storing.residual?.step ?? storing.output?.step ?? 1
        let values = bias?.scalars ?? [Float](repeating: 0, count: steps.count)
        self.bias = Tensor(zip(values, steps).map { $0 / (storing.input.step * $1) }, shape: [steps.count])
        attributes = PrimitiveAttributeValues(
            scales: steps.map { storing.input.step * $0 / unit }, activation: activation, unit: unit,
            activationScale: unit / (storing.output?.step ?? 1))
    }

    /// Each output channel as −127…127 times a step.
    private static func round(_ weight: Tensor) -> (Tensor, steps: [Float]) {
        let channels = weight.shape[0]
        let count = weight.count / channels
        let rounded = Tensor(uninitialized: weight.shape, elementType: .int8)
        let target = rounded.storage.pointer.assumingMemoryBound(to: Int8.self)
        let steps = weight.withScalars { values in
            (0..<channels).map { channel in
                let row = values[channel * count..<(channel + 1) * count]
                let largest = row.reduce(0) { max($0, abs($1)) }
                let step = largest > 0 ? largest / 127 : 1
                for (i, value) in zip(row.indices, row) {
                    target[i] = Int8(min(max((value / step).rounded(.toNearestOrEven), -127), 127))
                }
                return step
            }
        }
        return (rounded, steps)
    }

    /// - Parameters:
    ///   - input, residual: in 8 bits as the convolution was made for, or float32, which is then rounded.
    ///   - padding: zeros around the input.
    public func callAsFunction(_ input: Tensor, residual: Tensor? = nil, padding: SpatialPadding) -> Tensor {
        let geometry = ConvolutionGeometry(
            input: input.shape, weight: shape, stride: (stride, stride), padding: padding, dilation: (1, 1),
            groups: groups)
        guard input.shape[0] > 0 else { return Tensor.zeros(geometry.output) }
        let plan = plans.value(for: Key(geometry: geometry, threads: Threads.count)) { makePlan(geometry) }
        let output = Storage(byteCount: plan.output.byteCount, elementType: storing.output?.elementType ?? .float32)
        output.quantizationStep = storing.output?.step
        let rows = OpaqueLayout.rowMajor(geometry.weightDimensions, .int8)
        let source = input.quantized(storing.input)
        var arguments = [
            (DNNL_ARG_SRC, plan.source, OneDNN.storage(of: source, in: plan.source)),
            (DNNL_ARG_WEIGHTS, plan.weight, weight.storage(ofWeightIn: plan.weight, from: rows, keep: true)),
            (DNNL_ARG_BIAS, plan.bias, bias.storage), (DNNL_ARG_DST, plan.output, output),
        ]
        if let residual, let quantization = storing.residual, let layout = plan.residual {
            arguments.append((PrimitiveAttributes.residualArgument, layout, residual.quantized(quantization).storage))
        }
        plan.primitive.execute(arguments)
        return Tensor(shape: geometry.output, storage: output, layout: plan.output.layout(of: geometry.output))
    }

    private struct Plan {
        let primitive: Primitive
        let source, weight, bias, output: OpaqueLayout
        let residual: OpaqueLayout?
    }

    private func makePlan(_ geometry: ConvolutionGeometry) -> Plan {
        let source = OpaqueLayout.channelsLast(geometry.input, storing.input.elementType)
        let output = OpaqueLayout.channelsLast(geometry.output, storing.output?.elementType ?? .float32)
        let residual = storing.residual.map { OpaqueLayout.channelsLast(geometry.output, $0.elementType) }
        let bias = OpaqueLayout.rowMajor([geometry.weight[0]])
        let primitive = geometry.primitive(
            "convolution, 8 bits",
            attributes: PrimitiveAttributes(
                scales: attributes.scales, residual: residual.map { .argument($0) }, activation: attributes.activation,
                unit: attributes.unit, activationScale: attributes.activationScale),
            isDirect: true
        ) { algorithm, operation in
            geometry.withDescriptors(
                source: source.descriptor, weight: OneDNN.anyLayout(geometry.weightDimensions, .int8),
                output: output.descriptor
            ) { source, weight, output, strides, dilates, before, after in
                withUnsafePointer(to: bias.descriptor) { bias in
                    dnnl_dilated_convolution_forward_desc_init(
                        &operation, dnnl_forward_inference, algorithm, source, weight, bias, output, strides, dilates,
                        before, after)
                }
            }
        }
        return Plan(
            primitive: primitive, source: source, weight: primitive.layout(of: DNNL_ARG_WEIGHTS), bias: bias,
            output: output, residual: residual)
    }
}
