import CKernels
import Collectives

/// One input to batch norm, seen as planes of channel blocks that the kernels work on one by one; or those of some of
/// its blocks.
struct NormalizationPlanes {
    let source: Tensor
    let samples, spatial, inner, channels: Int
    /// Blocks of a sample in memory, and those of them that are meant.
    private let allBlocks: Int
    private let blocks: Range<Int>

    /// Which gradients are wanted.
    struct Wanted {
        let input, parameters, residual: Bool
        let hasResidual: Bool

        init(_ x: Tensor, _ scale: Tensor, _ shift: Tensor, _ residual: Tensor?) {
            input = x.requiresGradient
            parameters = scale.requiresGradient || shift.requiresGradient
            self.residual = residual?.requiresGradient ?? false
            hasResidual = residual != nil
        }
    }

    /// Some of the blocks, with what normalises them. All arrays are per channel, those that pad a block included.
    struct Group {
        let planes: NormalizationPlanes
        let mean, variance, inverse: [Double]
        /// Samples × positions behind mean and variance.
        let count: Int
        /// What normalising is: x · factor + offset, the factors of all channels before the offsets.
        let affine: [Float]
    }

    init(_ x: Tensor, _ scale: Tensor, _ shift: Tensor) {
        precondition(
            x.rank == 4 && scale.shape == [x.shape[1]] && shift.shape == scale.shape,
            "batchNormalization: input \(x.shape) does not fit scale \(scale.shape) and shift \(shift.shape)")
        samples = x.shape[0]
        channels = x.shape[1]
        spatial = x.shape[2] * x.shape[3]
        let order = x.layout.isRowMajor ? ChannelOrder.planes : x.opaqueLayout.channels
        switch order {
        case .planes: (source, allBlocks, inner) = (x.detached, channels, 1)
        case .blocks(let size): (source, allBlocks, inner) = (x.detached, (channels + size - 1) / size, size)
        case .last: (source, allBlocks, inner) = (x.detached, 1, channels)
        case .other: (source, allBlocks, inner) = (x.rowMajor.detached, channels, 1)
        }
        blocks = 0..<allBlocks
    }

    private init(_ blocks: Range<Int>, of all: NormalizationPlanes) {
        (source, samples, spatial, inner) = (all.source, all.samples, all.spatial, all.inner)
        (channels, allBlocks, self.blocks) = (all.channels, all.allBlocks, blocks)
    }

    private var planeSize: Int { spatial * inner }
    private var grain: Int { max(1, (1 << 14) / max(1, planeSize)) }
    /// Channels, those that pad a block included, and the first of them.
    private var width: Int { blocks.count * inner }
    private var firstChannel: Int { blocks.lowerBound * inner }

    /// The planes in groups of about a megabyte: where two passes go over a group before the next comes, the second
    /// finds in the cache what the first has read.
    private var groups: [NormalizationPlanes] {
        let size = max(1, (1 << 18) / max(1, samples * planeSize))
        return stride(from: 0, to: allBlocks, by: size).map {
            NormalizationPlanes($0..<min($0 + size, allBlocks), of: self)
        }
    }

    /// These planes' part of values for all channels.
    func part(of values: [Double]) -> [Double] { Array(values[firstChannel..<firstChannel + width]) }

    /// Values for all channels with zeros for those that only pad a block.
    func padded(_ values: [Float]) -> [Double] {
        (0..<allBlocks * inner).map { $0 < channels ? Double(values[$0]) : 0 }
    }

    /// A tensor like the source, its elements not yet written.
    private func uninitializedLikeSource() -> Tensor {
        Tensor(
            shape: source.shape, storage: Storage(byteCount: source.storage.byteCount), layout: source.layout)
    }

    func tensor(_ values: [Double]) -> Tensor {
        Tensor(values.prefix(channels).map { Float($0) }, shape: [channels])
    }

