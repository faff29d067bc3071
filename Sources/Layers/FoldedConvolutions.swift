import Tensors

/// The convolutions of an inference pass, each with the batch norm behind it folded in, which is then
/// one affine map per output channel:
///
///     weight' = weight · γ/√(σ² + ε)        bias' = β + (bias − μ) · γ/√(σ² + ε)
///
/// Activation and residual sum are fused into the convolution as well. A layer is folded when it first
/// runs, with the values its parameters have then, and stays so. Nothing is recorded on the tape.
///
/// One thread at a time may use it.
public final class FoldedConvolutions {
    private struct Folded {
        /// O×(I/groups)×k×k
        let weight: Tensor
        /// O
        let bias: Tensor?
    }
    private var made: [String: Folded] = [:]

    public init() {}

    /// activation(normalization(convolution(input)) + residual).
    ///
    /// - Throws: `LayerError` where the input or residual does not fit.
    func run(
        _ convolution: Convolution2D, _ normalization: BatchNorm2D?, _ input: Tensor, residual: Tensor? = nil,
        activation: Activation
    ) throws -> Tensor {
        let output = try convolution.outputShape(of: input.shape)
        if let residual, residual.shape != output {
            throw LayerError.branchesDiffer(
                path: normalization?.path ?? convolution.path, main: output, shortcut: residual.shape)
        }
        let folded = parameters(convolution, normalization)
        let window = convolution.window
        return fusedConvolution2D(
            input, weight: folded.weight, bias: folded.bias, residual: residual, stride: (window.stride, window.stride),
            padding: window.padding(for: input.shape), groups: convolution.groups, activation: activation)
    }

    private func parameters(_ convolution: Convolution2D, _ normalization: BatchNorm2D?) -> Folded {
        if let folded = made[convolution.path] { return folded }
        let folded = Self.fold(convolution, normalization)
        made[convolution.path] = folded
        return folded
    }

    private static func fold(_ convolution: Convolution2D, _ normalization: BatchNorm2D?) -> Folded {
        guard let normalization else {
            return Folded(weight: convolution.weight.value.detached, bias: convolution.bias?.value.detached)
        }
        let factors = zip(normalization.scale.value.scalars, normalization.runningVariance.value.scalars).map {
            Double($0) / (Double($1) + Double(normalization.rule.epsilon)).squareRoot()
        }
        let mean = normalization.runningMean.value.scalars
        let shift = normalization.shift.value.scalars
        let bias = convolution.bias?.value.scalars
        let count = convolution.weight.count / factors.count
        let weight = convolution.weight.value.withScalars { weight in
            weight.enumerated().map { Float(Double($1) * factors[$0 / count]) }
        }
        let offsets = factors.indices.map { channel in
            Float(Double(shift[channel]) + (Double(bias?[channel] ?? 0) - Double(mean[channel])) * factors[channel])
        }
        return Folded(
            weight: Tensor(weight, shape: convolution.weight.shape), bias: Tensor(offsets, shape: [factors.count]))
    }
}
