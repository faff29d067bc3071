// MobileNetV1, any width.
//
// Paper: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
//   Applications", 2017, https://arxiv.org/abs/1704.04861
// Variants: `keras` (keras.applications): ReLU6, ε 1e-3, "same" padding of the first convolution,
//   strided depthwise ones padded at the bottom and right, dropout 0.001 before the classifier.
//   `pytorch` (the ImageNet backbone of biubug6/Pytorch_Retinaface): LeakyReLU 0.1, ε 1e-5, symmetric
//   padding, mean pooling.
// Weight names: keras — conv1, conv1_bn, conv_dw_1, conv_dw_1_bn, conv_pw_1, conv_pw_1_bn, …,
//   conv_preds (Keras stores it as a 1×1 convolution). pytorch — stage1.0.0 (convolution) and .1 (norm),
//   stage1.1.0 (depthwise) .1 .3 (pointwise) .4, …, fc.
// Checked against: both published files of width 0.25 in independent PyTorch forward passes, logits (Keras gives the same
//   with its own); at the widths 0.25, 0.5, 0.75 and 1 Keras and, for `pytorch`, which no package has, the network written
//   anew in PyTorch (Reference/networks.py), each filled by a formula — logits at two input sizes and every gradient
//   (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let mobileNetV1 = Family(
        title: "MobileNetV1",
        names: ["mobilenet_v1", "mobilenet_v1_0.25", "mobilenet_v1_0.5", "mobilenet_v1_0.75"],
        member: { asked in
            guard let width = try asked.width(after: "mobilenet_v1") else { return nil }
            let variant = try asked.choose(from: MobileNetV1.Variant.allCases)
            return Member(
                name: Architecture.name("mobilenet_v1", width: width), variant: variant,
                of: MobileNetV1.Variant.allCases,
                input: .images(variant == .keras ? .kerasSymmetric(224) : .torchvision), classes: 1000,
                kerasLayers: variant == .keras ? MobileNetV1.kerasLayers : nil,
                build: { MobileNetV1.network($0, width: width, variant, seed: $1) })
        },
        recognise: { weights in
            let variant: MobileNetV1.Variant = weights.has("conv_dw_1.weight") ? .keras : .pytorch
            let last = variant == .keras ? "conv_pw_13.weight" : "stage3.1.3.weight"
            guard let channels = weights[last]?.first else { return nil }
            let exact = Double(channels) / 1024
            let width = MobileNetWidth.tried.first { MobileNetV1.channels(1024, width: $0) == channels } ?? exact
            guard MobileNetWidth.range.contains(width) else { return nil }
            return Recognition(Architecture.name("mobilenet_v1", width: width), variant.rawValue)
        })
}

public enum MobileNetV1 {
    public enum Variant: String, CaseIterable, Sendable {
        case keras, pytorch

        var activation: Activation { self == .keras ? .relu6 : .leakyRelu(slope: 0.1) }
        var rule: NormalizationRule { self == .keras ? .keras : .pytorch }
    }

    /// The separable blocks of the paper's table 1: output channels at width 1, and stride.
    private static let blocks: [(channels: Int, stride: Int)] = [
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1),
        (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
        (1024, 2), (1024, 1),
    ]

    /// Channels at a width: the whole part of the product.
    static func channels(_ channels: Int, width: Double) -> Int { max(1, Int(Double(channels) * width)) }

