import Tensors
import XCTest

final class SoftmaxTests: XCTestCase {
    func testGradients() throws {
        let x = randomTensor([3, 4, 5], seed: 1)
        for axis in [0, 1, 2, -1] {
            try checkGradients(of: [x], "axis \(axis)") { softmax($0[0], axis: axis) }
            try checkGradients(of: [x], "axis \(axis)") { logSoftmax($0[0], axis: axis) }
        }
        try checkSecondGradients(of: [x.sliced(axis: 0, 0..<1)]) { softmax($0[0]) }
        try checkSecondGradients(of: [x.sliced(axis: 0, 0..<1)]) { logSoftmax($0[0], axis: 1) }
    }

    func testCrossEntropy() throws {
        let logits = randomTensor([5, 7], seed: 2)
        let labels = Tensor(indices: [0, 3, 6, 3, 2], shape: [5])
        for (smoothing, ignored) in [(Float(0), Int32?.none), (0.2, nil), (0, 3), (0.2, 3)] {
            let name = "\(smoothing) \(ignored ?? -1)"
            try checkGradients(of: [logits], name) {
                crossEntropy($0[0], labels: labels, labelSmoothing: smoothing, ignoreIndex: ignored)
            }
            try checkSecondGradients(of: [logits], name) {
                crossEntropy($0[0], labels: labels, labelSmoothing: smoothing, ignoreIndex: ignored)
            }
        }
        let composed = -logSoftmax(logits).taken(along: 1, labels.reshaped([5, 1])).sum()
        assertClose(crossEntropy(logits, labels: labels), composed)
        let huge = crossEntropy(Tensor([1e4, -1e4], shape: [1, 2]), labels: Tensor(indices: [1], shape: [1]))
        XCTAssertEqual(huge.scalar, 2e4)
        let none = crossEntropy(logits, labels: Tensor(indices: [9, 9, 9, 9, 9], shape: [5]), ignoreIndex: 9)
        XCTAssertEqual(none.scalar, 0)
    }

    func testDropout() throws {
        let key = RandomKey(seed: 1, purpose: .dropout, path: "head", epoch: 2, position: 3)
        let x = Tensor.ones([100, 101])
        let y = dropout(x, rate: 0.3, key: key)
        let kept = y.scalars.filter { $0 != 0 }
        XCTAssertTrue(kept.allSatisfy { $0 == 1 / (1 - 0.3) })
        XCTAssertEqual(Double(kept.count) / 10_100, 0.7, accuracy: 0.02)
        XCTAssertEqual(y.scalars, dropout(x, rate: 0.3, key: key).scalars)
        var other = key
        other.position = 4
        XCTAssertNotEqual(y.scalars, dropout(x, rate: 0.3, key: other).scalars)
        XCTAssertEqual(dropout(x, rate: 0, key: key).scalars, x.scalars)
        try checkGradients(of: [randomTensor([3, 5], seed: 4)]) { dropout($0[0], rate: 0.5, key: key) }
        try checkSecondGradients(of: [randomTensor([3, 5], seed: 4)]) { square(dropout($0[0], rate: 0.5, key: key)) }
    }

    func testScaleGradient() throws {
        let x = Tensor.variable(Tensor([1, 2], shape: [2]))
        let y = scaleGradient(x, by: -0.5)
        XCTAssertEqual(y.scalars, [1, 2])
        XCTAssertEqual(try gradient(of: (y * y).sum(), wrt: [x])[0].scalars, [-1, -2])
    }
}
