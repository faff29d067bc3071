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
    /// finds in the cache what the first has read, and a thread need not wait for the others in between. All planes in
    /// one where the threads would not have the same to do.
    private var groups: [NormalizationPlanes] {
        let size = max(1, (1 << 18) / max(1, samples * planeSize))
        let (count, threads) = ((allBlocks + size - 1) / size, Threads.count)
        guard count % threads == 0 || count >= 4 * threads else { return [self] }
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
    private func forEachPlane(_ body: (_ start: Int, _ plane: Int, _ block: Int) -> Void) {
        let count = blocks.count
        Threads.parallelFor(count: samples * count, grain: grain) { range in
            for plane in range {
                let (sample, block) = plane.quotientAndRemainder(dividingBy: count)
                body((sample * allBlocks + blocks.lowerBound + block) * planeSize, plane, block)
            }
        }
    }

    /// What `body` gives for each group; several groups on all threads, one on this thread, whose loops take all.
    ///
    /// - Parameter arrays: how often an array of the input's size is read or written.
    private func forEachGroup<Result>(
        _ name: StaticString, _ count: Int, arrays: Int, _ body: (Int) -> Result
    ) -> [Result] {
        Profile.measure(name, bytes: arrays * source.storage.byteCount) {
            guard count > 1, Threads.count > 1 else { return (0..<count).map(body) }
            var results = [Result?](repeating: nil, count: count)
            results.withUnsafeMutableBufferPointer { results in
                // Each group writes its own entry.
                nonisolated(unsafe) let entries = results
                Threads.parallelFor(count: count) { range in
                    for group in range { entries[group] = body(group) }
                }
            }
            return results.compactMap { $0 }
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
        _ body: (_ start: Int, _ block: Int, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>) -> Void
    ) -> SampleSums {
        let count = samples * width
        var partial = [Double](repeating: 0, count: 2 * count)
        partial.withUnsafeMutableBufferPointer { partial in
            guard let base = partial.baseAddress else { return }
            // Each plane writes its own entries.
            nonisolated(unsafe) let first = base
            forEachPlane { start, plane, block in
                body(start, block, first + plane * inner, first + count + plane * inner)
            }
        }
        return SampleSums(values: partial, samples: samples, width: width)
    }

    // MARK: Forward

    /// Mean and variance of all channels, and samples × positions behind them.
    typealias Statistics = (mean: [Double], variance: [Double], count: Int)

    /// Normalises all planes, group by group.
    ///
    /// - Parameter given: the statistics; nil takes them from the planes.
    func normalized(
        _ scale: Tensor, _ shift: Tensor, _ epsilon: Float, _ residual: Tensor?, _ activation: Activation,
        _ given: Statistics?
    ) -> ([Group], Tensor) {
        let (gamma, beta) = (scale.scalars, shift.scalars)
        let output = uninitializedLikeSource()
        let added = residual?.converted(toLayoutOf: source)
        let parts = groups
        let arrays = 2 + (added == nil ? 0 : 1) + (given == nil ? 1 : 0)
        let groups = forEachGroup("batch norm", parts.count, arrays: arrays) { index in
            let planes = parts[index]
            let (mean, variance, count) =
                given.map { (planes.part(of: $0.mean), planes.part(of: $0.variance), $0.count) } ?? planes.moments()
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
    private func moments() -> Statistics {
        let shift = firstRowMeans()
        let (sum, square) = sums { start, block, sum, square in
            withFirst(shift) { first in
                graft_norm_sums(source.storage.floats + start, spatial, inner, first + block * inner, sum, square)
            }
        }.totals()
        let count = samples * spatial
        let n = Double(max(1, count))
        let mean = (0..<width).map { Double(shift[$0]) + sum[$0] / n }
        let variance = (0..<width).map { max(0, square[$0] / n - (sum[$0] / n) * (sum[$0] / n)) }
        return (mean, variance, count)
    }

    /// The statistics over all ranks, by Chan's formula: total mean first, then the deviations about it.
    func moments(over collectives: Collectives) throws -> Statistics {
        let (mean, variance, count) = Profile.measure("batch norm", bytes: source.storage.byteCount) { moments() }
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
            forEachPlane { start, _, block in
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
    ///   - collectives: over whose ranks they were taken.
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
        let (gamma, takesSquares) = (scale.scalars, Tape.squaresSamples)
        let needsSums = wants.parameters || isOfBatch || masked != nil
        func inputGradient(_ group: Group, _ sum: [Double], _ product: [Double]) {
            guard let result else { return }
            let n = Double(max(1, group.count))
            group.planes.inputGradient(
                masked ?? dy, output, group, gamma, isOfBatch ? (sum.map { $0 / n }, product.map { $0 / n }) : nil,
                masked == nil ? activation : .identity, into: result)
        }
        let arrays = (needsSums ? 2 : 0) + (result == nil ? 0 : 3) + (masked == nil ? 0 : 1) + (output == nil ? 0 : 1)
        let sums = forEachGroup("batch norm gradient", groups.count, arrays: arrays) { index -> ChannelSums in
            let group = groups[index]
            guard needsSums else {
                inputGradient(group, [], [])
                return ChannelSums()
            }
            let samples = group.planes.gradientSums(dy, output, group, masked, activation)
            let (sum, product) = samples.totals()
            if collectives == nil { inputGradient(group, sum, product) }
            let (first, second) = takesSquares ? samples.totals(ofSquares: true) : (sum, product)
            return ChannelSums(
                sum: sum, product: product, shiftGradient: first,
                scaleGradient: zip(second, group.inverse).map { $0 * (takesSquares ? $1 * $1 : $1) })
        }
        if let collectives, result != nil {
            var both = sums.flatMap(\.sum) + sums.flatMap(\.product)
            try both.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
            let half = both.count / 2
            _ = forEachGroup("batch norm gradient", groups.count, arrays: 0) { index in
                let planes = groups[index].planes
                inputGradient(
                    groups[index], planes.part(of: Array(both[..<half])), planes.part(of: Array(both[half...])))
            }
        }
        let gradients = [
            result, needsSums ? tensor(sums.flatMap(\.scaleGradient)) : nil,
            needsSums ? tensor(sums.flatMap(\.shiftGradient)) : nil,
        ]
        return wants.hasResidual ? gradients + [wants.residual ? masked ?? gradient : nil] : gradients
    }

    /// Of a group: Σg and Σ g·(x - mean), and what they make of the gradients of shift and scale.
    private struct ChannelSums {
        var sum: [Double] = []
        var product: [Double] = []
        var shiftGradient: [Double] = []
        var scaleGradient: [Double] = []
    }

    private func gradientSums(
        _ dy: Tensor, _ output: Tensor?, _ group: Group, _ masked: Tensor?, _ activation: Activation
    ) -> SampleSums {
        let parameters = group.affine + padded { channel, _ in group.mean[channel] }
        return parameters.withUnsafeBufferPointer { parameters in
            nonisolated(unsafe) let parameters = parameters
            return sums { start, block, sum, product in
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
            forEachPlane { start, _, block in
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
