import Tensors

/// The convolutions of an inference pass, each with the batch norm behind it folded in, which is then
/// one affine map per output channel:
///
///     weight' = weight · γ/√(σ² + ε)        bias' = β + (bias − μ) · γ/√(σ² + ε)
///
/// Activation and residual sum are fused into the convolution as well. A layer is folded when it first
/// runs, with the values its parameters have then, and stays so. Nothing is recorded on the tape.
///
/// After `calibrate` convolutions run in 8 bits (`QuantizedConvolution`), except those of fewer than
/// eight input channels, which take images; the last convolution gives float32.
///
/// One thread at a time may use it.
public final class FoldedConvolutions {
    private struct Folded {
        /// O×(I/groups)×kH×kW
        let weight: Tensor
        /// O
        let bias: Tensor?
    }
    private var made: [String: Folded] = [:]

    private enum Mode { case float32, calibrating, int8 }
    private var mode = Mode.float32
    private var samples: [String: Samples] = [:]
    private var quantized: [String: QuantizedConvolution] = [:]
    private var lastPath = ""

    public init() {}

    /// Watches float32 passes to find what values each layer sees, and computes in 8 bits from then on.
    ///
    /// - Parameter body: runs the layers on typical inputs.
    public func calibrate(_ body: () throws -> Void) rethrows {
        mode = .calibrating
        samples = [:]
        quantized = [:]
        do { try body() } catch {
            mode = .float32
            throw error
        }
        mode = .int8
    }

    /// activation(normalization(convolution(input)) · factor + residual).
    ///
    /// - Throws: `LayerError` where the input or residual does not fit.
    func run(
        _ convolution: Convolution2D, _ normalization: BatchNorm2D?, _ input: Tensor, residual: Tensor? = nil,
        factor: Float = 1, activation: Activation
    ) throws -> Tensor {
        let output = try convolution.outputShape(of: input.shape)
        if let residual, residual.shape != output {
            throw LayerError.branchesDiffer(
                path: normalization?.path ?? convolution.path, main: output, shortcut: residual.shape)
        }
        let padding = convolution.window.padding(for: input.shape)
        if mode == .int8, isQuantized(convolution) {
            return quantize(convolution, normalization, input, residual, factor, activation)(
                input, residual: residual, padding: padding)
        }
        let folded = parameters(convolution, normalization, factor)
        let stride = convolution.window.stride
        let result = fusedConvolution2D(
            input.dequantized, weight: folded.weight, bias: folded.bias, residual: residual?.dequantized,
            stride: (stride, stride), padding: padding, groups: convolution.groups, activation: activation)
        if mode == .calibrating { note(convolution.path, input, residual, result) }
        return result
    }

    private func isQuantized(_ convolution: Convolution2D) -> Bool {
        convolution.weight.shape[1] * convolution.groups >= 8 && samples[convolution.path] != nil
    }

    private func parameters(
        _ convolution: Convolution2D, _ normalization: BatchNorm2D?, _ factor: Float
    ) -> Folded {
        if let folded = made[convolution.path] { return folded }
        let folded = Self.fold(convolution, normalization, factor)
        made[convolution.path] = folded
        return folded
    }

    private static func fold(
        _ convolution: Convolution2D, _ normalization: BatchNorm2D?, _ factor: Float
    ) -> Folded {
        guard let normalization else {
            let (weight, bias) = (convolution.weight.value.detached, convolution.bias?.value.detached)
            guard factor != 1 else { return Folded(weight: weight, bias: bias) }
            return Folded(weight: weight * factor, bias: bias.map { $0 * factor })
        }
        let factors = zip(normalization.scales.scalars, normalization.runningVariance.value.scalars).map {
            Double($0) / (Double($1) + Double(normalization.rule.epsilon)).squareRoot() * Double(factor)
        }
        let mean = normalization.runningMean.value.scalars
        let shift = normalization.shift.value.scalars
        let bias = convolution.bias?.value.scalars
        let count = convolution.weight.count / factors.count
        let weight = convolution.weight.value.withScalars { weight in
            weight.enumerated().map { Float(Double($1) * factors[$0 / count]) }
        }
        let offsets = factors.indices.map { channel -> Float in
            let centred = Double(bias?[channel] ?? 0) - Double(mean[channel])
            return Float(Double(shift[channel]) * Double(factor) + centred * factors[channel])
        }
        return Folded(
            weight: Tensor(weight, shape: convolution.weight.shape), bias: Tensor(offsets, shape: [factors.count]))
    }

    // MARK: 8 bits

    /// Some of the values a layer took in and gave.
    private struct Samples {
        var input: [Float] = []
        var residual: [Float] = []
        var output: [Float] = []
    }

    private func note(_ path: String, _ input: Tensor, _ residual: Tensor?, _ output: Tensor) {
        lastPath = path
        samples[path, default: Samples()].input += Self.sample(input)
        samples[path, default: Samples()].output += Self.sample(output)
        if let residual { samples[path, default: Samples()].residual += Self.sample(residual) }
    }

    /// Every so many values, and the one of largest magnitude.
    private static func sample(_ tensor: Tensor) -> [Float] {
        tensor.withScalars { values in
            // Odd, so that no power of two of columns or channels lines up with it.
            let step = values.count / 16_384 | 1
            let largest = values.max { abs($0) < abs($1) } ?? 0
            return Swift.stride(from: 0, to: values.count, by: step).map { values[$0] } + [largest]
        }
    }

    /// The layer in 8 bits, made when it first runs.
    private func quantize(
        _ convolution: Convolution2D, _ normalization: BatchNorm2D?, _ input: Tensor, _ residual: Tensor?,
        _ factor: Float, _ activation: Activation
    ) -> QuantizedConvolution {
        let path = convolution.path
        if let made = quantized[path] { return made }
        let seen = samples[path] ?? Samples()
        let folded = Self.fold(convolution, normalization, factor)
        let storing = QuantizedConvolution.Storing(
            input: input.quantization ?? Quantization(leastLossFor: seen.input),
            residual: residual.map { $0.quantization ?? Quantization(leastLossFor: seen.residual) },
            output: path == lastPath ? nil : Quantization(leastLossFor: seen.output))
        let new = QuantizedConvolution(
            weight: folded.weight, bias: folded.bias, stride: convolution.window.stride, groups: convolution.groups,
            activation: activation, storing: storing)
        quantized[path] = new
        made[path] = nil
        return new
    }
}
