import CKernels
import Foundation

/// exp(x) / Σ exp(x) along `axis`.
public func softmax(_ x: Tensor, axis: Int = -1) -> Tensor {
    let axis = x.shape.dimension(axis, "softmax")
    let result = Softmax.run(x, axis, logarithm: false)
    return result.recorded("softmax", from: [x]) { gradient in
        let y = Tape.isRecording ? softmax(x, axis: axis) : result
        return [(gradient - (gradient * y).sum(axes: [axis], keepDimensions: true)) * y]
    }
}

/// x - log Σ exp(x) along `axis`.
public func logSoftmax(_ x: Tensor, axis: Int = -1) -> Tensor {
    let axis = x.shape.dimension(axis, "logSoftmax")
    let result = Softmax.run(x, axis, logarithm: true)
    return result.recorded("logSoftmax", from: [x]) { gradient in
        let y = Tape.isRecording ? softmax(x, axis: axis) : exp(result)
        return [gradient - y * gradient.sum(axes: [axis], keepDimensions: true)]
    }
}

enum Softmax {
    /// Off the tape.
    static func run(_ x: Tensor, _ axis: Int, logarithm: Bool) -> Tensor {
        guard axis == x.rank - 1 else {
            let last = Array(0..<axis) + Array(axis + 1..<x.rank) + [axis]
            var back = last
            for (i, dimension) in last.enumerated() { back[dimension] = i }
            return run(x.detached.transposed(last), x.rank - 1, logarithm: logarithm).transposed(back)
        }
        let rows = x.rowMajor
        let result = Tensor(uninitialized: x.shape)
        let length = x.shape[axis]
        let (source, target) = (rows.floats, result.floats)
        Threads.parallelFor(count: x.count / max(1, length), grain: max(1, 4096 / max(1, length))) { range in
            for row in range {
                let (x, y) = (source + row * length, target + row * length)
                let (largest, sum) = exponentials(x, length)
                if logarithm {
                    // Not x - (largest + log): that sum would round away digits of the logarithm.
                    let logarithm = Float(Foundation.log(sum))
                    for i in 0..<length { y[i] = (x[i] - largest) - logarithm }
                } else {
                    let scale = Float(1 / sum)
                    graft_exponentials(x, y, length, largest, scale, 0)
                }
            }
        }
        withExtendedLifetime(rows) {}
        return result
    }

    /// The largest of the numbers, and the sum of exp(x - largest).
    static func exponentials(_ x: UnsafeMutablePointer<Float>, _ count: Int) -> (largest: Float, sum: Double) {
        var largest = graft_largest(x, count)
        // A row of -∞ alone would give NaN; it has no largest number to take off.
        if largest == -.infinity { largest = 0 }
        return (largest, graft_sum_of_exponentials(x, count, largest))
    }
}
