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
    let rule = GELU(x, bias, approximation)
    return rule.forward().recorded("gelu", from: [x] + (bias.map { [$0] } ?? []), squaredInputs: 1..<2) { gradient in
        rule.backward(gradient, x, bias)
    }
}

/// linear(gelu(x + bias), weight) without keeping what lies between: backward makes it again, which costs a pass over
/// memory and saves the largest activation of a transformer's block.
///
/// - Parameters:
///   - x: …×I; bias: I.
///   - weight: O×I; I×O where `inputsFirst`.
/// - Returns: …×O.
public func geluLinear(
    _ x: Tensor, bias: Tensor? = nil, approximation: GELUApproximation = .none, weight: Tensor,
    inputsFirst: Bool = false
) -> Tensor {
    let rule = GELU(x, bias, approximation)
    let result = linear(rule.forward(), weight: weight.detached, inputsFirst: inputsFirst)
    let inputs = [x, weight] + (bias.map { [$0] } ?? [])
    let samples = x.rank > 1 ? x.shape[0] : 1
    return result.recorded("gelu linear", from: inputs, squaredInputs: 1..<3) { gradient in
        let inner = Tape.isRecording ? gelu(x, bias: bias, approximation: approximation) : rule.forward()
        let width = x.shape.last ?? 1
        let rows = inner.reshaped([inner.count / max(1, width), width])
        let upstream = gradient.reshaped([rows.shape[0], gradient.shape.last ?? 1])
        var weightSlope: Tensor?
        if weight.requiresGradient {
            weightSlope =
                Tape.squaresSamples
                ? squaredWeightGradient(rows, upstream, samples: samples, inputsFirst)
                : weightGradient(rows, upstream, of: weight, inputsFirst)
        }
        let innerSlope = matmul(upstream, weight, transposeB: inputsFirst).reshaped(x.shape)
        let slopes = rule.backward(innerSlope, x, bias)
        return [slopes[0], weightSlope] + slopes.dropFirst()
    }
}

/// One call: x + bias and the formula.
private struct GELU {
    private let x: Tensor
    private let bias: Tensor?
    private let isApproximate: Bool

    init(_ x: Tensor, _ bias: Tensor?, _ approximation: GELUApproximation) {
        precondition(
            bias.map { x.rank >= 1 && $0.shape == [x.shape[x.rank - 1]] } ?? true,
            "gelu: a bias of shape \(bias?.shape ?? []) does not fit x of shape \(x.shape)")
        (self.x, self.bias, isApproximate) = (x.rowMajor.detached, bias?.rowMajor.detached, approximation == .tanh)
    }

    /// Off the tape.
    func forward() -> Tensor {
        let result = Tensor(uninitialized: x.shape)
        let blocks = RowBlocks(x)
        blocks.forEach("gelu", arrays: 2) { first, rows, _ in
            let start = first * blocks.width
            graft_gelu(
                x.floats + start, bias?.floats, result.floats + start, rows, blocks.width, isApproximate ? 1 : 0)
        }
        return result
    }

    /// The gradients of x and, where there is one, of the bias.
    ///
    /// - Parameters:
    ///   - input, offset: x and bias on the tape.
    func backward(_ gradient: Tensor, _ input: Tensor, _ offset: Tensor?) -> [Tensor?] {
        if Tape.isRecording {
            let whole = offset.map { input + $0 } ?? input
            let slope = gradient * (isApproximate ? GELUSlope.approximate(whole) : GELUSlope.exact(whole))
            return offset.map { [slope, slope.summed(to: $0.shape)] } ?? [slope]
        }
        let (upstream, result) = (gradient.rowMajor, Tensor(uninitialized: x.shape))
        let (squared, wantsBias) = (Tape.squaresSamples, offset?.requiresGradient ?? false)
        let blocks = RowBlocks(x, samples: squared ? x.shape.first : nil)
        let sums = blocks.sums("gelu gradient", arrays: 3, vectors: 1, squared: squared) { first, rows, sums in
            let start = first * blocks.width
            graft_gelu_gradient(
                upstream.floats + start, x.floats + start, bias?.floats, result.floats + start,
                wantsBias ? sums : nil, rows, blocks.width, isApproximate ? 1 : 0)
        }
        guard offset != nil else { return [result] }
        return [result, wantsBias ? sums[0] : nil]
    }
}

/// The slopes with recorded operations, for second derivatives.
private enum GELUSlope {
    static func exact(_ x: Tensor) -> Tensor { distribution(x) + x * density(x) }

    static func approximate(_ x: Tensor) -> Tensor {
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
