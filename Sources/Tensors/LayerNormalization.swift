import CKernels

/// Layer normalisation over the last dimension (Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450):
///
///     y = (x - mean) / sqrt(variance + epsilon) · scale + shift
///
/// - Parameters:
///   - x: …×W; mean and (biased) variance are those of each row of W.
///   - scale, shift: W.
///
/// Differentiable twice. Checked against PyTorch's `layer_norm`.
public func layerNormalization(_ x: Tensor, scale: Tensor, shift: Tensor, epsilon: Float) -> Tensor {
    precondition(
        x.rank >= 1 && scale.shape == [x.shape[x.rank - 1]] && shift.shape == scale.shape,
        "layerNormalization: x \(x.shape) does not fit scale \(scale.shape) and shift \(shift.shape)")
    let norm = LayerNormalization(x.rowMajor.detached, scale.rowMajor.detached)
    let output = norm.forward(shift.rowMajor, epsilon)
    return output.recorded("layer norm", from: [x, scale, shift], squaredInputs: 1..<3) { gradient in
        guard !Tape.isRecording else { return norm.differentiableBackward(gradient, x, scale, epsilon) }
        return norm.backward(
            gradient.rowMajor, wantsInput: x.requiresGradient,
            wantsParameters: scale.requiresGradient || shift.requiresGradient)
    }
}

private struct LayerNormalization {
    private let x, scale: Tensor
    private let mean, inverse: Tensor

    init(_ x: Tensor, _ scale: Tensor) {
        (self.x, self.scale) = (x, scale)
        let rows = RowBlocks(x).rows
        (mean, inverse) = (Tensor(uninitialized: [rows]), Tensor(uninitialized: [rows]))
    }

    func forward(_ shift: Tensor, _ epsilon: Float) -> Tensor {
        let output = Tensor(uninitialized: x.shape)
        let blocks = RowBlocks(x)
        blocks.forEach("layer norm", arrays: 2) { first, rows, _ in
            let start = first * blocks.width
            graft_layer_norm(
                x.floats + start, scale.floats, shift.floats, output.floats + start, mean.floats + first,
                inverse.floats + first, rows, blocks.width, epsilon)
        }
        return output
    }

    func backward(_ gradient: Tensor, wantsInput: Bool, wantsParameters: Bool) -> [Tensor?] {
        let result = wantsInput ? Tensor(uninitialized: x.shape) : nil
        let squared = Tape.squaresSamples
        let blocks = RowBlocks(x, samples: squared ? x.shape[0] : nil)
        let width = blocks.width
        let sums = blocks.sums("layer norm gradient", arrays: 3, vectors: 2, squared: squared) { first, rows, sums in
            let start = first * width
            graft_layer_norm_gradient(
                gradient.floats + start, x.floats + start, scale.floats, mean.floats + first, inverse.floats + first,
                result.map { $0.floats + start }, wantsParameters ? sums : nil, wantsParameters ? sums + width : nil,
                rows, width)
        }
        return [result] + (wantsParameters ? sums : [nil, nil])
    }

    /// With recorded operations, for second derivatives.
    func differentiableBackward(_ gradient: Tensor, _ x: Tensor, _ scale: Tensor, _ epsilon: Float) -> [Tensor?] {
        func mean(_ values: Tensor) -> Tensor { values.mean(axes: [-1], keepDimensions: true) }
        let centred = x - mean(x)
        let deviation = sqrt(mean(square(centred)) + epsilon)
        let normal = centred / deviation
        let weighted = gradient * scale
        let inputGradient = (weighted - mean(weighted) - normal * mean(weighted * normal)) / deviation
        return [inputGradient, (gradient * normal).summed(to: scale.shape), gradient.summed(to: scale.shape)]
    }
}