    /// Values per channel, with zeros for the channels that only pad a block, so that padding stays zero.
    ///
    /// - Parameter value: of a channel, counted from the first of these, and among all.
    private func padded(_ value: (_ channel: Int, _ amongAll: Int) -> Double) -> [Float] {
        let first = firstChannel
        return (0..<width).map { first + $0 < channels ? Float(value($0, first + $0)) : 0 }
    }

    /// Runs `body(start, plane, block)` for every sample and block, on all threads: with where the plane starts in
    /// memory, and its number and its block's among these.
    ///
    /// - Parameter arrays: how many arrays of the input's size are read or written.
    private func forEachPlane(
        _ name: StaticString, arrays: Int, _ body: (_ start: Int, _ plane: Int, _ block: Int) -> Void
    ) {
        let count = blocks.count
        Profile.measure(name, bytes: 4 * arrays * samples * count * planeSize) {
            Threads.parallelFor(count: samples * count, grain: grain) { range in
                for plane in range {
                    let (sample, block) = plane.quotientAndRemainder(dividingBy: count)
                    body((sample * allBlocks + blocks.lowerBound + block) * planeSize, plane, block)
                }
            }
        }
    }

    /// Two quantities summed over the positions of each sample and channel, in double precision.
    private struct SampleSums {
        /// First quantity, then second: samples × channels (padding included).
        var values: [Double]
        let samples, width: Int

        /// The sums over samples, in their order; or those of squares.
        func totals(ofSquares: Bool = false) -> (first: [Double], second: [Double]) {
            var sums = [Double](repeating: 0, count: 2 * width)
            for half in 0..<2 {
                for sample in 0..<samples {
                    let start = (half * samples + sample) * width
                    for c in 0..<width {
                        let value = values[start + c]
                        sums[half * width + c] += ofSquares ? value * value : value
                    }
                }
            }
            return (Array(sums[..<width]), Array(sums[width...]))
        }
    }

    private func sums(
        _ name: StaticString, arrays: Int,
        _ body: (_ start: Int, _ block: Int, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>) -> Void
    ) -> SampleSums {
        let count = samples * width
        var partial = [Double](repeating: 0, count: 2 * count)
        partial.withUnsafeMutableBufferPointer { partial in
            guard let base = partial.baseAddress else { return }
            // Each plane writes its own entries.
            nonisolated(unsafe) let first = base
            forEachPlane(name, arrays: arrays) { start, plane, block in
                body(start, block, first + plane * inner, first + count + plane * inner)
            }
        }
        return SampleSums(values: partial, samples: samples, width: width)
    }

    // MARK: Forward

    /// Normalises all planes, group by group.
    ///
    /// - Parameter statistics: mean, variance and what they were taken over, of a group's channels.
    func normalized(
        _ scale: Tensor, _ shift: Tensor, _ epsilon: Float, _ residual: Tensor?, _ activation: Activation,
        inGroups: Bool, _ statistics: (NormalizationPlanes) throws -> (mean: [Double], variance: [Double], count: Int)
    ) rethrows -> ([Group], Tensor) {
        let (gamma, beta) = (scale.scalars, shift.scalars)
        let output = uninitializedLikeSource()
        let added = residual?.converted(toLayoutOf: source)
        let groups = try (inGroups ? groups : [self]).map { planes in
            let (mean, variance, count) = try statistics(planes)
            let inverse = variance.map { 1 / ($0 + Double(epsilon)).squareRoot() }
            let affine =
                planes.padded { Double(gamma[$1]) * inverse[$0] }
                + planes.padded { Double(beta[$1]) - mean[$0] * Double(gamma[$1]) * inverse[$0] }
            planes.apply(affine, added, activation, to: output)
            return Group(
                planes: planes, mean: mean, variance: variance, inverse: inverse, count: count, affine: affine)
        }
        return (groups, output)
    }

    /// What normalising gave, once more; without a residual.
    func applied(_ groups: [Group], _ activation: Activation) -> Tensor {
        let output = uninitializedLikeSource()
        for group in groups { group.planes.apply(group.affine, nil, activation, to: output) }
        return output
    }

