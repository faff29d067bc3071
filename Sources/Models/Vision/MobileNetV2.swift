// MobileNetV2, any width.
//
// Paper: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018,
//   https://arxiv.org/abs/1801.04381
// Variants: `torchvision`: ε 1e-5, symmetric padding, dropout 0.2 before the classifier. `keras`
//   (keras.applications): ε 1e-3, momentum 0.999, "same" padding, no dropout. Both use ReLU6 and round channels to
//   multiples of 8, not quite alike (`channels`).
// Weight names: torchvision's — features.0.0 (convolution) and .1 (norm); features.1.conv.0.0, .0.1
//   (depthwise), .1, .2 (projection); features.2.conv.0.0, .0.1 (expansion), .1.0, .1.1 (depthwise),
//   .2, .3 (projection), …; features.18.0, .1; classifier.1. timm's (`mobilenetv2_100`, …: conv_stem, blocks.0.0.conv_dw,
//   …, conv_head, classifier) are read too; they are torchvision's network.
// Checked against: torchvision and Keras at the widths 0.35, 0.5, 0.75, 1, 1.3 and 1.4, each filled by a formula — logits
//   at two input sizes and every gradient; torchvision's of width 1 in training mode without dropout, with loss, gradients
//   and running statistics; the channels of both at multiples of 0.07 up to 1.96 (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let mobileNetV2 = Family(
        title: "MobileNetV2",
        names: [
            "mobilenet_v2", "mobilenet_v2_0.35", "mobilenet_v2_0.5", "mobilenet_v2_0.75", "mobilenet_v2_1.3",
            "mobilenet_v2_1.4",
        ],
        member: { asked in
            guard let width = try asked.width(after: "mobilenet_v2") else { return nil }
            let variant = try asked.choose(from: MobileNetV2.Variant.allCases)
            return Member(
                name: Architecture.name("mobilenet_v2", width: width), variant: variant,
                of: MobileNetV2.Variant.allCases,
                input: .images(variant == .keras ? .kerasSymmetric(224) : .torchvision), classes: 1000,
                kerasLayers: variant == .keras ? MobileNetV2.kerasLayers : nil,
                build: { MobileNetV2.network($0, width: width, variant, seed: $1) })
        },
        recognise: { MobileNetV2.recognise($0) },
        nameMaps: [MobileNetV2.timm])
}

public enum MobileNetV2 {
    public enum Variant: String, CaseIterable, Sendable {
        case torchvision, keras

        var rule: NormalizationRule { self == .keras ? .keras.with(momentum: 0.001) : .pytorch }

        /// Padding of a 3×3 window.
        func padding(stride: Int) -> PaddingRule { self == .keras && stride > 1 ? .same : .symmetric(1) }
    }

    /// The paper's table 2: expansion t, channels c at width 1, repeats n, stride s of the first.
    private static let settings: [(t: Int, c: Int, n: Int, s: Int)] = [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]

    /// Channels at a width: the nearest multiple of 8, never less than nine tenths of the product; of the first and the
    /// last convolution (`outer`), or of a block, where Keras takes the product's whole part for the product.
    package static func channels(
        _ channels: Int, width: Double, _ variant: Variant, outer: Bool = false
    ) -> Int {
        let product = Double(channels) * width
        let exact = variant == .keras && !outer ? product.rounded(.down) : product
        let rounded = max(8, Int(exact + 4) / 8 * 8)
        return Double(rounded) < 0.9 * exact ? rounded + 8 : rounded
    }

    static func network(
        _ architecture: Architecture, width: Double, _ variant: Variant, seed: UInt64
    ) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let features = scope / "features"
        var inputs = channels(32, width: width, variant, outer: true)
        let stem = SlidingWindow(3, stride: 2, padding: variant.padding(stride: 2))
        var modules: [any Module] = [
            block(features / 0, "0", "1", architecture.inputChannels, inputs, stem, variant)
        ]
        for setting in settings {
            let outputs = channels(setting.c, width: width, variant)
            for index in 0..<setting.n {
                modules.append(
                    invertedResidual(
                        features / modules.count / "conv", inputs: inputs, outputs: outputs,
                        expansion: setting.t, stride: index == 0 ? setting.s : 1, variant))
                inputs = outputs
            }
        }
        let last = channels(1280, width: max(1, width), variant, outer: true)
        let pointwise = SlidingWindow(1, padding: .symmetric(0))
        modules.append(block(features / modules.count, "0", "1", inputs, last, pointwise, variant))

