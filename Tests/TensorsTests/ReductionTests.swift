import Tensors
import XCTest

final class ReductionTests: XCTestCase {
    private let axes: [[Int]?] = [nil, [0], [1], [2], [3], [0, 2], [1, 3], [-1, 0], [0, 1, 2, 3], [2, 3]]

    func testGradients() throws {
        let x = randomTensor([2, 3, 4, 3], seed: 1)
        let distinct = distinctTensor([2, 3, 4, 3], seed: 2)
        for axes in axes {
            for keeps in [false, true] {
                let name = "\(axes.map(String.init(describing:)) ?? "all") \(keeps)"
                try checkGradients(of: [x], name) { $0[0].sum(axes: axes, keepDimensions: keeps) }
                try checkGradients(of: [x], name) { $0[0].mean(axes: axes, keepDimensions: keeps) }
                try checkGradients(of: [x], name) { $0[0].variance(axes: axes, keepDimensions: keeps) }
                try checkGradients(of: [distinct], name) { $0[0].max(axes: axes, keepDimensions: keeps) }
            }
        }
        try checkSecondGradients(of: [x.sliced(axis: 2, 0..<2)]) { square($0[0].sum(axes: [1])) }
        try checkSecondGradients(of: [x.sliced(axis: 2, 0..<2)]) { $0[0].variance(axes: [0, 2]) * $0[0].mean() }
    }

    func testShapes() {
        let x = Tensor.ones([2, 3, 1, 4])
        XCTAssertEqual(x.sum().shape, [])
        XCTAssertEqual(x.sum(keepDimensions: true).shape, [1, 1, 1, 1])
        XCTAssertEqual(x.sum(axes: [2]).shape, [2, 3, 4])
        XCTAssertEqual(x.sum(axes: []).scalars, x.scalars)
        assertEqual(x.sum(axes: [1, 3]), [12, 12], shape: [2, 1])
        XCTAssertEqual(Tensor.zeros([0, 3]).sum(axes: [0]).scalars, [0, 0, 0])
    }

    /// Ten million tenths: a plain float sum would be off by several per cent.
    func testAccuracy() {
        let tenths = Tensor.full([10_000_000], 0.1)
        XCTAssertEqual(Double(tenths.sum().scalar), 10_000_000 * Double(Float(0.1)), accuracy: 0.1)
        let columns = Tensor.full([1_000_000, 3], 0.1).sum(axes: [0])
        for value in columns.scalars { XCTAssertEqual(Double(value), 1e6 * Double(Float(0.1)), accuracy: 0.01) }
        let shifted = randomTensor([1000], seed: 5) + 1e4
        let exact = shifted.scalars.map(Double.init)
        let mean = exact.reduce(0, +) / 1000
        let variance = exact.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 1000
        XCTAssertEqual(Double(shifted.variance().scalar), variance, accuracy: 1e-4 * variance)
    }

    func testArgmax() {
        let x = Tensor([1, 5, 5, 9, -1, 3], shape: [2, 3])
        XCTAssertEqual(x.argmax().indices, [1, 0])
        XCTAssertEqual(x.argmax(axis: 0, keepDimensions: true).indices, [1, 0, 0])
        XCTAssertEqual(x.argmax(axis: 0, keepDimensions: true).shape, [1, 3])
        XCTAssertEqual(Tensor([1, .nan, 7], shape: [3]).argmax().indices, [1])
    }
}
