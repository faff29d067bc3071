import Tensors
import XCTest

/// Row-major operations against PyTorch's numbers.
final class ReferenceTests: XCTestCase {
    func testFunctions() throws {
        let functions: [String: (Tensor) -> Tensor] = [
            "gelu": { gelu($0) }, "gelu tanh": { gelu($0, approximation: .tanh) },
            "sigmoid": { sigmoid($0) }, "tanh": { tanh($0) }, "exp": { exp($0) }, "square": { square($0) },
            "log": { log($0) }, "sqrt": { sqrt($0) }, "clamped": { $0.clamped(-1.25, 2.5) },
        ]
        var checked = 0
        for reference in try ReferenceCase.all("activation") {
            guard let function = functions[reference.name] else { continue }
            try reference.check(["input"]) { function($0[0]) }
            checked += 1
        }
        XCTAssertEqual(checked, functions.count)
    }

    func testArithmetic() throws {
        let operations: [String: (Tensor, Tensor) -> Tensor] = [
            "add": { $0 + $1 }, "subtract": { $0 - $1 }, "multiply": { $0 * $1 }, "divide": { $0 / $1 },
            "maximum": { maximum($0, $1) }, "minimum": { minimum($0, $1) }, "matmul": { matmul($0, $1) },
        ]
        for (name, operation) in operations {
            for reference in try ReferenceCase.all(name) {
                try reference.check(["a", "b"]) { operation($0[0], $0[1]) }
            }
        }
        for reference in try ReferenceCase.all("linear") {
            try reference.check(["input", "weight", "bias"]) { linear($0[0], weight: $0[1], bias: $0[2]) }
        }
    }

    func testReductions() throws {
        let reductions: [String: (Tensor, [Int]) -> Tensor] = [
            "sum": { $0.sum(axes: $1) }, "mean": { $0.mean(axes: $1) }, "max": { $0.max(axes: $1) },
            "variance": { $0.variance(axes: $1) }, "unbiasedVariance": { $0.variance(axes: $1, unbiased: true) },
        ]
        for (name, reduction) in reductions {
            for reference in try ReferenceCase.all(name) {
                let axes = try XCTUnwrap(reference.settings.axes)
                try reference.check(["input"]) { reduction($0[0], axes) }
            }
        }
        for reference in try ReferenceCase.all("argmax") {
            let found = try reference.tensor("input").argmax(axis: try XCTUnwrap(reference.settings.axis))
            XCTAssertEqual(found.shape, try reference.tensor("output").shape)
            XCTAssertEqual(found.indices, try reference.tensor("output").indices)
        }
    }

    func testSoftmax() throws {
        for reference in try ReferenceCase.all("softmax", "logSoftmax") {
            let axis = try XCTUnwrap(reference.settings.axis)
            let function = reference.operation == "softmax" ? softmax : logSoftmax
            try reference.check(["input"]) { function($0[0], axis) }
        }
    }

    func testCrossEntropy() throws {
        for reference in try ReferenceCase.all("crossEntropy") {
            let labels = try reference.tensor("labels")
            try reference.check(["logits"]) {
                crossEntropy(
                    $0[0], labels: labels, labelSmoothing: reference.settings.labelSmoothing ?? 0,
                    ignoreIndex: reference.settings.ignoreIndex)
            }
        }
    }
}
