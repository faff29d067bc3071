import Tensors
import XCTest

/// First and second derivatives of convolution, pooling, batch norm and activations.
final class LayerGradientTests: XCTestCase {
    func testConvolution() throws {
        let values = [
            randomTensor([2, 4, 5, 4], seed: 1), randomTensor([6, 2, 3, 3], seed: 2), randomTensor([6], seed: 3),
        ]
        let padding = SpatialPadding(top: 0, bottom: 1, left: 2, right: 1)
        func convolved(_ v: [Tensor]) -> Tensor {
            convolution2D(v[0], weight: v[1], bias: v[2], stride: (2, 1), padding: padding, dilation: (1, 2), groups: 2)
        }
        try checkGradients(of: values) { convolved($0) }
        let small = [randomTensor([1, 4, 3, 3], seed: 1), values[1], values[2]]
        try checkSecondGradients(of: small) { square(convolved($0)) }
        let depthwise = [randomTensor([1, 3, 4, 3], seed: 4), randomTensor([3, 1, 3, 2], seed: 5)]
        try checkGradients(of: depthwise) { convolution2D($0[0], weight: $0[1], groups: 3) }
        try checkSecondGradients(of: depthwise) { convolution2D($0[0], weight: $0[1], groups: 3) }
    }

    func testPooling() throws {
        let x = distinctTensor([2, 3, 5, 4], seed: 6)
        let padding = SpatialPadding(top: 1, bottom: 0, left: 0, right: 1)
        try checkGradients(of: [x]) { maxPool2D($0[0], window: (3, 2), stride: (2, 2), padding: padding) }
        try checkGradients(of: [x]) { globalAveragePool($0[0]) }
        for counts in [true, false] {
            try checkGradients(of: [x]) {
                averagePool2D($0[0], window: (3, 2), stride: (2, 1), padding: padding, countsPadding: counts)
            }
        }
        let small = distinctTensor([1, 2, 4, 3], seed: 7)
        try checkSecondGradients(of: [small]) { square(maxPool2D($0[0], window: (2, 2), stride: (1, 1))) }
        try checkSecondGradients(of: [small]) { square(averagePool2D($0[0], window: (2, 2), stride: (2, 1))) }
    }

    func testBatchNorm() throws {
        let x = randomTensor([3, 4, 3, 2], seed: 8)
        let values = [x, randomTensor([4], seed: 9, in: 0.5..<2), randomTensor([4], seed: 10)]
        try checkGradients(of: values, tolerance: 5e-3) {
            try batchNormalization($0[0], scale: $0[1], shift: $0[2], epsilon: 1e-3).output
        }
        let withResidual = values + [randomTensor(x.shape, seed: 11)]
        try checkGradients(of: withResidual, step: 2e-3, tolerance: 1e-2) {
            try batchNormalization(
                $0[0], scale: $0[1], shift: $0[2], epsilon: 1e-3, residual: $0[3], activation: .leakyRelu(slope: 0.1)
            ).output
        }
        let (mean, variance) = (randomTensor([4], seed: 12), randomTensor([4], seed: 13, in: 0.5..<2))
        try checkGradients(of: values) {
            batchNormalization($0[0], scale: $0[1], shift: $0[2], mean: mean, variance: variance, epsilon: 1e-5)
        }
        let small = [
            randomTensor([2, 2, 2, 2], seed: 14), values[1].sliced(axis: 0, 0..<2), values[2].sliced(axis: 0, 0..<2),
        ]
        try checkSecondGradients(of: small, tolerance: 1e-2) {
            try batchNormalization($0[0], scale: $0[1], shift: $0[2], epsilon: 1e-1).output
        }
        let (smallMean, smallVariance) = (mean.sliced(axis: 0, 0..<2), variance.sliced(axis: 0, 0..<2))
        try checkSecondGradients(of: small + [randomTensor([2, 2, 2, 2], seed: 15)]) {
            batchNormalization(
                $0[0], scale: $0[1], shift: $0[2], mean: smallMean, variance: smallVariance, epsilon: 1e-3,
                residual: $0[3])
        }
    }

    func testActivations() throws {
        let x = distinctTensor([2, 5], seed: 15) * 9
        for activation in [Activation.relu, .relu6, .leakyRelu(slope: 0.1)] {
            try checkGradients(of: [x], "\(activation)") { activated($0[0], activation) }
            try checkSecondGradients(of: [x], "\(activation)") { square(activated($0[0], activation)) }
        }
    }

