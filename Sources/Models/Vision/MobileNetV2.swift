// MobileNetV2, any width.
//
// Paper: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018,
//   https://arxiv.org/abs/1801.04381
// Variants: `torchvision`: ε 1e-5, symmetric padding, dropout 0.2 before the classifier. `keras`
//   (keras.applications): ε 1e-3, momentum 0.999, "same" padding, no dropout. Both round channels to
//   multiples of 8 and use ReLU6.
// Weight names: torchvision's — features.0.0 (convolution) and .1 (norm); features.1.conv.0.0, .0.1
//   (depthwise), .1, .2 (projection); features.2.conv.0.0, .0.1 (expansion), .1.0, .1.1 (depthwise),
//   .2, .3 (projection), …; features.18.0, .1; classifier.1.
// Checked against: torchvision's mobilenet_v2 — logits in evaluation, loss and gradients in training
//   without dropout, at two input sizes (Tests/ModelsTests/Reference).

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
        kerasNames: ["mobilenet_v2-keras"])
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

    /// Channels at a width: the nearest multiple of 8, never less than nine tenths of the product.
    package static func channels(_ channels: Int, width: Double) -> Int {
        let exact = Double(channels) * width
        let rounded = max(8, Int(exact + 4) / 8 * 8)
        return Double(rounded) < 0.9 * exact ? rounded + 8 : rounded
    }

    static func network(
        _ architecture: Architecture, width: Double, _ variant: Variant, seed: UInt64
    ) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let features = scope / "features"
        var inputs = channels(32, width: width)
        let stem = SlidingWindow(3, stride: 2, padding: variant.padding(stride: 2))
        var modules: [any Module] = [
            block(features / 0, "0", "1", architecture.inputChannels, inputs, stem, variant)
        ]
        for setting in settings {
            let outputs = channels(setting.c, width: width)
            for index in 0..<setting.n {
                modules.append(
                    InvertedResidual(
                        features / modules.count / "conv", inputs: inputs, outputs: outputs,
                        expansion: setting.t, stride: index == 0 ? setting.s : 1, variant))
                inputs = outputs
            }
        }
        let last = channels(1280, width: max(1, width))
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

    /// Channels are rounded to multiples of 8, so several widths may fit; the usual ones come first.
    static func recognise(_ weights: WeightShapes) -> Recognition? {
        guard weights.has("features.1.conv.0.0.weight"), weights.has("features.18.0.weight") else { return nil }
        let usual = [1, 0.75, 0.5, 0.35, 0.25, 1.3, 1.4, 0.1]
        let widths = usual + (1...40).map { Double($0) / 20 }.filter { !usual.contains($0) }
        let outputs: [(String, Int)] = [
            ("features.0.0.weight", 32), ("features.1.conv.1.weight", 16), ("features.2.conv.2.weight", 24),
            ("features.4.conv.2.weight", 32), ("features.7.conv.2.weight", 64),
            ("features.11.conv.2.weight", 96), ("features.14.conv.2.weight", 160),
            ("features.17.conv.2.weight", 320),
        ]
        let width = widths.first { width in
            outputs.allSatisfy { weights[$0.0]?.first == channels($0.1, width: width) }
        }
        let variant: Variant = weights.isKeras ? .keras : .torchvision
        return width.map { Recognition(Architecture.name("mobilenet_v2", width: $0), variant.rawValue) }
    }

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

    /// Expansion 1×1, depthwise 3×3, linear projection 1×1; the input is added where shapes agree.
    /// Input N×inputs×H×W, output N×outputs×⌈H/stride⌉×⌈W/stride⌉.
    struct InvertedResidual: Module {
        /// Expansion (where t > 1) and depthwise convolution, with ReLU6.
        private let inner: [ConvolutionBatchNorm]
        private let projection: ConvolutionBatchNorm
        private let hasShortcut: Bool

        init(_ scope: Scope, inputs: Int, outputs: Int, expansion: Int, stride: Int, _ variant: Variant) {
            let width = inputs * expansion
            let pointwise = SlidingWindow(1, padding: .symmetric(0))
            let square = SlidingWindow(3, stride: stride, padding: variant.padding(stride: stride))
            var inner: [ConvolutionBatchNorm] = []
            if expansion > 1 {
                inner.append(block(scope / 0, "0", "1", inputs, width, pointwise, variant))
            }
            inner.append(block(scope / inner.count, "0", "1", width, width, square, variant, groups: width))
            self.inner = inner
            projection = block(
                scope, "\(inner.count)", "\(inner.count + 1)", width, outputs, pointwise, variant,
                activation: .identity)
            hasShortcut = stride == 1 && inputs == outputs
        }

        func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
            let wide = try inner.reduce(x) { try $1($0, context) }
            return try projection(wide, residual: hasShortcut ? x : nil, context)
        }

        func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
            let wide = try inner.reduce(input) { try $1.outputShape(for: $0, in: pass) }
            return hasShortcut
                ? try projection.outputShape(for: wide, residual: input, in: pass)
                : try projection.outputShape(for: wide, in: pass)
        }
    }
}
