import Tensors
import XCTest

final class ElementwiseTests: XCTestCase {
    func testBroadcastingArithmetic() throws {
        let shapes: [([Int], [Int])] = [
            ([3, 5], [3, 5]), ([2, 3, 4], [4]), ([2, 3, 4], [3, 1]), ([2, 1, 4], [3, 1]), ([], [2, 3]),
            ([1, 1], [3]), ([2, 3, 1, 5], [1, 3, 4, 1]), ([7], [1]),
        ]
        for (a, b) in shapes {
            let values = [
                randomTensor(a, seed: 1), randomTensor(b, seed: 2, in: 0.7..<2),
            ]
            try checkGradients(of: values, "+ \(a) \(b)") { $0[0] + $0[1] }
            try checkGradients(of: values, "- \(a) \(b)") { $0[0] - $0[1] }
            try checkGradients(of: values, "* \(a) \(b)") { $0[0] * $0[1] }
            try checkGradients(of: values, "/ \(a) \(b)") { $0[0] / $0[1] }
        }
        let sum = Tensor([1, 2, 3], shape: [3, 1]) + Tensor([10, 20], shape: [2])
        assertEqual(sum, [11, 21, 12, 22, 13, 23], shape: [3, 2])
    }

    func testScalarsAndNegation() throws {
        let x = Tensor([1, 2, 4], shape: [3])
        assertEqual(x + 1, [2, 3, 5], shape: [3])
        assertEqual(1 - x, [0, -1, -3], shape: [3])
        assertEqual(x / 2, [0.5, 1, 2], shape: [3])
        assertEqual(8 / x, [8, 4, 2], shape: [3])
        assertEqual(-x, [-1, -2, -4], shape: [3])
        try checkGradients(of: [randomTensor([2, 3], seed: 3, in: 0.6..<2)]) { v in
            (2 * v[0] - 3) / 4 + (1 - v[0]) + 1 / v[0] - (-v[0])
        }
    }

    func testFunctions() throws {
        let x = randomTensor([3, 5], seed: 4)
        let positive = randomTensor([3, 5], seed: 5, in: 0.5..<3)
        let functions: [(String, Tensor, (Tensor) -> Tensor)] = [
            ("exp", x, { exp($0) }), ("log", positive, { log($0) }), ("sqrt", positive, { sqrt($0) }),
            ("square", x, { square($0) }), ("tanh", x, { tanh($0) }), ("sigmoid", x, { sigmoid($0) }),
            ("gelu", x, { gelu($0) }), ("gelu tanh", x, { gelu($0, approximation: .tanh) }),
            ("clamped", distinctTensor([3, 5], seed: 6), { $0.clamped(-0.5, 0.5) }),
        ]
        for (name, value, function) in functions {
            try checkGradients(of: [value], name) { function($0[0]) }
            try checkSecondGradients(of: [value], name) { function($0[0]) }
        }
    }

    func testMaximumAndMinimum() throws {
        let numbers = distinctTensor([2, 12], seed: 7)
        let values = [
            numbers.selected(axis: 0, 0).reshaped([3, 4]), numbers.selected(axis: 0, 1).sliced(axis: 0, 0..<4),
        ]
        try checkGradients(of: values) { maximum($0[0], $0[1]) }
        try checkGradients(of: values) { minimum($0[0], $0[1]) }
        let nan = maximum(Tensor([.nan, 1], shape: [2]), Tensor([1, .nan], shape: [2])).scalars
        XCTAssertTrue(nan.allSatisfy(\.isNaN))
    }

    /// An opaque layout is kept where both have it, its padded channels stay zero, and mixing layouts works.
    func testOpaqueLayouts() throws {
        for channels in [3, 16, 20] {
            let (a, b) = (randomTensor([2, channels, 3, 5], seed: 8), randomTensor([2, channels, 3, 5], seed: 9))
            let (x, y) = (a.inChannelBlocks(of: 16), b.inChannelBlocks(of: 16))
            XCTAssertTrue(x.hasOpaqueLayout)
            for (sum, layouts) in [(x + y, "both"), (x + b, "first"), (a + y, "second")] {
                XCTAssertTrue(sum.hasOpaqueLayout, layouts)
                XCTAssertEqual(sum.scalars, (a + b).scalars, layouts)
            }
            XCTAssertTrue((x * 2).hasOpaqueLayout)
            XCTAssertEqual((x * y - x).scalars, (a * b - a).scalars)
            XCTAssertEqual((x + 1).scalars, (a + 1).scalars)
            XCTAssertEqual((x / y).scalars, (a / b).scalars)
            XCTAssertEqual(exp(x).scalars, exp(a).scalars)
            XCTAssertEqual(tanh(x).scalars, tanh(a).scalars)
            for result in [x + y, x * y, x * 2, tanh(x), square(x), x.clamped(-1, 1), -x] {
                XCTAssertTrue(result.hasOpaqueLayout)
                XCTAssertTrue(result.channelPadding.allSatisfy { $0 == 0 }, "the padding is not zero")
            }
        }
    }
}