    /// Mean and variance per channel. Sums are taken about a value near the mean, so that little cancels.
    func moments(_ collectives: Collectives?) throws -> (mean: [Double], variance: [Double], count: Int) {
        let shift = firstRowMeans()
        let (sum, square) = sums("batch norm moments", arrays: 1) { start, block, sum, square in
            withFirst(shift) { first in
                graft_norm_sums(source.storage.floats + start, spatial, inner, first + block * inner, sum, square)
            }
        }.totals()
        let count = samples * spatial
        let n = Double(max(1, count))
        let mean = (0..<width).map { Double(shift[$0]) + sum[$0] / n }
        let variance = (0..<width).map { max(0, square[$0] / n - (sum[$0] / n) * (sum[$0] / n)) }
        guard let collectives else { return (mean, variance, count) }
        return try combine(mean, variance, count, collectives)
    }

    /// Chan's formula over ranks: total mean first, then the deviations about it.
    private func combine(
        _ mean: [Double], _ variance: [Double], _ count: Int, _ collectives: Collectives
    ) throws -> ([Double], [Double], Int) {
        var first = mean.map { $0 * Double(count) } + [Double(count)]
        try first.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
        let total = max(1, first[mean.count])
        let globalMean = (0..<mean.count).map { first[$0] / total }
        var second = (0..<mean.count).map { c in
            let distance = mean[c] - globalMean[c]
            return Double(count) * (variance[c] + distance * distance)
        }
        try second.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
        return (globalMean, second.map { $0 / total }, Int(total))
    }

    /// The mean of the first few positions of the first sample, per channel.
    private func firstRowMeans() -> [Float] {
        guard samples > 0, spatial > 0 else { return [Float](repeating: 0, count: width) }
        let positions = min(spatial, 32)
        return (0..<width).map { c in
            let start = source.storage.floats + (blocks.lowerBound + c / inner) * planeSize + c % inner
            return (0..<positions).reduce(Float(0)) { $0 + start[$1 * inner] } / Float(positions)
        }
    }

    /// Calls `body` with the first of some values per channel.
    private func withFirst(_ values: [Float], _ body: (UnsafePointer<Float>) -> Void) {
        values.withUnsafeBufferPointer { values in
            guard let first = values.baseAddress else { return }
            body(first)
        }
    }

    private func apply(_ affine: [Float], _ added: Tensor?, _ activation: Activation, to output: Tensor) {
        withFirst(affine) { affine in
            nonisolated(unsafe) let affine = affine
            forEachPlane("batch norm", arrays: added == nil ? 2 : 3) { start, _, block in
                let c = block * inner
                graft_norm_apply(
                    source.storage.floats + start, added.map { $0.storage.floats + start },
                    output.storage.floats + start, spatial, inner, affine + c, affine + width + c, activation.code,
                    activation.slope)
            }
        }
    }

    // MARK: Backward

