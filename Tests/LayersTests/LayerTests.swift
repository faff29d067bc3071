import Layers
import Tensors
import XCTest

final class LayerTests: XCTestCase {
    func testConvolution() throws {
        try LayerChecker(inputShape: [2, 3, 6, 5], outputShape: [2, 4, 3, 3]) {
            Convolution2D(
                $0, inputChannels: 3, outputChannels: 4, window: SlidingWindow(3, stride: 2, padding: .same),
                usesBias: true)
        }.check()
        try LayerChecker(inputShape: [2, 4, 6, 5], outputShape: [2, 4, 3, 2]) {
            Convolution2D(
                $0, inputChannels: 4, outputChannels: 4,
                window: SlidingWindow(3, stride: 2, padding: .bottomRight(1)), groups: 4)
        }.check()
    }

    func testConvolutionBatchNorm() throws {
        try LayerChecker(
            inputShape: [3, 2, 4, 4], outputShape: [3, 5, 4, 4], differsInTraining: true, tolerance: 5e-2
        ) {
            ConvolutionBatchNorm(
                convolution: Convolution2D(
                    $0 / "conv", inputChannels: 2, outputChannels: 5, window: SlidingWindow(3, padding: .symmetric(1))),
                normalization: $0 / "bn", activation: .leakyRelu(slope: 0.5))
        }.check()
    }

    func testLinearPoolingAndDropout() throws {
        try LayerChecker(inputShape: [3, 7], outputShape: [3, 4]) { Linear($0, inputs: 7, outputs: 4) }.check()
        try LayerChecker(inputShape: [2, 3, 7, 7], outputShape: [2, 3, 4, 4]) {
            MaxPool2D($0.path, window: SlidingWindow(3, stride: 2, padding: .symmetric(1)))
        }.check()
        try LayerChecker(inputShape: [2, 3, 5, 5], outputShape: [2, 3]) { _ in GlobalAveragePool() }.check()
        try LayerChecker(inputShape: [8, 16], outputShape: [8, 16], differsInTraining: true) {
            Dropout($0, rate: 0.5)
        }.check()
    }

    func testOblongWindows() throws {
        try LayerChecker(inputShape: [2, 3, 6, 5], outputShape: [2, 4, 6, 5]) {
            Convolution2D(
                $0, inputChannels: 3, outputChannels: 4, window: SlidingWindow(height: 1, width: 5, padding: .same))
        }.check()
        try LayerChecker(inputShape: [2, 3, 9, 5], outputShape: [2, 4, 2, 3]) {
            Convolution2D(
                $0, inputChannels: 3, outputChannels: 4,
                window: SlidingWindow(height: 7, width: 1, stride: 2, padding: .symmetric(0)), usesBias: true)
        }.check()
        XCTAssertThrowsError(
            try MaxPool2D("pool", window: SlidingWindow(height: 1, width: 7, padding: .symmetric(0)))
                .outputShape(for: [1, 3, 8, 6], in: ShapePass())
        ) { XCTAssertEqual("\($0)", "pool: an input of 8×6 is smaller than the window of 1×7; use larger images") }
    }

    func testMeansAndZerosAtEdges() throws {
        for countsPadding in [true, false] {
            try LayerChecker(inputShape: [2, 3, 5, 4], outputShape: [2, 3, 5, 4]) {
                AveragePool2D(
                    $0.path, window: SlidingWindow(3, padding: .symmetric(1)), countsPadding: countsPadding)
            }.check()
            // Four of nine pixels belong to the image.
            let pool = AveragePool2D(
                "pool", window: SlidingWindow(3, padding: .symmetric(1)), countsPadding: countsPadding)
            let corner = try pool(.ones([1, 1, 2, 2]), .inference).scalars[0]
            XCTAssertEqual(corner, countsPadding ? 4 / 9 : 1, accuracy: 1e-6)
        }
        let padding = SpatialPadding(top: 1, bottom: 0, left: 0, right: 2)
        try LayerChecker(inputShape: [2, 3, 5, 4], outputShape: [2, 3, 6, 6]) { ZeroPadding($0.path, padding) }.check()
        let image = Tensor([-1, -2, -3, -4], shape: [1, 1, 2, 2])
        XCTAssertEqual(
            try ZeroPadding("pad", padding)(image, .inference).scalars, [0, 0, 0, 0, -1, -2, 0, 0, -3, -4, 0, 0])
    }

