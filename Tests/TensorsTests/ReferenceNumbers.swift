import Foundation
import Tensors
import XCTest

/// Inputs and outputs of operations as PyTorch computes them; `Reference/make_reference.py` wrote them.
struct ReferenceCase: Decodable {
    let operation: String
    let name: String
    let settings: Settings
    private let tensors: [String: Numbers]

    struct Settings: Decodable {
        var stride, padding, dilation, window, axes: [Int]?
        var groups, axis: Int?
        var epsilon, momentum, labelSmoothing: Float?
        var ignoreIndex: Int32?
        var countsPadding: Bool?
        var activation: String?
    }

    private struct Numbers: Decodable {
        let shape: [Int]
        let values: [Float]?
        let integers: [Int32]?
    }

    /// All cases of some operations; fails where there are none.
    static func all(_ operations: String...) throws -> [ReferenceCase] {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Reference/reference.json")
        let cases = try JSONDecoder().decode([ReferenceCase].self, from: Data(contentsOf: file))
        XCTAssertEqual(cases.count, 115, "the file of reference numbers has changed")
        let wanted = cases.filter { operations.contains($0.operation) }
        XCTAssertFalse(wanted.isEmpty, "no reference numbers for \(operations)")
        return wanted
    }

    func has(_ tensor: String) -> Bool { tensors[tensor] != nil }

    func tensor(_ name: String) throws -> Tensor {
        let numbers = try XCTUnwrap(tensors[name], "\(operation) \(self.name): no tensor \(name)")
        if let integers = numbers.integers { return Tensor(indices: integers, shape: numbers.shape) }
        return Tensor(try XCTUnwrap(numbers.values), shape: numbers.shape)
    }

    /// Runs `function` on the inputs named and compares its output and the gradients of those inputs.
    func check(
        _ inputs: [String], tolerance: Double = 1e-5, file: StaticString = #filePath, line: UInt = #line,
        _ function: ([Tensor]) throws -> Tensor
    ) throws {
        let label = "\(operation), \(name)"
        let variables = try inputs.map { Tensor.variable(try tensor($0)) }
        let output = try function(variables)
        assertClose(output, try tensor("output"), tolerance, label, file: file, line: line)
        let collector = GradientCollector()
        try output.backward(into: collector, seed: tensor("seed"))
        for (input, variable) in zip(inputs, variables) {
            let found = try XCTUnwrap(variable.variableID.flatMap { collector.gradients[$0] }, "\(label): \(input)")
            assertClose(
                found.tensor, try tensor("gradient.\(input)"), tolerance, "\(label): gradient of \(input)", file: file,
                line: line)
        }
    }
}