    static func network(
        _ architecture: Architecture, width: Double, _ variant: Variant, seed: UInt64
    ) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let stem = Naming.stem(variant)
        let window = SlidingWindow(3, stride: 2, padding: variant == .keras ? .same : .symmetric(1))
        var channels = self.channels(32, width: width)
        let first = block(
            scope, stem.convolution, stem.normalization, architecture.inputChannels, channels, window, variant)
        var stages = [Stage(name: stem.stage, parameterPrefixes: stem.prefixes, module: first)]
        for (index, entry) in blocks.enumerated() {
            let naming = Naming.block(index + 1, variant)
            let outputs = self.channels(entry.channels, width: width)
            let block = separable(scope, naming, channels, outputs, stride: entry.stride, variant)
            stages.append(Stage(name: naming.stage, parameterPrefixes: naming.prefixes, module: block))
            channels = outputs
        }
        return finish(architecture, scope, stages, channels, variant)
    }

    /// Keras's own names are the variant's.
    static let kerasLayers: [KerasLayer] = {
        func normalization(_ name: String) -> KerasLayer { KerasLayer(name, .batchNormalization(), name) }
        let stem = [KerasLayer("conv1", .convolution(hasBias: false), "conv1"), normalization("conv1_bn")]
        let body = (1...blocks.count).flatMap { number in
            [
                KerasLayer("conv_dw_\(number)", .depthwiseConvolution(hasBias: false), "conv_dw_\(number)"),
                normalization("conv_dw_\(number)_bn"),
                KerasLayer("conv_pw_\(number)", .convolution(hasBias: false), "conv_pw_\(number)"),
                normalization("conv_pw_\(number)_bn"),
            ]
        }
        return stem + body + [KerasLayer("conv_preds", .convolution(hasBias: true), "conv_preds")]
    }()

    private static func finish(
        _ architecture: Architecture, _ scope: Scope, _ stages: [Stage], _ channels: Int, _ variant: Variant
    ) -> Network {
        let isKeras = variant == .keras
        let headPrefix = isKeras ? "conv_preds" : "fc"
        let classifier = Linear(
            scope / headPrefix, inputs: channels, outputs: architecture.classes,
            initializer: isKeras ? .glorotUniform : nil, biasInitializer: isKeras ? .zeros : nil)
        let dropout: [any Module] = isKeras ? [Dropout(scope / "dropout", rate: 0.001)] : []
        return Network(
            architecture, store: scope.store, stages: stages + [.globalAveragePool],
            head: Sequential(dropout + [classifier]), headPrefix: headPrefix)
    }

    /// A depthwise 3×3 and a pointwise convolution, each with norm and activation.
    /// Input N×inputs×H×W, output N×outputs×H/stride×W/stride.
    private static func separable(
        _ scope: Scope, _ naming: Naming, _ inputs: Int, _ outputs: Int, stride: Int, _ variant: Variant
    ) -> Sequential {
        let padding: PaddingRule = variant == .keras && stride > 1 ? .bottomRight(1) : .symmetric(1)
        return Sequential([
            block(
                scope, naming.convolution, naming.normalization, inputs, inputs,
                SlidingWindow(3, stride: stride, padding: padding), variant, groups: inputs),
            block(
                scope, naming.pointwise, naming.pointwiseNormalization, inputs, outputs,
                SlidingWindow(1, padding: .symmetric(0)), variant),
        ])
    }

    private static func block(
        _ scope: Scope, _ convolution: String, _ normalization: String, _ inputs: Int, _ outputs: Int,
        _ window: SlidingWindow, _ variant: Variant, groups: Int = 1
    ) -> ConvolutionBatchNorm {
        ConvolutionBatchNorm(
            convolution: Convolution2D(
                scope / convolution, inputChannels: inputs, outputChannels: outputs, window: window,
                groups: groups, initializer: variant == .keras ? .glorotUniform : nil),
            normalization: scope / normalization, rule: variant.rule, activation: variant.activation)
    }

    /// What the layers of a stage are called.
    private struct Naming {
        var stage: String
        var prefixes: [String]
        var convolution: String
        var normalization: String
        var pointwise = ""
        var pointwiseNormalization = ""

        static func stem(_ variant: Variant) -> Naming {
            switch variant {
            case .keras:
                Naming(
                    stage: "conv1", prefixes: ["conv1", "conv1_bn"], convolution: "conv1",
                    normalization: "conv1_bn")
            case .pytorch:
                Naming(
                    stage: "stage1.0", prefixes: ["stage1.0"], convolution: "stage1.0.0",
                    normalization: "stage1.0.1")
            }
        }

        /// - Parameter number: from 1, the number Keras gives the block.
        static func block(_ number: Int, _ variant: Variant) -> Naming {
            switch variant {
            case .keras:
                let (depthwise, pointwise) = ("conv_dw_\(number)", "conv_pw_\(number)")
                return Naming(
                    stage: "block\(number)",
                    prefixes: [depthwise, depthwise + "_bn", pointwise, pointwise + "_bn"],
                    convolution: depthwise, normalization: depthwise + "_bn", pointwise: pointwise,
                    pointwiseNormalization: pointwise + "_bn")
            case .pytorch:
                // stage1 holds the stem and blocks 1 to 5, stage2 6 to 11, stage3 12 and 13.
                let prefix =
                    number < 6
                    ? "stage1.\(number)"
                    : number < 12 ? "stage2.\(number - 6)" : "stage3.\(number - 12)"
                return Naming(
                    stage: prefix, prefixes: [prefix], convolution: prefix + ".0",
                    normalization: prefix + ".1", pointwise: prefix + ".3",
                    pointwiseNormalization: prefix + ".4")
            }
        }
    }
}
