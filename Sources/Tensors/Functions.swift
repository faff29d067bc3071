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
