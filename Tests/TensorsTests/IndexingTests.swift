import Tensors
import XCTest

final class IndexingTests: XCTestCase {
    private let indices = Tensor(indices: [2, 0, 2, 1, 2, 3], shape: [2, 3])

    func testGatherRows() throws {
        let table = Tensor((0..<8).map(Float.init), shape: [4, 2])
        let rows = table.gathered(rows: indices)
        assertEqual(rows, [4, 5, 0, 1, 4, 5, 2, 3, 4, 5, 6, 7], shape: [2, 3, 2])
        try checkGradients(of: [randomTensor([4, 2], seed: 1)]) { [indices] in square($0[0].gathered(rows: indices)) }
        try checkGradients(of: [randomTensor([4, 2], seed: 1)], "not a leaf") { [indices] in
            (2 * $0[0]).gathered(rows: indices)
        }
        try checkSecondGradients(of: [randomTensor([4, 2], seed: 2)]) { [indices] in
            square($0[0].gathered(rows: indices))
        }
    }

    /// A table's gradient is a set of rows, of all places that used it; mixed uses add up densely.
    func testGradientOfATableIsRows() throws {
        let table = Tensor.variable(randomTensor([4, 2], seed: 3))
        let id = try XCTUnwrap(table.variableID)
        let twice =
            table.gathered(rows: indices).sum() + (table.gathered(rows: Tensor(indices: [1], shape: [1])) * 3).sum()
        let collector = GradientCollector()
        try twice.backward(into: collector)
        guard case .rows(let rows, let values, let shape)? = collector.gradients[id] else {
            return XCTFail("the gradient is dense")
        }
        XCTAssertEqual(rows.count, 7)
        XCTAssertEqual(values.shape, [7, 2])
        XCTAssertEqual(shape, [4, 2])
        XCTAssertEqual(collector.gradients[id]?.tensor.scalars, [1, 1, 4, 4, 3, 3, 1, 1])

        let mixed = table.gathered(rows: indices).sum() + table.sum()
        let gradients = try gradient(of: mixed, wrt: [table])
        XCTAssertEqual(gradients[0].scalars, [2, 2, 2, 2, 4, 4, 2, 2])
    }

    func testTakeAlong() throws {
        let x = randomTensor([3, 4, 2], seed: 4)
        for axis in 0..<3 {
            var shape = x.shape
            shape[axis] = 5
            let count = shape.reduce(1, *)
            let places = Tensor(indices: (0..<count).map { Int32($0 * 7 % x.shape[axis]) }, shape: shape)
            let taken = x.taken(along: axis, places)
            XCTAssertEqual(taken.shape, shape)
            let (values, found, strides) = (x.scalars, taken.scalars, [8, 2, 1])
            for (i, place) in places.indices.enumerated() {
                var position = [i / (shape[1] * shape[2]), i / shape[2] % shape[1], i % shape[2]]
                position[axis] = Int(place)
                XCTAssertEqual(found[i], values[zip(position, strides).reduce(0) { $0 + $1.0 * $1.1 }])
            }
            try checkGradients(of: [x], "axis \(axis)") { square($0[0].taken(along: axis, places)) }
        }
    }
}
