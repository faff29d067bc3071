// ResNet-8 for CIFAR-10, the image classifier of MLPerf Tiny.
//
// Paper: Banbury et al., "MLPerf Tiny Benchmark", 2021, https://arxiv.org/abs/2106.07597; the code is
//   mlcommons/tiny, benchmark/training/image_classification.
// Variant: Keras. Three blocks of 16, 32 and 64 channels; biased convolutions, "same" padding, ε 1e-3;
//   the shortcuts of the last two are biased 1×1 convolutions without a norm. Input is raw 0…255.
// Weight names: akamaster's words, since Keras numbered the layers (conv2d_3, …): conv1, bn1,
//   layer1.0.conv1, …, layer2.0.shortcut, linear.
// Checked against: the published pretrainedResnet.h5 in an independent PyTorch forward pass, logits; the same layers made
//   in Keras, filled by a formula — logits at two input sizes and every gradient (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let resNet8 = Family(
        title: "ResNet-8 of MLPerf Tiny",
        names: ["resnet8"],
        member: { asked in
            guard asked.name == "resnet8" else { return nil }
            let variant = try asked.choose(from: ResNet8.Variant.allCases)
            let raw = Preprocessing(
                inputSize: 32, mean: [0, 0, 0], standardDeviation: [Float](repeating: 1 / 255, count: 3))
            return Member(
                name: "resnet8", variant: variant, of: ResNet8.Variant.allCases, input: .images(raw), classes: 10,
                kerasLayers: ResNet8.kerasLayers, build: { ResNet8.network($0, seed: $1) })
        },
        recognise: { weights in
            // Keras's numbers are anybody's: shapes must be these as well.
            guard weights["layer2.0.shortcut.weight"] == [32, 16, 1, 1], weights["layer3.0.shortcut.bias"] == [64],
                weights["layer3.0.conv2.weight"] == [64, 64, 3, 3]
            else { return nil }
            return Recognition("resnet8", ResNet8.Variant.keras.rawValue)
        })
}

public enum ResNet8 {
    public enum Variant: String, CaseIterable, Sendable { case keras }

    static func network(_ architecture: Architecture, seed: UInt64) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let stem = block(scope, "conv1", "bn1", architecture.inputChannels, 16, stride: 1)
        var stages = [Stage(name: "stem", parameterPrefixes: ["conv1", "bn1"], module: stem)]
        var channels = 16
        for (index, width) in [16, 32, 64].enumerated() {
            let name = "layer\(index + 1)"
            let block = residual(
                scope / name / 0, inputs: channels, outputs: width, stride: index == 0 ? 1 : 2)
            stages.append(Stage(name: name, parameterPrefixes: [name], module: block))
            channels = width
        }
        stages.append(.globalAveragePool)
        let classifier = Linear(
            scope / "linear", inputs: channels, outputs: architecture.classes,
            initializer: .kaimingNormal(.fanIn), biasInitializer: .zeros)
        return Network(
            architecture, store: scope.store, stages: stages,
            head: classifier, headPrefix: "linear")
    }

    /// Keras numbered the layers in the order in which they were built.
    static let kerasLayers: [KerasLayer] = {
        func convolution(_ number: Int, _ path: String) -> KerasLayer {
            KerasLayer(number == 0 ? "conv2d" : "conv2d_\(number)", .convolution(hasBias: true), path)
        }
        func normalization(_ number: Int, _ path: String) -> KerasLayer {
            KerasLayer(
                number == 0 ? "batch_normalization" : "batch_normalization_\(number)", .batchNormalization(), path)
        }
        let stem = [
            convolution(0, "conv1"), normalization(0, "bn1"),
            convolution(1, "layer1.0.conv1"), normalization(1, "layer1.0.bn1"),
            convolution(2, "layer1.0.conv2"), normalization(2, "layer1.0.bn2"),
        ]
        let others = [(layer: 2, first: 3, norm: 3), (layer: 3, first: 6, norm: 5)].flatMap { block in
            let path = "layer\(block.layer).0"
            return [
                convolution(block.first, path + ".conv1"), normalization(block.norm, path + ".bn1"),
                convolution(block.first + 1, path + ".conv2"), convolution(block.first + 2, path + ".shortcut"),
                normalization(block.norm + 1, path + ".bn2"),
            ]
        }
        return stem + others + [KerasLayer("dense", .dense, "linear")]
    }()

    private static func convolution(
        _ scope: Scope, _ inputs: Int, _ outputs: Int, size: Int, stride: Int
    ) -> Convolution2D {
        Convolution2D(
            scope, inputChannels: inputs, outputChannels: outputs,
            window: SlidingWindow(size, stride: stride, padding: .same), usesBias: true,
            initializer: .kaimingNormal(.fanIn), biasInitializer: .zeros)
    }

    private static func block(
        _ scope: Scope, _ name: String, _ normalization: String, _ inputs: Int, _ outputs: Int, stride: Int
    ) -> ConvolutionBatchNorm {
        ConvolutionBatchNorm(
            convolution: convolution(scope / name, inputs, outputs, size: 3, stride: stride),
            normalization: scope / normalization, rule: .keras, activation: .relu)
    }

    /// ReLU(convolutions(x) + shortcut(x)).
    /// Input N×inputs×H×W, output N×outputs×⌈H/stride⌉×⌈W/stride⌉.
    private static func residual(_ scope: Scope, inputs: Int, outputs: Int, stride: Int) -> ResidualBlock {
        ResidualBlock(
            convolutions: [block(scope, "conv1", "bn1", inputs, outputs, stride: stride)],
            last: block(scope, "conv2", "bn2", outputs, outputs, stride: 1),
            shortcut: stride > 1
                ? .projection(convolution(scope / "shortcut", inputs, outputs, size: 1, stride: stride)) : .identity)
    }
}
