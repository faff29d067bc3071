import Foundation

// Functions of single elements. Their backwards use the output where that is cheaper; where the backward
// pass is itself recorded, they start from the input again, so that the result can be differentiated.

/// Element by element e to the power of x.
public func exp(_ x: Tensor) -> Tensor {
    let result = Elementwise.map(x) { Foundation.exp($0) }
    return result.recorded("exp", from: [x]) { gradient in
        [gradient * (Tape.isRecording ? exp(x) : result)]
    }
}

/// Element by element the natural logarithm.
public func log(_ x: Tensor) -> Tensor {
    Elementwise.map(x) { Foundation.log($0) }.recorded("log", from: [x]) { [$0 / x] }
}

/// Element by element the square root.
public func sqrt(_ x: Tensor) -> Tensor {
    let result = Elementwise.map(x) { $0.squareRoot() }
    return result.recorded("sqrt", from: [x]) { gradient in
        [gradient / ((Tape.isRecording ? sqrt(x) : result) * 2)]
    }
}

/// Element by element x².
public func square(_ x: Tensor) -> Tensor {
    Elementwise.combine(x, x, Multiplication.self).recorded("square", from: [x]) { [$0 * x * 2] }
}

/// Element by element the hyperbolic tangent.
public func tanh(_ x: Tensor) -> Tensor {
    let result = Elementwise.map(x) { Foundation.tanh($0) }
    return result.recorded("tanh", from: [x]) { gradient in
        [gradient * (1 - square(Tape.isRecording ? tanh(x) : result))]
    }
}

/// Element by element 1 / (1 + exp(-x)).
public func sigmoid(_ x: Tensor) -> Tensor {
    let result = Elementwise.map(x) { 1 / (1 + Foundation.exp(-$0)) }
    return result.recorded("sigmoid", from: [x]) { gradient in
        let y = Tape.isRecording ? sigmoid(x) : result
        return [gradient * y * (1 - y)]
    }
}

/// Which formula `gelu` computes.
public enum GELUApproximation: Sendable {
    /// x · Φ(x), with the distribution function of the normal distribution.
    case none
    /// x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), as GPT-2 does.
    case tanh
}

/// The Gaussian error linear unit (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415).
public func gelu(_ x: Tensor, approximation: GELUApproximation = .none) -> Tensor {
    let function: (Float) -> Float = approximation == .tanh ? GELU.approximate : GELU.exact
    let slope: (Float) -> Float = approximation == .tanh ? GELU.approximateSlope : GELU.exactSlope
    return Elementwise.map(x, function).recorded("gelu", from: [x]) { gradient in
        guard Tape.isRecording else { return [gradient * Elementwise.map(x.detached, slope)] }
        return [gradient * (approximation == .tanh ? GELU.approximateSlope(x) : GELU.exactSlope(x))]
    }
}

private enum GELU {
    static let c = Float(2 / Double.pi).squareRoot()
    static let cubic: Float = 0.044715

    static func exact(_ x: Float) -> Float { x * distribution(x) }
    static func exactSlope(_ x: Float) -> Float { distribution(x) + x * density(x) }
    static func exactSlope(_ x: Tensor) -> Tensor { distribution(x) + x * density(x) }

    static func approximate(_ x: Float) -> Float {
        0.5 * x * (1 + Foundation.tanh(c * (x + cubic * x * x * x)))
    }

    static func approximateSlope(_ x: Float) -> Float {
        let t = Foundation.tanh(c * (x + cubic * x * x * x))
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * cubic * x * x)
    }

    static func approximateSlope(_ x: Tensor) -> Tensor {
        let t = tanh((x + square(x) * x * cubic) * c)
        return 0.5 * (1 + t) + 0.5 * x * (1 - square(t)) * (square(x) * (3 * cubic) + 1) * c
    }

    /// Φ(x), the standard normal distribution function.
    static func distribution(_ x: Float) -> Float { 0.5 * (1 + Foundation.erf(x * Float(0.5).squareRoot())) }

    static func distribution(_ x: Tensor) -> Tensor {
        Elementwise.map(x) { distribution($0) }.recorded("normalDistribution", from: [x]) { [$0 * density(x)] }
    }

    /// φ(x), the standard normal density.
    static func density(_ x: Float) -> Float {
        Foundation.exp(-0.5 * x * x) / Float(2 * Double.pi).squareRoot()
    }

    static func density(_ x: Tensor) -> Tensor {
        exp(square(x) * -0.5) / Float(2 * Double.pi).squareRoot()
    }
}
