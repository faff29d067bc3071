import Tensors
import XCTest

final class MatrixProductTests: XCTestCase {
    func testPlainAndTransposed() throws {
        for (transposeA, transposeB) in [(false, false), (true, false), (false, true), (true, true)] {
            let values = [
                randomTensor(transposeA ? [4, 3] : [3, 4], seed: 1),
                randomTensor(transposeB ? [5, 4] : [4, 5], seed: 2),
            ]
            let name = "transposed \(transposeA) \(transposeB)"
            let product = matmul(values[0], values[1], transposeA: transposeA, transposeB: transposeB)
            let a = transposeA ? values[0].transposed() : values[0]
            let b = transposeB ? values[1].transposed() : values[1]
            assertClose(product, naiveProduct(a, b), 1e-6, name)
            try checkGradients(of: values, name) {
                matmul($0[0], $0[1], transposeA: transposeA, transposeB: transposeB)
            }
            try checkSecondGradients(of: values, name) {
                matmul($0[0], $0[1], transposeA: transposeA, transposeB: transposeB)
            }
        }
    }

    func testBatches() throws {
        let shapes: [([Int], [Int])] = [
            ([2, 3, 4], [2, 4, 5]), ([2, 1, 3, 4], [3, 4, 2]), ([2, 3, 4], [4, 2]), ([3, 4], [2, 4, 3]),
            ([1, 3, 4], [5, 4, 1]),
        ]
        for (a, b) in shapes {
            try checkGradients(of: [randomTensor(a, seed: 3), randomTensor(b, seed: 4)], "\(a) \(b)") {
                matmul($0[0], $0[1])
            }
            let (x, y) = (randomTensor(a, seed: 3), randomTensor(b, seed: 4).transposed())
            try checkGradients(of: [x, y], "\(a) \(b) transposed") { matmul($0[0], $0[1], transposeB: true) }
        }
        try checkSecondGradients(of: [randomTensor([2, 2, 3], seed: 5), randomTensor([3, 2], seed: 6)]) {
            matmul($0[0], $0[1])
        }
    }

    func testLinear() throws {
        let values = [
            randomTensor([3, 4], seed: 7), randomTensor([5, 4], seed: 8), randomTensor([5], seed: 9),
        ]
        try checkGradients(of: values) { linear($0[0], weight: $0[1], bias: $0[2]) }
        try checkSecondGradients(of: values) { square(linear($0[0], weight: $0[1], bias: $0[2])) }
        try checkGradients(of: Array(values.prefix(2))) { linear($0[0], weight: $0[1]) }
        let batch = linear(randomTensor([2, 3, 4], seed: 7), weight: values[1], bias: values[2])
        XCTAssertEqual(batch.shape, [2, 3, 5])
    }

    /// The gradient of a large weight, as factors and in parts of some rows.
    func testFactorsOfAGradient() throws {
        final class Factors: GradientSink {
            var gradients: [VariableID: Gradient] = [:]
            let prefersFactors = true
            func gradientReady(_ gradient: Gradient, for variable: VariableID) { gradients[variable] = gradient }
        }
        let x = randomTensor([3, 900], seed: 1)
        let variables = [Tensor.variable(randomTensor([1300, 900], seed: 2)), .variable(.zeros([1300]))]
        func loss() -> Tensor { square(linear(x, weight: variables[0], bias: variables[1])).sum() }
        let expected = try gradient(of: loss(), wrt: variables)
        let sink = Factors()
        try loss().backward(into: sink)
        let found = try variables.map { try XCTUnwrap(sink.gradients[XCTUnwrap($0.variableID)]) }
        guard case .product = found[0], case .dense = found[1] else { return XCTFail("not as factors") }
        for (gradient, expected) in zip(found, expected) {
            XCTAssertEqual(gradient.tensor.scalars, expected.scalars)
            var parts: [Float] = []
            gradient.forEachPart { offset, values in
                XCTAssertEqual(offset, parts.count)
                parts += values
            }
            XCTAssertEqual(parts, expected.scalars)
        }
        // Used twice, its gradient is a sum and no product.
        let twice = Factors()
        let y = linear(x, weight: variables[0])
        try (square(y) + linear(x, weight: variables[0])).sum().backward(into: twice)
        guard case .dense? = twice.gradients[try XCTUnwrap(variables[0].variableID)] else {
            return XCTFail("a weight used twice")
        }
    }

    func testNothingToMultiply() {
        assertEqual(matmul(.zeros([2, 0]), .zeros([0, 3])), [Float](repeating: 0, count: 6), shape: [2, 3])
        XCTAssertEqual(matmul(.zeros([0, 4]), .zeros([4, 3])).shape, [0, 3])
    }

    private func naiveProduct(_ a: Tensor, _ b: Tensor) -> Tensor {
        let (m, k, n) = (a.shape[0], a.shape[1], b.shape[1])
        let (x, y) = (a.scalars, b.scalars)
        return Tensor(
            (0..<m * n).map { i in (0..<k).reduce(0) { $0 + x[i / n * k + $1] * y[$1 * n + i % n] } }, shape: [m, n])
    }
}
