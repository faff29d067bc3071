import Tensors
import XCTest

final class TapeTests: XCTestCase {
    func testGradientsOfSharedInputsAddUp() throws {
        let x = Tensor.variable(Tensor([3], shape: [1]))
        let y = x * x + x * 2 + x
        XCTAssertEqual(try gradient(of: y.sum(), wrt: [x])[0].scalars, [9])
    }

    /// Sums in place must not change what others hold: one tensor reaches several nodes as their gradient.
    func testAccumulationDoesNotShare() throws {
        let (a, b) = (Tensor.variable(.ones([4])), Tensor.variable(.ones([4])))
        let sum = a + b
        let loss = (sum * 2 + a * 5 + sum).sum()
        let gradients = try gradient(of: loss, wrt: [a, b])
        XCTAssertEqual(gradients[0].scalars, [8, 8, 8, 8])
        XCTAssertEqual(gradients[1].scalars, [3, 3, 3, 3])
        let seed = Tensor.ones([4])
        let collector = GradientCollector()
        try (a + a + a).backward(into: collector, seed: seed)
        XCTAssertEqual(seed.scalars, [1, 1, 1, 1])
        XCTAssertEqual(collector.gradients[try XCTUnwrap(a.variableID)]?.tensor.scalars, [3, 3, 3, 3])
    }

    func testWithoutTapeRecordsNothing() {
        let x = Tensor.variable(.ones([3]))
        XCTAssertTrue((x * 2).requiresGradient)
        XCTAssertFalse(withoutTape { x * 2 }.requiresGradient)
        XCTAssertFalse((x.detached * 2).requiresGradient)
        XCTAssertFalse((Tensor.ones([2]) + 1).requiresGradient)
    }

    func testVariablesNotUsedHaveZeroGradients() throws {
        let (x, y) = (Tensor.variable(.ones([2])), Tensor.variable(.ones([3])))
        XCTAssertEqual(try gradient(of: x.sum(), wrt: [y])[0].scalars, [0, 0, 0])
    }

    func testKeepGraph() throws {
        let x = Tensor.variable(Tensor([2], shape: [1]))
        let loss = (x * x).sum()
        XCTAssertEqual(try gradient(of: loss, wrt: [x], keepGraph: true)[0].scalars, [4])
        XCTAssertEqual(try gradient(of: loss, wrt: [x])[0].scalars, [4])
    }

    /// d/dx of (dy/dx)², the gradient penalty, and a third derivative.
    func testHigherDerivatives() throws {
        let x = Tensor.variable(Tensor([2], shape: [1]))
        let first = try gradient(of: (x * x * x).sum(), wrt: [x], createGraph: true)[0]
        XCTAssertEqual(first.scalars, [12])
        let second = try gradient(of: first.sum(), wrt: [x], createGraph: true)[0]
        XCTAssertEqual(second.scalars, [12])
        XCTAssertEqual(try gradient(of: second.sum(), wrt: [x])[0].scalars, [6])
        let penalty = try gradient(of: (x * x * x).sum(), wrt: [x], createGraph: true)[0]
        XCTAssertEqual(try gradient(of: square(penalty).sum(), wrt: [x])[0].scalars, [288])
    }

    /// A gradient is reported before earlier layers have run their backward: between two reports something is
    /// computed, and after the last one nothing.
    func testGradientsAreReportedAsSoonAsFinished() throws {
        let recorder = OrderRecorder()
        let layers = (0..<4).map { _ in Tensor.variable(.full([8, 8, 3, 3], 0.1)) }
        var x = Tensor.ones([2, 8, 6, 6])
        for layer in layers { x = convolution2D(x, weight: layer, padding: SpatialPadding(1)) }
        let loss = x.sum()

        var computed = 0
        var computedAtReport: [Int] = []
        ComputationHook.set { computed += 1 }
        defer { ComputationHook.set(nil) }
        recorder.onReport = { computedAtReport.append(computed) }
        try loss.backward(into: recorder)
        XCTAssertEqual(recorder.order, layers.reversed().compactMap(\.variableID))
        XCTAssertEqual(computedAtReport.count, layers.count)
        for (earlier, later) in zip(computedAtReport, computedAtReport.dropFirst()) {
            XCTAssertLessThan(earlier, later)
        }
        XCTAssertEqual(computedAtReport.last, computed)
    }

    func testASinkThatThrowsEndsBackward() {
        let recorder = OrderRecorder()
        struct Stop: Error {}
        recorder.onReport = { throw Stop() }
        let (a, b) = (Tensor.variable(.ones([2])), Tensor.variable(.ones([2])))
        XCTAssertThrowsError(try (exp(a) * b).sum().backward(into: recorder)) { XCTAssertTrue($0 is Stop) }
        XCTAssertEqual(recorder.order.count, 1)
    }
}

/// Notes the order in which gradients arrive.
final class OrderRecorder: GradientSink {
    var order: [VariableID] = []
    var onReport: () throws -> Void = {}

    func gradientReady(_ gradient: Gradient, for variable: VariableID) throws {
        order.append(variable)
        try onReport()
    }
}

/// Sums over samples of squared gradients, against walking back from one sample at a time.
final class SampleSquaresTests: XCTestCase {
    private let images = randomTensor([5, 4, 6, 5], seed: 1)
    private let labels = Tensor(indices: [0, 2, 1, 2, 0], shape: [5])

    /// Convolutions (plain, grouped), frozen batch norm, and linear layers on rows and on sequences of rows.
    private func loss(_ parameters: [Tensor], _ images: Tensor, _ labels: Tensor) -> Tensor {
        let p = parameters
        var x = convolution2D(images, weight: p[0], bias: p[1], stride: (2, 1), padding: SpatialPadding(1))
        x = batchNormalization(
            x, scale: p[2], shift: p[3], mean: .full([20], 0.1), variance: .full([20], 0.5), epsilon: 1e-3,
            activation: .relu)
        x = convolution2D(x, weight: p[4], groups: 20)
        let sequence = linear(x.reshaped([x.shape[0], 4, -1]), weight: p[5], bias: p[6])
        let logits = linear(sequence.mean(axes: [1]), weight: p[7], bias: p[8])
        return crossEntropy(logits, labels: labels)
    }

    func testAgainstOneSampleAtATime() throws {
        let shapes = [[20, 4, 3, 3], [20], [20], [20], [20, 1, 2, 2], [7, 40], [7], [3, 7], [3]]
        let parameters = shapes.enumerated().map { Tensor.variable(randomTensor($1, seed: UInt64(40 + $0))) }
        let collector = GradientCollector()
        try loss(parameters, images, labels).backward(into: collector, parameters: .sumOfSquares)

        var expected = shapes.map { [Double](repeating: 0, count: $0.reduce(1, *)) }
        for sample in 0..<5 {
            let one = try gradient(
                of: loss(
                    parameters, images.sliced(axis: 0, sample..<sample + 1),
                    Tensor(indices: [labels.indices[sample]], shape: [1])), wrt: parameters)
            for (i, g) in one.enumerated() {
                for (j, value) in g.scalars.enumerated() { expected[i][j] += Double(value) * Double(value) }
            }
        }
        for (i, parameter) in parameters.enumerated() {
            let found = try XCTUnwrap(collector.gradients[XCTUnwrap(parameter.variableID)]).tensor
            XCTAssertEqual(found.shape, shapes[i])
            assertClose(found.scalars.map(Double.init), expected[i], 1e-5, "parameter \(i)")
        }
    }
}
