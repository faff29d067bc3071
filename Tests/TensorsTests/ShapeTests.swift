import Tensors
import XCTest

final class ShapeTests: XCTestCase {
    private let x = Tensor((0..<24).map(Float.init), shape: [2, 3, 4])

    func testReshapeAndFlatten() throws {
        XCTAssertEqual(x.reshaped([4, -1]).shape, [4, 6])
        XCTAssertEqual(x.flattened().shape, [2, 12])
        XCTAssertEqual(x.flattened(from: 0).shape, [24])
        XCTAssertEqual(x.reshaped([6, 4]).scalars, x.scalars)
        try checkGradients(of: [randomTensor([2, 3, 2], seed: 1)]) { square($0[0].reshaped([3, 4])) }
    }

    func testTranspose() throws {
        assertEqual(Tensor([1, 2, 3, 4, 5, 6], shape: [2, 3]).transposed(), [1, 4, 2, 5, 3, 6], shape: [3, 2])
        let values = x.scalars
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let y = x.transposed(order)
            XCTAssertEqual(y.shape, order.map { x.shape[$0] })
            var expected: [Float] = []
            let strides = [12, 4, 1]
            for i in 0..<y.shape[0] {
                for j in 0..<y.shape[1] {
                    for k in 0..<y.shape[2] {
                        expected.append(values[i * strides[order[0]] + j * strides[order[1]] + k * strides[order[2]]])
                    }
                }
            }
            XCTAssertEqual(y.scalars, expected, "\(order)")
            try checkGradients(of: [randomTensor([2, 3, 4], seed: 2)], "\(order)") { square($0[0].transposed(order)) }
        }
        XCTAssertEqual(Tensor(indices: [1, 2, 3, 4], shape: [2, 2]).transposed().indices, [1, 3, 2, 4])
    }

    func testExpand() throws {
        assertEqual(Tensor([1, 2], shape: [2, 1]).expanded([2, 3]), [1, 1, 1, 2, 2, 2], shape: [2, 3])
        assertEqual(Tensor([1, 2], shape: [2]).expanded([2, 2]), [1, 2, 1, 2], shape: [2, 2])
        assertEqual(Tensor(7).expanded([3]), [7, 7, 7], shape: [3])
        try checkGradients(of: [randomTensor([3, 1, 2], seed: 3)]) { square($0[0].expanded([2, 3, 4, 2])) }
        try checkSecondGradients(of: [randomTensor([3, 1], seed: 4)]) { square($0[0].expanded([3, 2])) }
    }

    func testSlice() throws {
        assertEqual(x.sliced(axis: 2, 1..<3).sliced(axis: 0, 1..<2), [13, 14, 17, 18, 21, 22], shape: [1, 3, 2])
        assertEqual(x.sliced(axis: -1, 0..<4, step: 3).sliced(axis: 1, 2..<3), [8, 11, 20, 23], shape: [2, 1, 2])
        assertEqual(x.selected(axis: 1, 1), [4, 5, 6, 7, 16, 17, 18, 19], shape: [2, 4])
        XCTAssertEqual(x.sliced(axis: 1, 1..<1).shape, [2, 0, 4])
        for step in 1...3 {
            try checkGradients(of: [randomTensor([2, 5, 3], seed: 5)], "step \(step)") {
                square($0[0].sliced(axis: 1, 1..<5, step: step))
            }
        }
        try checkSecondGradients(of: [randomTensor([2, 4], seed: 6)]) { square($0[0].sliced(axis: 1, 1..<4, step: 2)) }
    }

    func testPad() throws {
        let padded = Tensor([1, 2, 3, 4], shape: [2, 2]).padded([(1, 0), (0, 2)], value: 9)
        assertEqual(padded, [9, 9, 9, 9, 1, 2, 9, 9, 3, 4, 9, 9], shape: [3, 4])
        try checkGradients(of: [randomTensor([2, 3, 2], seed: 7)]) {
            square($0[0].padded([(0, 1), (2, 0), (1, 1)], value: 3))
        }
    }

    func testConcatenate() throws {
        let joined = concatenated([x.sliced(axis: 1, 2..<3), x], axis: 1)
        XCTAssertEqual(joined.shape, [2, 4, 4])
        XCTAssertEqual(
            joined.scalars, [8, 9, 10, 11] + x.scalars.prefix(12) + [20, 21, 22, 23] + x.scalars.suffix(12))
        for axis in 0..<3 {
            var shape = [2, 3, 2]
            shape[axis] = 1
            try checkGradients(of: [randomTensor([2, 3, 2], seed: 8), randomTensor(shape, seed: 9)], "axis \(axis)") {
                square(concatenated($0, axis: axis))
            }
        }
        XCTAssertEqual(
            concatenated([Tensor(indices: [1], shape: [1]), Tensor(indices: [2, 3], shape: [2])], axis: 0).indices,
            [1, 2, 3])
    }

    /// Whole blocks of channels are joined and taken apart as they lie; others by way of rows.
    func testConcatenateBlocks() throws {
        for (first, second) in [(16, 32), (16, 8), (8, 16), (24, 3)] {
            let a = randomTensor([2, first, 3, 2], seed: 10)
            let b = randomTensor([2, second, 3, 2], seed: 11)
            let joined = concatenated([a.inChannelBlocks(of: 16), b.inChannelBlocks(of: 16)], axis: 1)
            XCTAssertEqual(joined.hasOpaqueLayout, first % 16 == 0 && second % 16 == 0)
            XCTAssertEqual(joined.scalars, concatenated([a, b], axis: 1).scalars)
            let part = joined.sliced(axis: 1, first..<first + second)
            XCTAssertEqual(part.hasOpaqueLayout, first % 16 == 0 && second % 16 == 0)
            XCTAssertEqual(part.scalars, b.scalars)
        }
    }

    func testIntegersKeepTheirType() {
        let labels = Tensor(indices: [4, 5, 6], shape: [3])
        XCTAssertEqual(labels.sliced(axis: 0, 1..<3).indices, [5, 6])
        XCTAssertEqual(labels.reshaped([3, 1]).indices, [4, 5, 6])
        XCTAssertEqual(labels.expanded([2, 3]).indices, [4, 5, 6, 4, 5, 6])
    }
}
