import Tensors

/// The convolutions of an inference pass in 8 bits (`QuantizedConvolution`), as calibration has found what values each
/// sees; all but those of fewer than eight input channels, which take images. The last one gives float32.
///
/// What passes from one convolution to the next has one step for all channels, and a channel of small values would lose
/// most of its bits to those of large ones. Where one of the two is depthwise, the two share the ranges of the channels
/// out: channel c of the first is scaled by k, its weights in the second by 1/k, which computes the same as long as
/// the activation between them lets a positive factor through (Nagel et al. 2019, https://arxiv.org/abs/1906.04721).
/// A depthwise convolution has a step for the weights of each channel, so k may make all ranges equal before it; behind
/// it, k is the root of the weights' range over the values', which leaves both evenly spread.
final class EightBitConvolutions {
    /// What calibration has seen of a layer, and how it will compute.
    fileprivate struct Layer {
        var folded: FoldedConvolution
        let stride, groups: Int
        let activation: Activation
        let hasResidual: Bool
        /// Some of the values that it took in and gave, each with its channel in the output.
        var input: [Float] = []
        var residual: [Float] = []
        var output: [(channel: Int, value: Float)] = []
        /// The largest magnitude in each channel of the output.
        var ranges: [Float]
        /// Those of `output` that come from the last pass: what reads the output sees the same.
        var latest: [Float] = []
        /// The convolutions that read its output, and whether one adds it.
        var readers: Set<String> = []
        var isAdded = false

        var isDepthwise: Bool { groups > 1 && folded.weight.shape[1] == 1 && groups == ranges.count }
        var passesFactors: Bool { activation != .relu6 && !hasResidual }
    }

    private var layers: [String: Layer] = [:]
    /// In the order in which they ran.
    private var order: [String] = []
    private var made: [String: QuantizedConvolution] = [:]

    /// Whether a layer runs in 8 bits.
    func has(_ path: String) -> Bool {
        layers[path].map { $0.folded.weight.shape[1] * $0.groups >= 8 } ?? false
    }

    // MARK: Calibration

    /// Notes a float32 pass through a layer.
    func note(
        _ path: String, _ folded: FoldedConvolution, stride: Int, groups: Int, _ activation: Activation,
        _ input: Tensor, _ residual: Tensor?, _ output: Tensor
    ) {
        if layers[path] == nil { order.append(path) }
        var layer =
            layers[path]
            ?? Layer(
                folded: folded, stride: stride, groups: groups, activation: activation, hasResidual: residual != nil,
                ranges: [Float](repeating: 0, count: folded.weight.shape[0]))
        let read = Self.sample(input).map(\.value)
        let added = residual.map { Self.sample($0).map(\.value) }
        let given = Self.sample(output)
        layer.input += read
        layer.residual += added ?? []
        layer.output += given
        layer.latest = given.map(\.value)
        layer.ranges = zip(layer.ranges, Self.ranges(of: output)).map { max($0, $1) }
        layers[path] = layer
        for (other, made) in layers where other != path {
            if made.latest == read { layers[other]?.readers.insert(path) }
            if made.latest == added { layers[other]?.isAdded = true }
        }
    }

    /// Every so many values with their channels, and the one of largest magnitude.
    private static func sample(_ tensor: Tensor) -> [(channel: Int, value: Float)] {
        let (positions, channels) = (tensor.shape[2] * tensor.shape[3], tensor.shape[1])
        return tensor.withScalars { values in
            // Odd, so that no power of two of columns or channels lines up with it.
            let step = values.count / 16_384 | 1
            let largest = values.indices.max { abs(values[$0]) < abs(values[$1]) }
            return (Array(Swift.stride(from: 0, to: values.count, by: step)) + (largest.map { [$0] } ?? [])).map {
                (channel: $0 / positions % channels, value: values[$0])
            }
        }
    }

