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