    /// A diverged network must not look well behind an activation.
    func testNaNGoesThroughActivations() {
        let x = Tensor(.init(repeating: .nan, count: 35), shape: [35])
        for activation in [Activation.relu, .relu6, .leakyRelu(slope: 0.1)] {
            XCTAssertTrue(activated(x, activation).scalars.allSatisfy(\.isNaN), "\(activation)")
        }
    }

    /// The network that second derivatives are for: convolution, ReLU, pooling, matrix product, softmax.
    func testSecondDerivativesOfANetwork() throws {
        let values = [
            distinctTensor([2, 1, 4, 4], seed: 16), randomTensor([2, 1, 3, 3], seed: 17),
            randomTensor([8, 3], seed: 18),
        ]
        let labels = Tensor(indices: [2, 0], shape: [2])
        try checkSecondGradients(of: values, step: 1e-3, tolerance: 2e-2) { v in
            let x = activated(convolution2D(v[0], weight: v[1], padding: SpatialPadding(1)), .relu)
            let pooled = averagePool2D(x, window: (2, 2), stride: (2, 2)).flattened()
            return crossEntropy(matmul(pooled, v[2]), labels: labels)
        }
    }

    /// Layouts of oneDNN's choosing go through residual sums and activations without a detour over rows.
    func testOpaqueLayoutsFlowThroughAResidualBlock() throws {
        let x = randomTensor([2, 32, 6, 5], seed: 19)
        let weight = randomTensor([32, 32, 3, 3], seed: 20)
        let y = convolution2D(x, weight: weight, padding: SpatialPadding(1))
        XCTAssertTrue(y.hasOpaqueLayout)
        XCTAssertTrue((y + activated(y, .relu)).hasOpaqueLayout)
    }
}

/// Winograd's convolutions against direct ones, forward and both gradients.
final class WinogradTests: XCTestCase {
    private struct Results {
        let output, inputGradient, weightGradient, biasGradient: Tensor
    }

    private func results(_ x: Tensor, _ weight: Tensor, _ bias: Tensor, exact: Bool) throws -> Results {
        ConvolutionAlgorithms.areExact = exact
        defer { ConvolutionAlgorithms.areExact = false }
        let variables = [x, weight, bias].map { Tensor.variable($0) }
        let output = convolution2D(variables[0], weight: variables[1], bias: variables[2], padding: SpatialPadding(1))
        let loss = (output * randomTensor(output.shape, seed: 5)).sum()
        let gradients = try gradient(of: loss, wrt: variables)
        return Results(
            output: output.detached, inputGradient: gradients[0], weightGradient: gradients[1],
            biasGradient: gradients[2])
    }

    func testAgainstDirectSums() throws {
        for (batch, channels, outputs, size) in [(3, 64, 32, 14), (1, 32, 48, 33), (5, 80, 64, 12)] {
            let x = randomTensor([batch, channels, size, size + 1], seed: 1)
            let weight = randomTensor([outputs, channels, 3, 3], seed: 2)
            let bias = randomTensor([outputs], seed: 3)
            let found = try results(x, weight, bias, exact: false)
            let expected = try results(x, weight, bias, exact: true)
            let name = "\(batch)×\(channels)×\(size)"
            assertClose(found.output, expected.output, 1e-5, "\(name): output")
            assertClose(found.inputGradient, expected.inputGradient, 1e-5, "\(name): input gradient")
            assertClose(found.weightGradient, expected.weightGradient, 1e-5, "\(name): weight gradient")
            assertClose(found.biasGradient, expected.biasGradient, 1e-5, "\(name): bias gradient")
        }
    }

    /// Which algorithm runs must not depend on the batch: ranks have slices of different sizes.
    func testTheBatchDoesNotMatter() throws {
        let (x, weight) = (randomTensor([9, 64, 14, 14], seed: 1), randomTensor([64, 64, 3, 3], seed: 2))
        func error(_ samples: Range<Int>) -> Double {
            let part = x.sliced(axis: 0, samples)
            let fast = convolution2D(part, weight: weight, padding: SpatialPadding(1)).scalars
            ConvolutionAlgorithms.areExact = true
            defer { ConvolutionAlgorithms.areExact = false }
            let exact = convolution2D(part, weight: weight, padding: SpatialPadding(1)).scalars
            let largest = exact.map(abs).max() ?? 1
            return Double((zip(fast, exact).map { abs($0 - $1) }.max() ?? 0) / largest)
        }
        let errors = [0..<1, 1..<5, 0..<9].map(error)
        // All of them the fast algorithm's, or (where the processor has none) none of them.
        XCTAssertTrue(errors.allSatisfy { $0 > 0 } || errors.allSatisfy { $0 == 0 }, "\(errors)")
    }
}
