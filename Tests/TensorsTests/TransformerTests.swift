import Tensors
import XCTest

/// Layer norm, GELU, attention and the large-vocabulary loss: finite differences, PyTorch's numbers, and the fast path
/// against the plain one.
final class TransformerTests: XCTestCase {
    // MARK: PyTorch's numbers

    func testAgainstPyTorch() throws {
        for reference in try ReferenceCase.all("layerNorm") {
            let epsilon = try XCTUnwrap(reference.settings.epsilon)
            try reference.check(["input", "scale", "shift"], tolerance: 2e-5) {
                layerNormalization($0[0], scale: $0[1], shift: $0[2], epsilon: epsilon)
            }
        }
        for reference in try ReferenceCase.all("geluBias") {
            try reference.check(["input", "bias"]) {
                gelu($0[0], bias: $0[1], approximation: reference.name == "tanh" ? .tanh : .none)
            }
        }
    }

    func testAttentionAgainstPyTorch() throws {
        for reference in try ReferenceCase.all("attention") {
            let (queries, keys) = (try reference.tensor("query").shape[1], try reference.tensor("key").shape[1])
            var rule = AttentionRule(heads: try XCTUnwrap(reference.settings.groups))
            rule.isCausal = try XCTUnwrap(reference.settings.countsPadding)
            rule.position = rule.isCausal ? keys - queries : 0
            let lengths = try reference.tensor("lengths").indices
            let mask = Tensor(
                lengths.flatMap { length in (0..<keys).map { $0 < length ? 0 : -Float.infinity } },
                shape: [lengths.count, keys])
            try reference.check(["query", "key", "value"]) {
                attention(query: $0[0], key: $0[1], value: $0[2], mask: mask, rule)
            }
        }
    }

    // MARK: Finite differences

    func testLayerNormGradients() throws {
        let values = [randomTensor([3, 2, 21], seed: 1), randomTensor([21], seed: 2), randomTensor([21], seed: 3)]
        try checkGradients(of: values) { layerNormalization($0[0], scale: $0[1], shift: $0[2], epsilon: 1e-3) }
        let small = [randomTensor([2, 5], seed: 4), randomTensor([5], seed: 5), randomTensor([5], seed: 6)]
        try checkSecondGradients(of: small) { layerNormalization($0[0], scale: $0[1], shift: $0[2], epsilon: 1e-2) }
    }

    func testGELUGradients() throws {
        for approximation in [GELUApproximation.none, .tanh] {
            let values = [randomTensor([2, 3, 18], seed: 7), randomTensor([18], seed: 8)]
            try checkGradients(of: values) { gelu($0[0], bias: $0[1], approximation: approximation) }
            try checkSecondGradients(of: [randomTensor([2, 3], seed: 9), randomTensor([3], seed: 10)]) {
                gelu($0[0], bias: $0[1], approximation: approximation)
            }
            for inputsFirst in [false, true] {
                let weight = randomTensor(inputsFirst ? [18, 5] : [5, 18], seed: 11)
                try checkGradients(of: values + [weight]) {
                    geluLinear(
                        $0[0], bias: $0[1], approximation: approximation, weight: $0[2], inputsFirst: inputsFirst)
                }
                let whole = geluLinear(
                    values[0], bias: values[1], approximation: approximation, weight: weight, inputsFirst: inputsFirst)
                let parts = linear(
                    gelu(values[0], bias: values[1], approximation: approximation), weight: weight,
                    inputsFirst: inputsFirst)
                XCTAssertEqual(whole.scalars, parts.scalars)
            }
        }
    }

    func testLinearWithInputsFirst() throws {
        let values = [randomTensor([2, 3, 6], seed: 12), randomTensor([6, 4], seed: 13), randomTensor([4], seed: 14)]
        try checkGradients(of: values) { linear($0[0], weight: $0[1], bias: $0[2], inputsFirst: true) }
        assertClose(
            linear(values[0], weight: values[1], bias: values[2], inputsFirst: true),
            linear(values[0], weight: values[1].transposed(), bias: values[2]))
    }

