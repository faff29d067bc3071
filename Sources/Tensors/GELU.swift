import CKernels
import Foundation

/// Which formula `gelu` computes.
public enum GELUApproximation: Sendable {
    /// x · Φ(x), with the distribution function of the normal distribution.
    case none
    /// x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), as GPT-2 does.
    case tanh
}

/// The Gaussian error linear unit of x + bias, in one pass (Hendrycks and Gimpel 2016,
/// https://arxiv.org/abs/1606.08415).
///
/// - Parameters:
///   - x: …×W.
///   - bias: W, added first.
///
/// Differentiable twice. Checked against PyTorch's `gelu`.
public func gelu(_ x: Tensor, bias: Tensor? = nil, approximation: GELUApproximation = .none) -> Tensor {
    precondition(
        bias.map { x.rank >= 1 && $0.shape == [x.shape[x.rank - 1]] } ?? true,
        "gelu: a bias of shape \(bias?.shape ?? []) does not fit x of shape \(x.shape)")
    let (input, offset, isApproximate) = (x.rowMajor.detached, bias?.rowMajor.detached, approximation == .tanh)
    let result = Tensor(uninitialized: x.shape)
    let blocks = RowBlocks(x)
    blocks.forEach("gelu", arrays: 2) { first, rows, _ in
        let start = first * blocks.width
        graft_gelu(
            input.floats + start, offset?.floats, result.floats + start, rows, blocks.width, isApproximate ? 1 : 0)
    }
    return result.recorded("gelu", from: [x] + (bias.map { [$0] } ?? []), squaredInputs: 1..<2) { gradient in
        guard Tape.isRecording else {
            return geluGradient(gradient.rowMajor, input, offset, isApproximate, wantsBias: bias?.requiresGradient)
        }
        let whole = bias.map { x + $0 } ?? x
        let slope = gradient * (isApproximate ? GELU.approximateSlope(whole) : GELU.exactSlope(whole))
        return bias.map { [slope, slope.summed(to: $0.shape)] } ?? [slope]
    }
}

/// - Parameter wantsBias: nil where there is none.
private func geluGradient(
    _ gradient: Tensor, _ x: Tensor, _ bias: Tensor?, _ isApproximate: Bool, wantsBias: Bool?
) -> [Tensor?] {
    let result = Tensor(uninitialized: x.shape)
    let squared = Tape.squaresSamples
    let blocks = RowBlocks(x, samples: squared ? x.shape.first : nil)
    let sums = blocks.sums("gelu gradient", arrays: 3, vectors: 1, squared: squared) { first, rows, sums in
        let start = first * blocks.width
        graft_gelu_gradient(
            gradient.floats + start, x.floats + start, bias?.floats, result.floats + start,
            wantsBias == true ? sums : nil, rows, blocks.width, isApproximate ? 1 : 0)
    }
    guard let wantsBias else { return [result] }
    return [result, wantsBias ? sums[0] : nil]
}

/// The slopes with recorded operations, for second derivatives.
private enum GELU {
    static func exactSlope(_ x: Tensor) -> Tensor { distribution(x) + x * density(x) }

    static func approximateSlope(_ x: Tensor) -> Tensor {
        let (c, cubic) = (Float(2 / Double.pi).squareRoot(), Float(0.044715))
        let t = tanh((x + square(x) * x * cubic) * c)
        return 0.5 * (1 + t) + 0.5 * x * (1 - square(t)) * (square(x) * (3 * cubic) + 1) * c
    }

    /// Φ(x), the standard normal distribution function.
    static func distribution(_ x: Tensor) -> Tensor {
        Elementwise.map(x) { 0.5 * (1 + Foundation.erf($0 * Float(0.5).squareRoot())) }
            .recorded("normalDistribution", from: [x]) { [$0 * density(x)] }
    }

    /// φ(x), the standard normal density.
    static func density(_ x: Tensor) -> Tensor { exp(square(x) * -0.5) / Float(2 * Double.pi).squareRoot() }
}
