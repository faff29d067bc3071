import Layers
import Tensors
import XCTest

/// What every layer must pass: the shape it announces, gradients against finite differences, values that
/// survive being copied to a second instance, freezing, training against evaluation.
struct LayerChecker<Layer: Module> {
    let inputShape: [Int]
    let outputShape: [Int]
    /// Whether a training pass gives other values than evaluation.
    var differsInTraining = false
    var tolerance: Float = 2e-2
    let make: (Scope) -> Layer

    func check(file: StaticString = #filePath, line: UInt = #line) throws {
        let store = ParameterStore()
        let layer = make(Scope(store, seed: 1) / "layer")
        let input = Tensor.normal(inputShape, key: RandomKey(seed: 7, purpose: .initialization, path: "input"))
        try checkShapes(layer, input, file, line)
        try checkGradients(layer, store, input, file, line)
        try checkCopy(layer, store, input, file, line)
        try checkFreezing(layer, store, input, file, line)
        let evaluated = try layer(input, .inference).scalars
        XCTAssertEqual(
            try layer(input, .inference).scalars, evaluated, "evaluation changes nothing", file: file, line: line)
        let trained = try layer(input, .training).scalars
        XCTAssertEqual(trained != evaluated, differsInTraining, "training against evaluation", file: file, line: line)
    }

    private func checkShapes(_ layer: Layer, _ input: Tensor, _ file: StaticString, _ line: UInt) throws {
        XCTAssertEqual(try layer(input, .inference).shape, outputShape, file: file, line: line)
        XCTAssertEqual(try layer.outputShape(for: inputShape, in: ShapePass()), outputShape, file: file, line: line)
    }

    /// Weighs the outputs differently, so that no gradient cancels.
    private func objective(_ layer: Layer, _ input: Tensor, _ context: ForwardContext) throws -> Tensor {
        let output = try layer(input, context)
        let weights = Tensor.normal(output.shape, key: RandomKey(seed: 9, purpose: .initialization, path: "weights"))
        return (output * weights).sum()
    }

    private func checkGradients(
        _ layer: Layer, _ store: ParameterStore, _ input: Tensor, _ file: StaticString, _ line: UInt
    ) throws {
        let context = ForwardContext(isTraining: true)
        let variable = Tensor.variable(input)
        let leaves = [variable] + store.parameters.map(\.value)
        let gradients = try gradient(of: objective(layer, variable, context), wrt: leaves).map(\.scalars)
        let step: Float = 1e-2
        func difference(_ evaluate: (Float) throws -> Float) rethrows -> Float {
            (try evaluate(step) - (try evaluate(-step))) / (2 * step)
        }
        func compare(_ name: String, _ gradient: [Float], _ evaluate: (Int, Float) throws -> Float) rethrows {
            let largest = max(1, gradient.map(abs).max() ?? 0)
            for pick in Set((0..<6).map { $0 * (gradient.count - 1) / 5 }) {
                let expected = try difference { try evaluate(pick, $0) }
                XCTAssertEqual(
                    gradient[pick], expected, accuracy: tolerance * largest, "\(name)[\(pick)]", file: file, line: line)
            }
        }
        try compare("input", gradients[0]) { index, delta in
            var moved = input
            moved.mutateScalars { $0[index] += delta }
            return try objective(layer, moved, context).scalar
        }
        for (parameter, gradient) in zip(store.parameters, gradients.dropFirst()) {
            try compare(parameter.path, gradient) { index, delta in
                var moved = parameter.value.detached
                moved.mutateScalars { $0[index] += delta }
                return try store.withSubstituted([parameter.path: moved]) {
                    try objective(layer, input, context).scalar
                }
            }
        }
    }

    private func checkCopy(
        _ layer: Layer, _ store: ParameterStore, _ input: Tensor, _ file: StaticString, _ line: UInt
    ) throws {
        let other = ParameterStore()
        let copy = make(Scope(other, seed: 2) / "layer")
        XCTAssertEqual(store.parameters.map(\.path), other.parameters.map(\.path), file: file, line: line)
        for parameter in store.parameters { other[parameter.path]?.value = parameter.value }
        for buffer in store.buffers { other[buffer: buffer.path]?.value = buffer.value }
        XCTAssertEqual(
            try copy(input, .inference).scalars, try layer(input, .inference).scalars, file: file, line: line)
    }

    private func checkFreezing(
        _ layer: Layer, _ store: ParameterStore, _ input: Tensor, _ file: StaticString, _ line: UInt
    ) throws {
        for parameter in store.parameters { parameter.isTrainable = false }
        defer { for parameter in store.parameters { parameter.isTrainable = true } }
        let buffers = store.buffers.map(\.value.scalars)
        let output = try layer(input, .training)
        XCTAssertFalse(output.requiresGradient, "nothing is recorded for frozen layers", file: file, line: line)
        if !store.parameters.isEmpty {
            XCTAssertEqual(
                store.buffers.map(\.value.scalars), buffers, "frozen statistics stay put", file: file, line: line)
        }
    }
}