    func testResidualSumGradients() throws {
        let key = RandomKey(seed: 3, purpose: .test)
        let values = [
            randomTensor([2, 3, 17], seed: 15), randomTensor([2, 3, 17], seed: 16), randomTensor([17], seed: 17),
        ]
        for rate: Float in [0, 0.4] {
            try checkGradients(of: values) { residualSum($0[0], $0[1], bias: $0[2], rate: rate, key: key, offset: 34) }
            assertClose(
                residualSum(values[0], values[1], bias: values[2], rate: rate, key: key, offset: 34),
                values[0] + dropout(values[1] + values[2], rate: rate, key: key, offset: 34))
        }
    }

    func testAttentionGradients() throws {
        let values = (0..<3).map { randomTensor([2, 5, 6], seed: 20 + UInt64($0), in: -1..<1) }
        var rule = AttentionRule(heads: 2)
        for isCausal in [false, true] {
            rule.isCausal = isCausal
            rule.dropout = nil
            try checkGradients(of: values) { attention(query: $0[0], key: $0[1], value: $0[2], rule) }
            try checkSecondGradients(of: values.map { $0.sliced(axis: 0, 0..<1) }) {
                attention(query: $0[0], key: $0[1], value: $0[2], rule)
            }
            rule.dropout = (0.3, RandomKey(seed: 8, purpose: .test), 7)
            try checkGradients(of: values) { attention(query: $0[0], key: $0[1], value: $0[2], rule) }
        }
    }

    func testPackedAttentionIsThatOfItsParts() throws {
        let packed = randomTensor([2, 7, 36], seed: 30)
        var rule = AttentionRule(heads: 3)
        rule.isCausal = true
        rule.dropout = (0.2, RandomKey(seed: 9, purpose: .test), 0)
        let whole = Tensor.variable(packed)
        let parts = (0..<3).map { Tensor.variable(packed.sliced(axis: 2, $0 * 12..<($0 + 1) * 12)) }
        let outputs = [
            attention(packed: whole, rule), attention(query: parts[0], key: parts[1], value: parts[2], rule),
        ]
        XCTAssertEqual(outputs[0].scalars, outputs[1].scalars)
        let weights = randomTensor(outputs[0].shape, seed: 31)
        let found = try gradient(of: (outputs[0] * weights).sum(), wrt: [whole])[0]
        let expected = try gradient(of: (outputs[1] * weights).sum(), wrt: parts)
        XCTAssertEqual(found.scalars, concatenated(expected, axis: 2).scalars)
    }

    /// Several tiles: 600 keys are more than one tile of queries meets at a time.
    func testTilesMakeNoDifference() throws {
        for isCausal in [false, true] {
            let values = (0..<3).map { Tensor.variable(randomTensor([1, 600, 4], seed: 40 + UInt64($0), in: -1..<1)) }
            var rule = AttentionRule(heads: 1)
            rule.isCausal = isCausal
            let fast = attention(query: values[0], key: values[1], value: values[2], rule)
            var scores = matmul(values[0], values[1], transposeB: true) * 0.5
            if isCausal {
                scores =
                    scores
                    + Tensor((0..<600 * 600).map { $0 % 600 > $0 / 600 ? -Float.infinity : 0 }, shape: [600, 600])
            }
            let plain = matmul(softmax(scores), values[2])
            assertClose(fast, plain, 1e-5)
            let weights = randomTensor(fast.shape, seed: 43)
            let gradients = try [fast, plain].map { try gradient(of: ($0 * weights).sum(), wrt: values) }
            for (found, expected) in zip(gradients[0], gradients[1]) { assertClose(found, expected, 2e-5) }
        }
    }

    // MARK: The loss