    func testBranches() throws {
        func branches(_ scope: Scope) -> Branches {
            func pointwise(_ name: String, _ outputs: Int) -> Convolution2D {
                Convolution2D(
                    scope / name, inputChannels: 3, outputChannels: outputs,
                    window: SlidingWindow(1, padding: .symmetric(0)))
            }
            return Branches(scope.path, [pointwise("a", 16), pointwise("b", 5), pointwise("c", 32)])
        }
        try LayerChecker(inputShape: [2, 3, 4, 5], outputShape: [2, 53, 4, 5]) { branches($0) }.check()
        let scope = Scope(ParameterStore()) / "mixed"
        let layer = branches(scope)
        let image = Tensor.normal([1, 3, 2, 2], key: RandomKey(seed: 1, purpose: .initialization, path: "image"))
        XCTAssertEqual(
            try layer(image, .inference).scalars, try layer.modules.flatMap { try $0(image, .inference).scalars })
        let uneven = Branches("mixed", [GlobalAveragePool(), layer])
        XCTAssertThrowsError(try uneven(image, .inference))
        let apart = Branches(
            "mixed", [layer, MaxPool2D("pool", window: SlidingWindow(2, stride: 2, padding: .symmetric(0)))])
        XCTAssertThrowsError(try apart.outputShape(for: [1, 3, 2, 2], in: ShapePass())) {
            XCTAssertEqual(
                "\($0)", "mixed: the branches that meet give 1×53×2×2 and 1×3×1×1; use another input size")
        }
    }

