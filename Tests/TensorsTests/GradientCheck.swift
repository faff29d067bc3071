import Tensors
import XCTest

/// Compares the gradients that backward finds with finite differences, for every element of every variable.
///
/// The output, of any shape, is weighted with fixed numbers and summed, so that no two elements can make up for
/// each other. Keep inputs further than `step` from kinks and ties.
///
/// - Parameters:
///   - step: how far each element is moved, both ways.
///   - tolerance: the greatest error allowed, relative to the array's largest gradient or 1.
func checkGradients(
    of values: [Tensor], step: Float = 1e-2, tolerance: Double = 2e-3, _ name: String = "",
    file: StaticString = #filePath, line: UInt = #line, _ function: ([Tensor]) throws -> Tensor
) throws {
    let variables = values.map { Tensor.variable($0) }
    let output = try function(variables)
    let weights = randomTensor(output.shape, seed: 977)
    let collector = GradientCollector()
    try output.backward(into: collector, seed: weights)
    for (number, variable) in variables.enumerated() {
        let found = try XCTUnwrap(variable.variableID.map { collector.gradients[$0]?.tensor ?? .zeros(variable.shape) })
        XCTAssertEqual(found.shape, variable.shape, "\(name): gradient \(number)", file: file, line: line)
        let expected = try differences(of: number, values, step: step, weights: weights.scalars, function)
        assertClose(
            found.scalars.map(Double.init), expected, tolerance, "\(name): gradient \(number)", file: file, line: line)
    }
}

/// The same for the gradients of gradients: what the first backward pass records is differentiated again.
func checkSecondGradients(
    of values: [Tensor], step: Float = 1e-2, tolerance: Double = 4e-3, _ name: String = "",
    file: StaticString = #filePath, line: UInt = #line, _ function: ([Tensor]) throws -> Tensor
) throws {
    try checkGradients(of: values, step: step, tolerance: tolerance, name, file: file, line: line) { variables in
        let output = try function(variables)
        let loss = (output * randomTensor(output.shape, seed: 31)).sum()
        let gradients = try gradient(of: loss, wrt: variables, createGraph: true)
        return concatenated(gradients.map { $0.reshaped([-1]) }, axis: 0)
    }
}

private func differences(
    of number: Int, _ values: [Tensor], step: Float, weights: [Float], _ function: ([Tensor]) throws -> Tensor
) throws -> [Double] {
    func weightedSum(_ moved: [Float]) throws -> Double {
        var inputs = values
        inputs[number] = Tensor(moved, shape: values[number].shape)
        let output = try function(inputs.map { Tensor.variable($0) })
        return zip(output.scalars, weights).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    }
    let start = values[number].scalars
    return try start.indices.map { i in
        var (above, below) = (start, start)
        above[i] += step
        below[i] -= step
        return try (weightedSum(above) - weightedSum(below)) / (Double(above[i]) - Double(below[i]))
    }
}

/// Compares whole arrays; errors are relative to the largest expected number, or to 1.
func assertClose(
    _ found: [Double], _ expected: [Double], _ tolerance: Double, _ name: String = "",
    file: StaticString = #filePath, line: UInt = #line
) {
    guard found.count == expected.count else {
        return XCTFail("\(name): \(found.count) elements, not \(expected.count)", file: file, line: line)
    }
    let scale = expected.reduce(1) { max($0, abs($1)) }
    for (i, (a, b)) in zip(found, expected).enumerated() where !(abs(a - b) <= tolerance * scale) {
        return XCTFail("\(name): element \(i) is \(a), not \(b)", file: file, line: line)
    }
}

func assertClose(
    _ found: Tensor, _ expected: Tensor, _ tolerance: Double = 1e-5, _ name: String = "",
    file: StaticString = #filePath, line: UInt = #line
) {
    XCTAssertEqual(found.shape, expected.shape, name, file: file, line: line)
    assertClose(
        found.scalars.map(Double.init), expected.scalars.map(Double.init), tolerance, name, file: file, line: line)
}

func assertEqual(
    _ found: Tensor, _ expected: [Float], shape: [Int], file: StaticString = #filePath, line: UInt = #line
) {
    XCTAssertEqual(found.shape, shape, file: file, line: line)
    XCTAssertEqual(found.scalars, expected, file: file, line: line)
}

/// Uniform numbers; the same for the same seed.
func randomTensor(_ shape: [Int], seed: UInt64, in range: Range<Float> = -2..<2) -> Tensor {
    .uniform(shape, in: range, key: RandomKey(seed: seed, purpose: .test))
}

/// Different numbers at least 0.1 apart and from zero, in random order: no kink and no tie is near.
func distinctTensor(_ shape: [Int], seed: UInt64) -> Tensor {
    let count = shape.reduce(1, *)
    var generator = PhiloxGenerator(key: RandomKey(seed: seed, purpose: .test))
    let numbers = (0..<count).map { (Float($0 - count / 2) + 0.5) / 8 }.shuffled(using: &generator)
    return Tensor(numbers, shape: shape)
}