    func testLinearCrossEntropyIsTheLossOfTheLogits() throws {
        let labels = Tensor(indices: [3, 0, 8, 5, 5, 1, 8], shape: [7])
        for (chunkBytes, smoothing) in [(1 << 20, Float(0)), (80, 0.1), (1, 0)] {
            let x = Tensor.variable(randomTensor([7, 6], seed: 50))
            let weight = Tensor.variable(randomTensor([9, 6], seed: 51))
            let losses = [
                linearCrossEntropy(
                    x, weight: weight, labels: labels, labelSmoothing: smoothing, ignoreIndex: 5,
                    chunkBytes: chunkBytes),
                crossEntropy(linear(x, weight: weight), labels: labels, labelSmoothing: smoothing, ignoreIndex: 5),
            ]
            assertClose(losses[0], losses[1], 1e-6)
            let gradients = try losses.map { try gradient(of: $0 * 0.25, wrt: [x, weight]) }
            for (found, expected) in zip(gradients[0], gradients[1]) { assertClose(found, expected, 1e-5) }
        }
        let values = [randomTensor([2, 3], seed: 52), randomTensor([4, 3], seed: 53)]
        try checkGradients(of: values) {
            linearCrossEntropy($0[0], weight: $0[1], labels: Tensor(indices: [1, 3], shape: [2]))
        }
        try checkSecondGradients(of: values) {
            linearCrossEntropy($0[0], weight: $0[1], labels: Tensor(indices: [1, 3], shape: [2]))
        }
    }

    /// A table that is both embedding and classifier gets one gradient: rows and all of it, added in the sink's memory.
    func testTiedEmbedding() throws {
        let table = Tensor.variable(randomTensor([9, 4], seed: 60))
        let tokens = Tensor(indices: [2, 7, 2], shape: [3])
        func loss(_ table: Tensor) -> Tensor {
            linearCrossEntropy(tanh(table.gathered(rows: tokens)), weight: table, labels: tokens)
        }
        try checkGradients(of: [table.detached]) { loss($0[0]) }
        let room = RoomySink(table)
        try loss(table).backward(into: room)
        let expected = try gradient(of: loss(table), wrt: [table])[0]
        XCTAssertEqual(room.gradient?.scalars, expected.scalars)
        XCTAssertTrue(room.isInRoom)
    }

    // MARK: Squares of samples' gradients

    func testSquares() throws {
        let parameters = [[6], [6], [6], [5, 6], [5], [5]].enumerated()
            .map { Tensor.variable(randomTensor($1, seed: UInt64(70 + $0))) }
        let x = randomTensor([4, 3, 6], seed: 80)
        func loss(_ x: Tensor) -> Tensor {
            let p = parameters
            let normal = layerNormalization(x, scale: p[0], shift: p[1], epsilon: 1e-5)
            let inner = geluLinear(normal, bias: p[2], weight: p[3])
            let sum = residualSum(
                x.sliced(axis: 2, 0..<5), inner, bias: p[4], rate: 0, key: RandomKey(seed: 0, purpose: .test))
            return square(gelu(sum, bias: p[5])).sum()
        }
        let collector = GradientCollector()
        try loss(x).backward(into: collector, parameters: .sumOfSquares)
        for (index, parameter) in parameters.enumerated() {
            let found = try XCTUnwrap(collector.gradients[XCTUnwrap(parameter.variableID)]).tensor
            var expected = Tensor.zeros(parameter.shape)
            for sample in 0..<4 {
                let one = try gradient(of: loss(x.sliced(axis: 0, sample..<sample + 1)), wrt: [parameter])[0]
                expected = expected + one * one
            }
            assertClose(found, expected, 1e-4, "parameter \(index)")
        }
    }
}

/// Has memory for the gradient of one variable, as the exchange has.
private final class RoomySink: GradientSink {
    private let memory: UnsafeMutableBufferPointer<Float>
    private let variable: VariableID?
    private(set) var gradient: Tensor?
    private(set) var isInRoom = false

    init(_ tensor: Tensor) {
        memory = .allocate(capacity: tensor.count)
        memory.initialize(repeating: .nan)
        variable = tensor.variableID
    }

    deinit { memory.deallocate() }

    func room(for variable: VariableID) -> UnsafeMutableBufferPointer<Float>? {
        variable == self.variable ? memory : nil
    }

    func gradientReady(_ gradient: Gradient, for variable: VariableID) {
        let tensor = gradient.tensor
        isInRoom = tensor.withScalars { $0.baseAddress == UnsafePointer(memory.baseAddress) }
        self.gradient = Tensor(tensor.scalars, shape: tensor.shape)
    }
}
