// ResNet for ImageNet: 18, 34, 50, 101 and 152 layers.
//
// Paper: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015,
//   https://arxiv.org/abs/1512.03385
// Variants: v1.5 (torchvision, NVIDIA; the default) has the stride of a bottleneck in its 3×3
//   convolution; v1 (the paper) in its first 1×1. They differ from 50 layers on; weights do not tell
//   them apart. `keras` is keras.applications: v1 with biased convolutions and ε 1.001e-5.
// Weight names: torchvision's — conv1, bn1, layer1.0.conv1, layer1.0.bn1, …, layer2.0.downsample.0
//   (convolution) and .1 (norm), fc.
// Checked against: torchvision (v1.5 of all depths; v1 of 50, 101 and 152 layers by moving its strides), timm (50) and
//   Keras (50, 101, 152), each filled by a formula — logits at two input sizes and every gradient; in training mode
//   torchvision's of 18 and 50 layers with loss, gradients and running statistics (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let resNet = Family(
        title: "ResNet",
        names: ResNet.Depth.allCases.map { "resnet\($0.rawValue)" },
        member: { asked in
            guard let depth = asked.number(after: "resnet").flatMap(ResNet.Depth.init(rawValue:)) else { return nil }
            let variant = try asked.choose(from: depth.variants)
            return Member(
                name: "resnet\(depth.rawValue)", variant: variant, of: depth.variants,
                input: .images(variant == .keras ? .kerasCaffe : .torchvision), classes: 1000,
                kerasLayers: variant == .keras ? ResNet.kerasLayers(depth) : nil,
                build: { ResNet.network($0, depth, variant, seed: $1) })
        },
        recognise: { ResNet.recognise($0) })
}

public enum ResNet {
    /// The depths of the paper's table 1.
    public enum Depth: Int, CaseIterable, Sendable {
        case resNet18 = 18
        case resNet34 = 34
        case resNet50 = 50
        case resNet101 = 101
        case resNet152 = 152

        /// Blocks in layer1 to layer4.
        var blocks: [Int] {
            switch self {
            case .resNet18: [2, 2, 2, 2]
            case .resNet34, .resNet50: [3, 4, 6, 3]
            case .resNet101: [3, 4, 23, 3]
            case .resNet152: [3, 8, 36, 3]
            }
        }

        /// Whether blocks are 1×1, 3×3, 1×1 with four times the width at their ends.
        var hasBottlenecks: Bool { rawValue >= 50 }

        var variants: [Variant] { hasBottlenecks ? Variant.allCases : [.v1_5, .v1] }
    }

    public enum Variant: String, CaseIterable, Sendable {
        case v1_5 = "v1.5"
        case v1
        case keras

        var rule: NormalizationRule { self == .keras ? .keras.with(epsilon: 1.001e-5) : .pytorch }
    }

