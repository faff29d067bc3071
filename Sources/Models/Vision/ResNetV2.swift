// ResNet v2 of Keras: 50, 101 and 152 layers.
//
// Paper: He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", 2016, https://arxiv.org/abs/1603.05027
// Variant: `keras` (keras.applications): batch norm and ReLU before the convolutions of a block, ε 1.001e-5; the first
//   convolution, the last of a block and those of shortcuts have biases, the others do not; the stride is in the last
//   block of a stage, in its 3×3 convolution. Zeros around the image take part in the first pooling, as there is no ReLU
//   before it.
// Weight names: in torchvision's words — conv1, layer1.0.preact_bn, layer1.0.conv1, layer1.0.bn1, layer1.0.conv2,
//   layer1.0.bn2, layer1.0.conv3, layer1.0.downsample, …, post_bn, fc.
// Checked against: Keras, filled by a formula — logits at two input sizes and every gradient
//   (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let resNetV2 = Family(
        title: "ResNet v2",
        names: ResNetV2.depths.map { "resnet\($0.rawValue)_v2" },
        member: { asked in
            guard let depth = ResNetV2.depths.first(where: { asked.name == "resnet\($0.rawValue)_v2" }) else {
                return nil
            }
            let variant = try asked.choose(from: ResNetV2.Variant.allCases)
            return Member(
                name: asked.name, variant: variant, of: ResNetV2.Variant.allCases, input: .images(.kerasSymmetric(224)),
                classes: 1000,
                kerasLayers: ResNetV2.kerasLayers(depth), build: { ResNetV2.network($0, depth, seed: $1) })
        },
        recognise: { weights in
            guard weights.has("layer1.0.preact_bn.weight"), let depth = ResNet.depth(of: weights) else { return nil }
            return Recognition("resnet\(depth.rawValue)_v2", ResNetV2.Variant.keras.rawValue)
        })
}

public enum ResNetV2 {
    public enum Variant: String, CaseIterable, Sendable { case keras }

    static let depths = ResNet.Depth.allCases.filter(\.hasBottlenecks)