    /// The largest magnitude in each channel of N×C×H×W.
    private static func ranges(of tensor: Tensor) -> [Float] {
        let (positions, channels) = (tensor.shape[2] * tensor.shape[3], tensor.shape[1])
        var ranges = [Float](repeating: 0, count: channels)
        tensor.withScalars { values in
            for plane in 0..<tensor.shape[0] * channels {
                let largest = values[plane * positions..<(plane + 1) * positions].reduce(0) { max($0, abs($1)) }
                ranges[plane % channels] = max(ranges[plane % channels], largest)
            }
        }
        return ranges
    }

    /// Scales what passes to and from depthwise convolutions; once, when calibration is over.
    func shareRanges() {
        for path in order {
            guard let first = layers[path], has(path), first.passesFactors, !first.isAdded, first.readers.count == 1,
                let next = first.readers.first, let second = layers[next], has(next),
                first.isDepthwise || second.isDepthwise
            else { continue }
            scale(path, next, by: Self.factors(from: first, to: second))
        }
    }

    /// k for each channel.
    private static func factors(from first: Layer, to second: Layer) -> [Float] {
        let weights = second.isDepthwise ? [Float](repeating: 1, count: first.ranges.count) : second.columnRanges
        let factors = zip(first.ranges, weights).map { range, weight -> Float in
            guard range > 0, weight > 0 else { return 0 }
            return second.isDepthwise ? 1 / range : (weight / range).squareRoot()
        }
        // What is always 0, or is never read, stays as it is in proportion.
        let usual = factors.filter { $0 > 0 }.sorted()
        let middle = usual.isEmpty ? 1 : usual[usual.count / 2]
        return factors.map { $0 > 0 ? $0 / middle : 1 }
    }

    private func scale(_ path: String, _ next: String, by factors: [Float]) {
        guard var first = layers[path], var second = layers[next] else { return }
        let rows = Tensor(factors, shape: [factors.count, 1, 1, 1])
        let inverse = factors.map { 1 / $0 }
        let columns = Tensor(
            inverse, shape: second.isDepthwise ? [factors.count, 1, 1, 1] : [1, factors.count, 1, 1])
        first.folded = FoldedConvolution(
            weight: first.folded.weight * rows, bias: first.folded.bias.map { $0 * Tensor(factors, shape: $0.shape) })
        first.ranges = zip(first.ranges, factors).map { $0 * $1 }
        first.output = first.output.map { (channel: $0.channel, value: $0.value * factors[$0.channel]) }
        second.folded = FoldedConvolution(weight: second.folded.weight * columns, bias: second.folded.bias)
        second.input = first.output.map(\.value)
        (layers[path], layers[next]) = (first, second)
    }

    // MARK: 8 bits

    /// The layer in 8 bits, made when it first runs.
    func convolution(_ path: String, _ input: Tensor, _ residual: Tensor?) -> QuantizedConvolution {
        if let made = made[path] { return made }
        guard let layer = layers[path] else { preconditionFailure("\(path) was not calibrated") }
        let storing = QuantizedConvolution.Storing(
            input: input.quantization ?? Quantization(leastLossFor: layer.input),
            residual: residual.map { $0.quantization ?? Quantization(leastLossFor: layer.residual) },
            output: path == order.last ? nil : Quantization(leastLossFor: layer.output.map(\.value)))
        let new = QuantizedConvolution(
            weight: layer.folded.weight, bias: layer.folded.bias, stride: layer.stride, groups: layer.groups,
            activation: layer.activation, storing: storing)
        made[path] = new
        return new
    }
}

extension EightBitConvolutions.Layer {
    /// How much of its row an input channel's weight takes at most, 0 to 1.
    fileprivate var columnRanges: [Float] {
        let shape = folded.weight.shape
        let (columns, count) = (shape[1], shape[2] * shape[3])
        var ranges = [Float](repeating: 0, count: columns)
        folded.weight.withScalars { values in
            for row in 0..<shape[0] {
                let weights = values[row * columns * count..<(row + 1) * columns * count]
                let largest = weights.reduce(0) { max($0, abs($1)) }
                guard largest > 0 else { continue }
                for (offset, weight) in weights.enumerated() {
                    ranges[offset / count] = max(ranges[offset / count], abs(weight) / largest)
                }
            }
        }
        return ranges
    }
}