    /// - Parameters:
    ///   - groups: of the 3×3 convolution of a bottleneck.
    ///   - widthPerGroup: channels of each of its groups in layer1.
    static func network(
        _ architecture: Architecture, _ depth: Depth, _ variant: Variant, groups: Int = 1, widthPerGroup: Int = 64,
        seed: UInt64
    ) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let style = Style(
            hasBottlenecks: depth.hasBottlenecks, variant: variant, groups: groups, widthPerGroup: widthPerGroup)
        let stem = style.block(
            scope, "conv1", "bn1", architecture.inputChannels, 64,
            SlidingWindow(7, stride: 2, padding: .symmetric(3)))
        let pool = MaxPool2D("maxpool", window: SlidingWindow(3, stride: 2, padding: .symmetric(1)))
        var stages = [
            Stage(name: "stem", parameterPrefixes: ["conv1", "bn1"], module: Sequential([stem, pool]))
        ]
        var channels = 64
        for (index, count) in depth.blocks.enumerated() {
            let name = "layer\(index + 1)"
            let width = 64 << index
            let blocks = (0..<count).map { block in
                let stride = index > 0 && block == 0 ? 2 : 1
                defer { channels = width * style.expansion }
                return style.residual(scope / name / block, inputs: channels, width: width, stride: stride)
            }
            stages.append(Stage(name: name, parameterPrefixes: [name], module: Sequential(blocks, areBlocks: true)))
        }
        let isKeras = variant == .keras
        stages.append(.globalAveragePool)
        let classifier = Linear(
            scope / "fc", inputs: channels, outputs: architecture.classes,
            initializer: isKeras ? .glorotUniform : nil, biasInitializer: isKeras ? .zeros : nil)
        return Network(
            architecture, store: scope.store, stages: stages,
            head: classifier, headPrefix: "fc")
    }

    /// The depth whose blocks these are, under torchvision's names; nil where they are of none.
    static func depth(of weights: WeightShapes) -> Depth? {
        let blocks = (1...4).map { weights.count("layer\($0).", ".conv1.weight") }
        let hasBottlenecks = weights.has("layer1.0.conv3.weight")
        return Depth.allCases.first { $0.blocks == blocks && $0.hasBottlenecks == hasBottlenecks }
    }

    /// ResNeXt has groups, Wide ResNet more channels, in the 3×3 convolutions; ResNet v2 no batch norm behind the first.
    static func recognise(_ weights: WeightShapes) -> Recognition? {
        guard let depth = depth(of: weights), weights["conv1.weight"]?.first == 64, weights.has("bn1.weight"),
            weights["layer1.0.conv2.weight"]?.prefix(2) == [64, 64]
        else { return nil }
        let hasBottlenecks = depth.hasBottlenecks
        let isKeras = hasBottlenecks && weights.has("conv1.bias")
        return Recognition("resnet\(depth.rawValue)", (isKeras ? Variant.keras : .v1_5).rawValue)
    }

    /// keras.applications: conv2_block1_1_conv is layer1.0.conv1, conv2_block1_0_conv the shortcut's.
    static func kerasLayers(_ depth: Depth) -> [KerasLayer] {
        func pair(_ name: String, _ convolution: String, _ normalization: String) -> [[KerasLayer]] {
            [
                [KerasLayer(name + "_conv", .convolution(hasBias: true), convolution)],
                [KerasLayer(name + "_bn", .batchNormalization(), normalization)],
            ]
        }
        var layers = pair("conv1", "conv1", "bn1").flatMap { $0 }
        for (stage, count) in depth.blocks.enumerated() {
            for block in 0..<count {
                let (name, path) = ("conv\(stage + 2)_block\(block + 1)", "layer\(stage + 1).\(block)")
                let inner = (1...3).map { pair("\(name)_\($0)", "\(path).conv\($0)", "\(path).bn\($0)") }
                layers += inner[0].flatMap { $0 } + inner[1].flatMap { $0 }
                // Layers of the same depth stand side by side in Keras's order, the shortcut first.
                let shortcut =
                    block == 0 ? pair("\(name)_0", "\(path).downsample.0", "\(path).downsample.1") : [[], []]
                layers += shortcut[0] + inner[2][0] + shortcut[1] + inner[2][1]
            }
        }
        return layers + [KerasLayer("predictions", .dense, "fc")]
    }

    /// What all blocks of one network have in common.
    struct Style {
        let hasBottlenecks: Bool
        let variant: Variant
        let groups: Int
        let widthPerGroup: Int
        var expansion: Int { hasBottlenecks ? 4 : 1 }

        func block(
            _ scope: Scope, _ convolution: String, _ normalization: String, _ inputs: Int, _ outputs: Int,
            _ window: SlidingWindow, groups: Int = 1, activation: Activation = .relu
        ) -> ConvolutionBatchNorm {
            let isKeras = variant == .keras
            return ConvolutionBatchNorm(
                convolution: Convolution2D(
                    scope / convolution, inputChannels: inputs, outputChannels: outputs, window: window,
                    groups: groups, usesBias: isKeras, initializer: isKeras ? .glorotUniform : .kaimingNormal(.fanOut),
                    biasInitializer: .zeros),
                normalization: scope / normalization, rule: variant.rule, activation: activation)
        }

        /// ReLU(convolutions(x) + shortcut(x)), the shortcut being 1×1 where the shape changes.
        /// Input N×inputs×H×W, output N×(width·expansion)×⌈H/stride⌉×⌈W/stride⌉.
        func residual(_ scope: Scope, inputs: Int, width: Int, stride: Int) -> ResidualBlock {
            let outputs = width * expansion
            func pointwise(_ stride: Int) -> SlidingWindow {
                SlidingWindow(1, stride: stride, padding: .symmetric(0))
            }
            func square(_ stride: Int) -> SlidingWindow {
                SlidingWindow(3, stride: stride, padding: .symmetric(1))
            }
            let convolutions: [ConvolutionBatchNorm]
            let last: ConvolutionBatchNorm
            if hasBottlenecks {
                let strides = variant == .v1_5 ? (1, stride) : (stride, 1)
                let inner = width * widthPerGroup / 64 * groups
                convolutions = [
                    block(scope, "conv1", "bn1", inputs, inner, pointwise(strides.0)),
                    block(scope, "conv2", "bn2", inner, inner, square(strides.1), groups: groups),
                ]
                last = block(scope, "conv3", "bn3", inner, outputs, pointwise(1))
            } else {
                convolutions = [block(scope, "conv1", "bn1", inputs, width, square(stride))]
                last = block(scope, "conv2", "bn2", width, outputs, square(1))
            }
            guard stride > 1 || inputs != outputs else {
                return ResidualBlock(convolutions: convolutions, last: last, shortcut: .identity)
            }
            let projection = block(
                scope / "downsample", "0", "1", inputs, outputs, pointwise(stride), activation: .identity)
            return ResidualBlock(convolutions: convolutions, last: last, shortcut: .projection(projection))
        }
    }
}
