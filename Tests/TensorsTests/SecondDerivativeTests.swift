import Tensors
import XCTest

/// Gradients of gradients of whole small networks.
final class SecondDerivativeTests: XCTestCase {
    func testSmoothNetwork() throws {
        let values = [randomTensor([3, 4], seed: 1), randomTensor([4, 5], seed: 2), randomTensor([5, 2], seed: 3)]
        let labels = Tensor(indices: [0, 1, 1], shape: [3])
        try checkSecondGradients(of: values) { crossEntropy(matmul(tanh(matmul($0[0], $0[1])), $0[2]), labels: labels) }
    }

    func testAttention() throws {
        let values = (1...3).map { randomTensor([2, 3, 2], seed: $0) }
        try checkSecondGradients(of: values) { v in
            matmul(softmax(matmul(v[0], v[1], transposeB: true) / Float(2).squareRoot()), v[2])
        }
    }
}