    static func network(_ architecture: Architecture, _ depth: ResNet.Depth, seed: UInt64) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let first = convolution(
            scope / "conv1", architecture.inputChannels, 64, SlidingWindow(7, stride: 2, padding: .symmetric(3)),
            usesBias: true)
        let stem = Sequential([
            first, ZeroPadding("maxpool", SpatialPadding(1)),
            MaxPool2D("maxpool", window: SlidingWindow(3, stride: 2, padding: .symmetric(0))),
        ])
        var stages = [Stage(name: "stem", parameterPrefixes: ["conv1"], module: stem)]
        var channels = 64
        for (index, count) in depth.blocks.enumerated() {
            let (name, width) = ("layer\(index + 1)", 64 << index)
            let blocks = (0..<count).map { block in
                let stride = block == count - 1 && index < 3 ? 2 : 1
                defer { channels = width * 4 }
                return Block(scope / name / block, inputs: channels, width: width, stride: stride, isFirst: block == 0)
            }
            stages.append(Stage(name: name, parameterPrefixes: [name], module: Sequential(blocks, areBlocks: true)))
        }
        let last = PreActivation(scope / "post_bn", channels: channels, rule: rule)
        stages += [Stage(name: "post_bn", parameterPrefixes: ["post_bn"], module: last), .globalAveragePool]
        let classifier = Linear(
            scope / "fc", inputs: channels, outputs: architecture.classes, initializer: .glorotUniform,
            biasInitializer: .zeros)
        return Network(architecture, store: scope.store, stages: stages, head: classifier, headPrefix: "fc")
    }

    private static let rule = NormalizationRule.keras.with(epsilon: 1.001e-5)

    private static func convolution(
        _ scope: Scope, _ inputs: Int, _ outputs: Int, _ window: SlidingWindow, usesBias: Bool
    ) -> Convolution2D {
        Convolution2D(
            scope, inputChannels: inputs, outputChannels: outputs, window: window, usesBias: usesBias,
            initializer: .glorotUniform, biasInitializer: .zeros)
    }

    /// convolutions(ReLU(norm(x))) + shortcut.
    /// Input N×inputs×H×W, output N×(4·width)×⌈H/stride⌉×⌈W/stride⌉.
    struct Block: Module {
        private let preactivation: PreActivation
        /// 1×1 and 3×3, each with its norm and ReLU.
        private let convolutions: [ConvolutionBatchNorm]
        /// The one that the shortcut is added to.
        private let last: ConvolutionSum
        /// In the first block of a stage: 1×1, of what the convolutions take too.
        private let projection: Convolution2D?
        /// Where the stride is: every second pixel of the input.
        private let selection: MaxPool2D?

        init(_ scope: Scope, inputs: Int, width: Int, stride: Int, isFirst: Bool) {
            let pointwise = SlidingWindow(1, padding: .symmetric(0))
            func block(_ number: Int, _ inputs: Int, _ window: SlidingWindow) -> ConvolutionBatchNorm {
                ConvolutionBatchNorm(
                    convolution: convolution(scope / "conv\(number)", inputs, width, window, usesBias: false),
                    normalization: scope / "bn\(number)", rule: rule, activation: .relu)
            }
            preactivation = PreActivation(scope / "preact_bn", channels: inputs, rule: rule)
            projection =
                isFirst ? convolution(scope / "downsample", inputs, 4 * width, pointwise, usesBias: true) : nil
            convolutions = [
                block(1, inputs, pointwise), block(2, width, SlidingWindow(3, stride: stride, padding: .symmetric(1))),
            ]
            last = ConvolutionSum(convolution(scope / "conv3", width, 4 * width, pointwise, usesBias: true))
            selection =
                stride > 1
                ? MaxPool2D(
                    (scope / "maxpool").path, window: SlidingWindow(1, stride: stride, padding: .symmetric(0))) : nil
        }

        func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
            let active = try preactivation(x, context)
            let shortcut = try projection?(active, context) ?? selection?(x, context) ?? x
            let inner = try convolutions.reduce(active) { try $1($0, context) }
            return try last(inner, residual: shortcut, context)
        }

        func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
            let active = try preactivation.outputShape(for: input, in: pass)
            let shortcut =
                try projection?.outputShape(for: active, in: pass) ?? selection?.outputShape(for: input, in: pass)
                ?? input
            let inner = try convolutions.reduce(active) { try $1.outputShape(for: $0, in: pass) }
            return try last.outputShape(for: inner, residual: shortcut, in: pass)
        }
    }

    /// keras.applications: conv2_block1_1_conv is layer1.0.conv1, conv2_block1_0_conv the shortcut's.
    static func kerasLayers(_ depth: ResNet.Depth) -> [KerasLayer] {
        var layers = [KerasLayer("conv1_conv", .convolution(hasBias: true), "conv1")]
        for (stage, count) in depth.blocks.enumerated() {
            for block in 0..<count {
                let (name, path) = ("conv\(stage + 2)_block\(block + 1)", "layer\(stage + 1).\(block)")
                layers.append(KerasLayer(name + "_preact_bn", .batchNormalization(), path + ".preact_bn"))
                for number in 1...2 {
                    layers += [
                        KerasLayer("\(name)_\(number)_conv", .convolution(hasBias: false), "\(path).conv\(number)"),
                        KerasLayer("\(name)_\(number)_bn", .batchNormalization(), "\(path).bn\(number)"),
                    ]
                }
                // Layers of the same depth stand side by side in Keras's order, the shortcut first.
                if block == 0 {
                    layers.append(KerasLayer(name + "_0_conv", .convolution(hasBias: true), path + ".downsample"))
                }
                layers.append(KerasLayer(name + "_3_conv", .convolution(hasBias: true), path + ".conv3"))
            }
        }
        return layers + [
            KerasLayer("post_bn", .batchNormalization(), "post_bn"), KerasLayer("predictions", .dense, "fc"),
        ]
    }
}
