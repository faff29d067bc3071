import Tensors

/// The convolutions of an inference pass in 8 bits (`QuantizedConvolution`), as calibration has found what values each
/// sees; all but those of fewer than eight input channels, which take images. The last one gives float32.
final class EightBitConvolutions {
    /// Some of the values that a layer took in and gave.
    private struct Samples {
        let isWide: Bool
        var input: [Float] = []
        var residual: [Float] = []
        var output: [Float] = []
    }

    private var samples: [String: Samples] = [:]
    private var made: [String: QuantizedConvolution] = [:]
    private var lastPath = ""

    /// Whether a layer runs in 8 bits.
    func has(_ convolution: Convolution2D) -> Bool { samples[convolution.path]?.isWide ?? false }

    /// Notes a float32 pass through a layer.
    func note(_ convolution: Convolution2D, _ input: Tensor, _ residual: Tensor?, _ output: Tensor) {
        let path = convolution.path
        lastPath = path
        var seen = samples[path] ?? Samples(isWide: convolution.weight.shape[1] * convolution.groups >= 8)
        seen.input += Self.sample(input)
        seen.output += Self.sample(output)
        if let residual { seen.residual += Self.sample(residual) }
        samples[path] = seen
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
    ///
    /// - Parameter folded: the layer with what follows it folded in, in float32.
    func convolution(
        _ convolution: Convolution2D, _ input: Tensor, _ residual: Tensor?, activation: Activation,
        folded: () -> FoldedConvolution
    ) -> QuantizedConvolution {
        let path = convolution.path
        if let made = made[path] { return made }
        guard let seen = samples[path] else { preconditionFailure("\(path) was not calibrated") }
        let storing = QuantizedConvolution.Storing(
            input: input.quantization ?? Quantization(leastLossFor: seen.input),
            residual: residual.map { $0.quantization ?? Quantization(leastLossFor: seen.residual) },
            output: path == lastPath ? nil : Quantization(leastLossFor: seen.output))
        let folded = folded()
        let new = QuantizedConvolution(
            weight: folded.weight, bias: folded.bias, stride: convolution.window.stride, groups: convolution.groups,
            activation: activation, storing: storing)
        made[path] = new
        return new
    }
}