    /// A convolution that meets a shortcut, batch norm before convolutions, and batch norm without scale.
    func testPreActivationBlocks() throws {
        struct Block: Module {
            let first: PreActivation
            let last: ConvolutionSum

            init(_ scope: Scope, factor: Float, activation: Activation) {
                first = PreActivation(
                    scope / "bn", channels: 4, rule: .keras.with(hasScale: false), activation: .leakyRelu(slope: 0.9))
                last = ConvolutionSum(
                    Convolution2D(
                        scope / "conv", inputChannels: 4, outputChannels: 4,
                        window: SlidingWindow(3, padding: .symmetric(1)), usesBias: true),
                    factor: factor, activation: activation)
            }

            func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
                try last(first(x, context), residual: x, context)
            }

            func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
                try last.outputShape(for: first.outputShape(for: input, in: pass), residual: input, in: pass)
            }
        }
        for (factor, activation) in [(1, .identity), (0.25, .leakyRelu(slope: 0.9))] as [(Float, Activation)] {
            try LayerChecker(
                inputShape: [3, 4, 4, 4], outputShape: [3, 4, 4, 4], differsInTraining: true, tolerance: 5e-2
            ) { Block($0, factor: factor, activation: activation) }.check()
            let store = ParameterStore()
            let block = Block(Scope(store, seed: 3) / "block", factor: factor, activation: activation)
            XCTAssertEqual(store.parameters.map(\.path), ["block.bn.bias", "block.conv.weight", "block.conv.bias"])
            let image = Tensor.normal([2, 4, 4, 4], key: RandomKey(seed: 1, purpose: .initialization, path: "image"))
            let plain = try block(image, .inference).scalars
            let context = ForwardContext(isTraining: false, folded: FoldedConvolutions())
            for (a, b) in zip(try block(image, context).scalars, plain) { XCTAssertEqual(a, b, accuracy: 1e-5) }
        }
    }

    func testSamePaddingOfKeras() {
        let same = PaddingRule.same
        XCTAssertEqual(
            same.padding(height: 224, width: 225, window: (3, 3), stride: (2, 2)),
            SpatialPadding(top: 0, bottom: 1, left: 1, right: 1))
        XCTAssertEqual(
            same.padding(height: 7, width: 8, window: (5, 5), stride: (1, 1)),
            SpatialPadding(top: 2, bottom: 2, left: 2, right: 2))
        XCTAssertEqual(same.padding(height: 8, width: 8, window: (1, 1), stride: (2, 2)), .zero)
    }

    func testRunningStatistics() throws {
        // One channel, values 0, 1, 2, 3: mean 1.5, variance 1.25, unbiased 5/3.
        let input = Tensor([0, 1, 2, 3], shape: [1, 1, 2, 2])
        func statistics(_ rule: NormalizationRule, _ context: ForwardContext) throws -> [Float] {
            let store = ParameterStore()
            let norm = BatchNorm2D(Scope(store) / "bn", channels: 1, rule: rule)
            _ = try norm(input, context)
            return store.buffers.map(\.value.scalar)
        }
        let pytorch = try statistics(.pytorch, .training)
        XCTAssertEqual(pytorch[0], 0.15, accuracy: 1e-6)
        XCTAssertEqual(pytorch[1], 0.9 + 0.1 * 5 / 3, accuracy: 1e-6)
        XCTAssertEqual(pytorch[2], 1)
        let keras = try statistics(.keras, .training)
        XCTAssertEqual(keras[0], 0.015, accuracy: 1e-6)
        XCTAssertEqual(keras[1], 0.99 + 0.01 * 1.25, accuracy: 1e-6)
        XCTAssertEqual(keras.count, 2)
        XCTAssertEqual(try statistics(.pytorch, .inference), [0, 1, 0])
        XCTAssertEqual(try statistics(.pytorch, ForwardContext(isTraining: true, batchNorm: .frozen)), [0, 1, 0])
    }

    /// A rank may have no samples of a small last batch.
    func testABatchOfNothingMovesNoStatistics() throws {
        let store = ParameterStore()
        let norm = BatchNorm2D(Scope(store) / "bn", channels: 3)
        let output = try norm(.zeros([0, 3, 4, 4]), .training)
        XCTAssertEqual(output.shape, [0, 3, 4, 4])
        XCTAssertEqual(store.buffers.map(\.value.scalars), [[0, 0, 0], [1, 1, 1], [0]])
    }

    /// Ranks and accumulation cut a batch into parts: each sample keeps the mask it has in the whole.
    func testDropoutOfPartsIsThatOfTheWhole() throws {
        let layer = Dropout(Scope(ParameterStore()) / "drop", rate: 0.5)
        func dropped(_ samples: Range<Int>) throws -> [Float] {
            var context = ForwardContext(isTraining: true, seed: 7, epoch: 2)
            context.position = 100 + samples.lowerBound
            return try layer(.ones([samples.count, 7]), context).scalars
        }
        let whole = try dropped(0..<9)
        XCTAssertEqual(try dropped(0..<2) + dropped(2..<7) + dropped(7..<9), whole)
        XCTAssertGreaterThan(Set((0..<9).map { Array(whole[$0 * 7..<($0 + 1) * 7]) }).count, 6, "masks repeat")
    }

    func testParameterKeepsItsLeaf() {
        let store = ParameterStore()
        let parameter = (Scope(store, seed: 4) / "fc").parameter(
            "weight", shape: [2, 3], role: .weight, initializer: .glorotUniform)
        let (id, before) = (parameter.id, parameter.value.scalars)
        let kept = parameter.value
        parameter.update { for i in $0.indices { $0[i] += 1 } }
        XCTAssertEqual(parameter.id, id)
        XCTAssertEqual(parameter.value.variableID, id)
        XCTAssertEqual(parameter.value.scalars, before.map { $0 + 1 })
        XCTAssertEqual(kept.scalars, before, "tensors taken earlier keep their values")
        parameter.value = .ones([2, 3])
        XCTAssertEqual(parameter.id, id)
        XCTAssertEqual(parameter.value.scalars, [1, 1, 1, 1, 1, 1])
        parameter.isTrainable = false
        XCTAssertFalse(parameter.value.requiresGradient)
        store.withSubstituted(["fc.weight": .zeros([2, 3])]) {
            XCTAssertEqual(parameter.value.scalars, [0, 0, 0, 0, 0, 0])
        }
        XCTAssertEqual(parameter.value.scalars, [1, 1, 1, 1, 1, 1])
    }

    func testInitialValuesDependOnSeedAndPathOnly() {
        func draw(_ seed: UInt64, _ path: String) -> [Float] {
            (Scope(ParameterStore(), seed: seed) / path)
                .parameter("weight", shape: [64, 32, 3, 3], role: .weight, initializer: .kaimingNormal(.fanOut)).value
                .scalars
        }
        let values = draw(1, "a")
        XCTAssertEqual(values, draw(1, "a"))
        XCTAssertNotEqual(values, draw(2, "a"))
        XCTAssertNotEqual(values, draw(1, "b"))
        let variance = values.reduce(0) { $0 + $1 * $1 } / Float(values.count)
        XCTAssertEqual(variance, 2 / Float(64 * 9), accuracy: 0.05 * 2 / Float(64 * 9))
    }

    func testErrorsNameTheLayer() throws {
        let scope = Scope(ParameterStore()) / "layer1" / 0
        let convolution = Convolution2D(
            scope / "conv1", inputChannels: 3, outputChannels: 4, window: SlidingWindow(3, padding: .symmetric(0)))
        XCTAssertThrowsError(try convolution(.zeros([1, 2, 8, 8]), .inference)) {
            XCTAssertEqual(
                "\($0)", "layer1.0.conv1: expects N×3×H×W, not 1×2×8×8; check the input size and channels")
        }
        XCTAssertThrowsError(try convolution(.zeros([1, 3, 2, 8]), .inference)) {
            XCTAssertEqual(
                "\($0)", "layer1.0.conv1: an input of 2×8 is smaller than the window of 3×3; use larger images")
        }
    }
}
