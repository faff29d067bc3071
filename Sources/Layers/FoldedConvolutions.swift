import Tensors

/// The convolutions of an inference pass, each with the batch norm behind it folded in, which is then
/// one affine map per output channel:
///
///     weight' = weight · γ/√(σ² + ε)        bias' = β + (bias − μ) · γ/√(σ² + ε)
///
/// Activation and residual sum are fused into the convolution as well. A layer is folded when it first
/// runs, with the values its parameters have then, and stays so. Nothing is recorded on the tape.
///
/// After `calibrate` convolutions run in 8 bits (`EightBitConvolutions`).
///
/// One thread at a time may use it.
public final class FoldedConvolutions {
    private var made: [String: FoldedConvolution] = [:]
    /// What is watching, or what computes in 8 bits.
    private var eightBit: EightBitConvolutions?
    private var isCalibrating = false

    public init() {}

    /// Watches float32 passes to find what values each layer sees, and computes in 8 bits from then on.
    ///
    /// - Parameter body: runs the layers on typical inputs.
    public func calibrate(_ body: () throws -> Void) rethrows {
        let new = EightBitConvolutions()
        (eightBit, isCalibrating) = (new, true)
        defer { isCalibrating = false }
        do { try body() } catch {
            eightBit = nil
            throw error
        }
        made = [:]
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
        if !isCalibrating, let eightBit, eightBit.has(convolution) {
            let quantized = eightBit.convolution(convolution, input, residual, activation: activation) {
                Self.fold(convolution, normalization, factor)
            }
            return quantized(input, residual: residual, padding: padding)
        }
        let (folded, stride) = (parameters(convolution, normalization, factor), convolution.window.stride)
        let result = fusedConvolution2D(
            input.dequantized, weight: folded.weight, bias: folded.bias, residual: residual?.dequantized,
            stride: (stride, stride), padding: padding, groups: convolution.groups, activation: activation)
        if isCalibrating { eightBit?.note(convolution, input, residual, result) }
        return result
    }

    private func parameters(
        _ convolution: Convolution2D, _ normalization: BatchNorm2D?, _ factor: Float
    ) -> FoldedConvolution {
        if let folded = made[convolution.path] { return folded }
        let folded = Self.fold(convolution, normalization, factor)
        made[convolution.path] = folded
        return folded
    }

    private static func fold(
        _ convolution: Convolution2D, _ normalization: BatchNorm2D?, _ factor: Float
    ) -> FoldedConvolution {
        guard let normalization else {
            let (weight, bias) = (convolution.weight.value.detached, convolution.bias?.value.detached)
            guard factor != 1 else { return FoldedConvolution(weight: weight, bias: bias) }
            return FoldedConvolution(weight: weight * factor, bias: bias.map { $0 * factor })
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
        return FoldedConvolution(
            weight: Tensor(weight, shape: convolution.weight.shape), bias: Tensor(offsets, shape: [factors.count]))
    }
}

/// A convolution with what follows it folded in.
struct FoldedConvolution {
    /// O×(I/groups)×kH×kW
    let weight: Tensor
    /// O
    let bias: Tensor?
}