        let isKeras = variant == .keras
        let classifier = Linear(
            scope / "classifier" / 1, inputs: last, outputs: architecture.classes,
            initializer: isKeras ? .glorotUniform : .normal(standardDeviation: 0.01), biasInitializer: .zeros)
        let dropout: [any Module] = isKeras ? [] : [Dropout(scope / "classifier" / 0, rate: 0.2)]
        let stages = modules.enumerated().map { index, module in
            Stage(name: "features.\(index)", parameterPrefixes: ["features.\(index)"], module: module)
        }
        return Network(
            architecture, store: scope.store, stages: stages + [.globalAveragePool],
            head: Sequential(dropout + [classifier]), headPrefix: "classifier.1")
    }

    /// Channels are rounded to multiples of 8, so several widths may fit.
    static func recognise(_ weights: WeightShapes) -> Recognition? {
        guard weights.has("features.1.conv.0.0.weight"), weights.has("features.18.0.weight") else { return nil }
        let blocks: [(String, Int)] = [
            ("features.1.conv.1.weight", 16), ("features.2.conv.2.weight", 24), ("features.4.conv.2.weight", 32),
            ("features.7.conv.2.weight", 64), ("features.11.conv.2.weight", 96), ("features.14.conv.2.weight", 160),
            ("features.17.conv.2.weight", 320),
        ]
        // Under canonical names Keras's widths may be those of files that went through Graft.
        for variant in weights.isKeras ? [Variant.keras] : Variant.allCases {
            let width = MobileNetWidth.tried.first { width in
                weights["features.0.0.weight"]?.first == channels(32, width: width, variant, outer: true)
                    && weights["features.18.0.weight"]?.first
                        == channels(1280, width: max(1, width), variant, outer: true)
                    && blocks.allSatisfy { weights[$0.0]?.first == channels($0.1, width: width, variant) }
            }
            if let width { return Recognition(Architecture.name("mobilenet_v2", width: width), variant.rawValue) }
        }
        return nil
    }

    /// timm: blocks.1.0.conv_pw is features.2.conv.0.0, blocks.1.0.bn3 features.2.conv.3.
    static let timm: NameMap = {
        let first = [("conv_dw", "0.0"), ("bn1", "0.1"), ("conv_pw", "1"), ("bn2", "2")]
        let others = [
            ("conv_pw", "0.0"), ("bn1", "0.1"), ("conv_dw", "1.0"), ("bn2", "1.1"), ("conv_pwl", "2"), ("bn3", "3"),
        ]
        var prefixes = [("conv_stem.", "features.0.0."), ("bn1.", "features.0.1.")]
        var place = 0
        for (group, setting) in settings.enumerated() {
            for block in 0..<setting.n {
                place += 1
                prefixes += (setting.t == 1 ? first : others).map { stored, canonical in
                    ("blocks.\(group).\(block).\(stored).", "features.\(place).conv.\(canonical).")
                }
            }
        }
        prefixes += [("conv_head.", "features.18.0."), ("bn2.", "features.18.1."), ("classifier.", "classifier.1.")]
        return NameMap("timm", prefixes: prefixes.map { (stored: $0.0, canonical: $0.1) })
    }()

    /// keras.applications: block_3_expand is features.4.conv.0.0, block_3_project_BN features.4.conv.3.
    static let kerasLayers: [KerasLayer] = {
        func pair(
            _ name: String, _ normalization: String, _ kind: KerasLayer.Kind, _ paths: (String, String)
        ) -> [KerasLayer] {
            [KerasLayer(name, kind, paths.0), KerasLayer(normalization, .batchNormalization(), paths.1)]
        }
        let (dense, depthwise) = (
            KerasLayer.Kind.convolution(hasBias: false), KerasLayer.Kind.depthwiseConvolution(hasBias: false)
        )
        func part(_ block: String, _ part: String, _ kind: KerasLayer.Kind, _ a: String, _ b: String) -> [KerasLayer] {
            pair("\(block)_\(part)", "\(block)_\(part)_BN", kind, (a, b))
        }
        let first = "features.1.conv"
        var layers =
            pair("Conv1", "bn_Conv1", dense, ("features.0.0", "features.0.1"))
            + part("expanded_conv", "depthwise", depthwise, first + ".0.0", first + ".0.1")
            + part("expanded_conv", "project", dense, first + ".1", first + ".2")
        for number in 1...16 {
            let (block, path) = ("block_\(number)", "features.\(number + 1).conv")
            layers += part(block, "expand", dense, path + ".0.0", path + ".0.1")
            layers += part(block, "depthwise", depthwise, path + ".1.0", path + ".1.1")
            layers += part(block, "project", dense, path + ".2", path + ".3")
        }
        return layers + pair("Conv_1", "Conv_1_bn", dense, ("features.18.0", "features.18.1"))
            + [KerasLayer("predictions", .dense, "classifier.1")]
    }()

    private static func block(
        _ scope: Scope, _ convolution: String, _ normalization: String, _ inputs: Int, _ outputs: Int,
        _ window: SlidingWindow, _ variant: Variant, groups: Int = 1, activation: Activation = .relu6
    ) -> ConvolutionBatchNorm {
        ConvolutionBatchNorm(
            convolution: Convolution2D(
                scope / convolution, inputChannels: inputs, outputChannels: outputs, window: window,
                groups: groups, initializer: variant == .keras ? .glorotUniform : .kaimingNormal(.fanOut)),
            normalization: scope / normalization, rule: variant.rule, activation: activation)
    }

    /// Expansion 1×1 (where it is more than 1) and depthwise 3×3, both with ReLU6, then a linear projection 1×1; the input
    /// is added where shapes agree. Input N×inputs×H×W, output N×outputs×⌈H/stride⌉×⌈W/stride⌉.
    private static func invertedResidual(
        _ scope: Scope, inputs: Int, outputs: Int, expansion: Int, stride: Int, _ variant: Variant
    ) -> ResidualBlock {
        let width = inputs * expansion
        let pointwise = SlidingWindow(1, padding: .symmetric(0))
        let square = SlidingWindow(3, stride: stride, padding: variant.padding(stride: stride))
        var inner: [ConvolutionBatchNorm] = []
        if expansion > 1 { inner.append(block(scope / 0, "0", "1", inputs, width, pointwise, variant)) }
        inner.append(block(scope / inner.count, "0", "1", width, width, square, variant, groups: width))
        let projection = block(
            scope, "\(inner.count)", "\(inner.count + 1)", width, outputs, pointwise, variant, activation: .identity)
        return ResidualBlock(
            convolutions: inner, last: projection, shortcut: stride == 1 && inputs == outputs ? .identity : .none)
    }
}