    /// - Parameters:
    ///   - output: what forward gave; nil where there was no residual.
    ///   - isOfBatch: whether the statistics were taken from the input, and so have a gradient.
    ///   - collectives: over whose ranks they were taken; the groups are one then.
    func backward(
        _ gradient: inout Tensor, output: Tensor?, _ groups: [Group], _ scale: Tensor, _ activation: Activation,
        wants: Wanted, isOfBatch: Bool, _ collectives: Collectives?
    ) throws -> [Tensor?] {
        gradient = gradient.converted(toLayoutOf: source)
        let masks = activation != .identity
        // Written over where nobody else reads it: by the first pass or by the second.
        let own = wants.residual && !masks ? nil : gradient.takeIfUnique()
        let dy = gradient
        // The residual's gradient is the masked one; where it has to be made anyway, the second pass reads it.
        let masked = wants.residual && masks ? own ?? uninitializedLikeSource() : nil
        let result = wants.input ? (masked == nil ? own : nil) ?? uninitializedLikeSource() : nil
        let gamma = scale.scalars
        var (scaleGradient, shiftGradient) = ([Double](), [Double]())
        for group in groups {
            var (sum, product) = ([Double](), [Double]())
            if wants.parameters || isOfBatch || masked != nil {
                let sums = group.planes.gradientSums(dy, output, group, masked, activation)
                (sum, product) = sums.totals()
                let (first, second) = Tape.squaresSamples ? sums.totals(ofSquares: true) : (sum, product)
                shiftGradient += first
                scaleGradient += zip(second, group.inverse).map { $0 * (Tape.squaresSamples ? $1 * $1 : $1) }
            }
            guard let result else { continue }
            if let collectives {
                var both = sum + product
                try both.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
                (sum, product) = (Array(both.prefix(sum.count)), Array(both.suffix(sum.count)))
            }
            let n = Double(max(1, group.count))
            group.planes.inputGradient(
                masked ?? dy, output, group, gamma,
                isOfBatch ? (sum.map { $0 / n }, product.map { $0 / n }) : nil,
                masked == nil ? activation : .identity, into: result)
        }
        let gradients = [
            result, scaleGradient.isEmpty ? nil : tensor(scaleGradient),
            shiftGradient.isEmpty ? nil : tensor(shiftGradient),
        ]
        return wants.hasResidual ? gradients + [wants.residual ? masked ?? gradient : nil] : gradients
    }

    private func gradientSums(
        _ dy: Tensor, _ output: Tensor?, _ group: Group, _ masked: Tensor?, _ activation: Activation
    ) -> SampleSums {
        let arrays = 2 + (output == nil ? 0 : 1) + (masked == nil ? 0 : 1)
        let parameters = group.affine + padded { channel, _ in group.mean[channel] }
        return parameters.withUnsafeBufferPointer { parameters in
            nonisolated(unsafe) let parameters = parameters
            return sums("batch norm gradient sums", arrays: arrays) { start, block, sum, product in
                guard let first = parameters.baseAddress else { return }
                let c = block * inner
                graft_norm_gradient_sums(
                    dy.storage.floats + start, output.map { $0.storage.floats + start },
                    source.storage.floats + start, masked.map { $0.storage.floats + start }, spatial, inner, first + c,
                    first + width + c, first + 2 * width + c, activation.code, activation.slope, sum, product)
            }
        }
    }

    /// Writes to `result`, which may be `g`,
    /// dx = scale · inverse · (g - Σg/n - x̂ · Σ(g·x̂)/n), one multiply-add per term and channel.
    private func inputGradient(
        _ g: Tensor, _ output: Tensor?, _ group: Group, _ gamma: [Float],
        _ perElement: (sum: [Double], product: [Double])?, _ activation: Activation, into result: Tensor
    ) {
        let inverse = group.inverse
        let a = padded { Double(gamma[$1]) * inverse[$0] }
        func ofX(_ c: Int, _ amongAll: Int) -> Double {
            guard let perElement else { return 0 }
            return -Double(gamma[amongAll]) * inverse[c] * inverse[c] * inverse[c] * perElement.product[c]
        }
        let b = padded(ofX)
        let d = padded { c, amongAll in
            guard let perElement else { return 0 }
            return -Double(gamma[amongAll]) * inverse[c] * perElement.sum[c] - ofX(c, amongAll) * group.mean[c]
        }
        withFirst(group.affine + a + b + d) { first in
            nonisolated(unsafe) let first = first
            forEachPlane("batch norm input gradient", arrays: output == nil ? 3 : 4) { start, _, block in
                let c = block * inner
                graft_norm_gradient_apply(
                    g.storage.floats + start, output.map { $0.storage.floats + start },
                    source.storage.floats + start, result.storage.floats + start, spatial, inner, first + c,
                    first + width + c, first + 2 * width + c, first + 3 * width + c, first + 4 * width + c,
                    activation.code, activation.slope)
            }
        }
    }
}
