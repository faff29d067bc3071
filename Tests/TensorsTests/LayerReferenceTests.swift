import Tensors
import XCTest

/// Convolution, pooling, batch norm and activations against PyTorch's numbers, from row-major and from
/// blocked inputs.
final class LayerReferenceTests: XCTestCase {
    func testConvolution() throws {
        for reference in try ReferenceCase.all("convolution") {
            let settings = reference.settings
            let stride = try pair(settings.stride)
            let dilation = try pair(settings.dilation)
            let padding = try padding(settings)
            let names = ["input", "weight"] + (reference.has("bias") ? ["bias"] : [])
            try reference.check(names, tolerance: 1e-5) { inputs in
                convolution2D(
                    inputs[0], weight: inputs[1], bias: inputs.count > 2 ? inputs[2] : nil, stride: stride,
                    padding: padding, dilation: dilation, groups: settings.groups ?? 1)
            }
        }
    }

    func testPooling() throws {
        for reference in try ReferenceCase.all("maxPool", "averagePool") {
            let settings = reference.settings
            let (window, stride) = (try pair(settings.window), try pair(settings.stride))
            let padding = try padding(settings)
            for entry in Entry.allCases {
                try reference.check(["input"]) { inputs in
                    let input = entry.lead(inputs[0])
                    return reference.operation == "maxPool"
                        ? maxPool2D(input, window: window, stride: stride, padding: padding)
                        : averagePool2D(
                            input, window: window, stride: stride, padding: padding,
                            countsPadding: settings.countsPadding ?? true)
                }
            }
        }
        for reference in try ReferenceCase.all("globalAveragePool") {
            for entry in Entry.allCases { try reference.check(["input"]) { globalAveragePool(entry.lead($0[0])) } }
        }
    }

    func testBatchNormTraining() throws {
        for reference in try ReferenceCase.all("batchNormTraining") {
            let settings = reference.settings
            let epsilon = try XCTUnwrap(settings.epsilon)
            let names = ["input", "scale", "shift"] + (reference.has("residual") ? ["residual"] : [])
            for entry in Entry.allCases {
                var moments: BatchMoments?
                try reference.check(names, tolerance: 2e-5) { inputs in
                    let result = try batchNormalization(
                        entry.lead(inputs[0]), scale: inputs[1], shift: inputs[2], epsilon: epsilon,
                        residual: inputs.count > 3 ? inputs[3] : nil, activation: activation(settings))
                    moments = result.moments
                    return result.output
                }
                try checkRunningStatistics(reference, XCTUnwrap(moments), XCTUnwrap(settings.momentum))
            }
        }
    }

    /// PyTorch's update: (1 - momentum) · old + momentum · new, with the unbiased variance.
    private func checkRunningStatistics(_ reference: ReferenceCase, _ moments: BatchMoments, _ momentum: Float) throws {
        let shape = try reference.tensor("input").shape
        XCTAssertEqual(moments.count, shape[0] * shape[2] * shape[3])
        let mean = try reference.tensor("mean") * (1 - momentum) + moments.mean * momentum
        assertClose(mean, try reference.tensor("meanAfter"), 1e-5, reference.name)
        let unbiased = moments.variance * (Float(moments.count) / Float(moments.count - 1))
        let variance = try reference.tensor("variance") * (1 - momentum) + unbiased * momentum
        assertClose(variance, try reference.tensor("varianceAfter"), 1e-5, reference.name)
    }

    func testBatchNormInference() throws {
        for reference in try ReferenceCase.all("batchNormInference") {
            let settings = reference.settings
            let epsilon = try XCTUnwrap(settings.epsilon)
            let (mean, variance) = (try reference.tensor("mean"), try reference.tensor("variance"))
            let names = ["input", "scale", "shift"] + (reference.has("residual") ? ["residual"] : [])
            for entry in Entry.allCases {
                try reference.check(names, tolerance: 2e-5) { inputs in
                    batchNormalization(
                        entry.lead(inputs[0]), scale: inputs[1], shift: inputs[2], mean: mean, variance: variance,
                        epsilon: epsilon, residual: inputs.count > 3 ? inputs[3] : nil,
                        activation: activation(settings))
                }
            }
        }
    }

    func testActivations() throws {
        let activations: [String: Activation] = [
            "relu": .relu, "relu6": .relu6, "leakyRelu 0.1": .leakyRelu(slope: 0.1),
        ]
        var checked = 0
        for reference in try ReferenceCase.all("activation") {
            guard let activation = activations[reference.name] else { continue }
            try reference.check(["input"]) { activated($0[0], activation) }
            checked += 1
        }
        XCTAssertEqual(checked, activations.count)
    }

    private func activation(_ settings: ReferenceCase.Settings) -> Activation {
        ["relu": .relu, "relu6": .relu6][settings.activation ?? ""] ?? .identity
    }

    private func padding(_ settings: ReferenceCase.Settings) throws -> SpatialPadding {
        let sides = try XCTUnwrap(settings.padding)
        return SpatialPadding(top: sides[0], bottom: sides[1], left: sides[2], right: sides[3])
    }

    private func pair(_ numbers: [Int]?) throws -> (Int, Int) {
        let numbers = try XCTUnwrap(numbers)
        return (numbers[0], numbers[1])
    }
}

/// How an N×C×H×W input lies when it reaches an operation.
enum Entry: CaseIterable {
    case rows, convolved

    /// The same values, behind a convolution with the identity: in whatever layout oneDNN likes.
    func lead(_ x: Tensor) -> Tensor {
        guard self == .convolved else { return x }
        let channels = x.shape[1]
        let identity = (0..<channels * channels).map { Float($0 % (channels + 1) == 0 ? 1 : 0) }
        return convolution2D(x, weight: Tensor(identity, shape: [channels, channels, 1, 1]))
    }
}
