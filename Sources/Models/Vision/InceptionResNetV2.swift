// InceptionResNetV2.
//
// Paper: Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
//   Learning", 2016, https://arxiv.org/abs/1602.07261
// Variants, both of 299 pixels and as TensorFlow published it: ε 1e-3, branches scaled by 0.17, 0.1 and 0.2, the last
//   block neither scaled nor followed by ReLU. `timm`: batch norm with scale. `keras` (keras.applications): without.
// Weight names: timm's (and Cadene's) — conv2d_1a.conv, conv2d_1a.bn, …, mixed_5b.branch0.conv, mixed_5b.branch1.0.conv,
//   …, repeat.0.branch0.conv, repeat.0.conv2d, …, mixed_6a, repeat_1.0, …, mixed_7a, repeat_2.0, …, block8, conv2d_7b,
//   classif.
// Checked against: timm and Keras, each filled by a formula — logits at two input sizes and every gradient
//   (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let inceptionResNetV2 = Family(
        title: "InceptionResNetV2",
        names: ["inception_resnet_v2"],
        member: { asked in
            guard asked.name == "inception_resnet_v2" else { return nil }
            let variant = try asked.choose(from: InceptionResNetV2.Variant.allCases)
            return Member(
                name: asked.name, variant: variant, of: InceptionResNetV2.Variant.allCases,
                input: .images(variant.preprocessing), classes: 1000,
                kerasLayers: variant == .keras ? InceptionResNetV2.kerasLayers : nil,
                build: { InceptionResNetV2.network($0, variant, seed: $1) })
        },
        recognise: { weights in
            guard weights.has("repeat_1.19.conv2d.weight"), weights.has("block8.conv2d.weight") else { return nil }
            let variant: InceptionResNetV2.Variant = weights.has("conv2d_7b.bn.weight") ? .timm : .keras
            return Recognition("inception_resnet_v2", variant.rawValue)
        })
}

public enum InceptionResNetV2 {
    public enum Variant: String, CaseIterable, Sendable {
        case timm, keras

        var preprocessing: Preprocessing {
            var preprocessing = Preprocessing.kerasSymmetric(299)
            if self == .timm { (preprocessing.resize, preprocessing.interpolation) = (333, .bicubic) }
            return preprocessing
        }

        var style: InceptionStyle {
            let rule: NormalizationRule = self == .keras ? .keras.with(hasScale: false) : .pytorch.with(epsilon: 1e-3)
            return InceptionStyle(rule: rule, initializer: initializer, countsPadding: false)
        }

        var initializer: Initializer? { self == .keras ? .glorotUniform : nil }
        var biasInitializer: Initializer? { self == .keras ? .zeros : nil }
    }

    static func network(_ architecture: Architecture, _ variant: Variant, seed: UInt64) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        var stages: [Stage] = []
        var channels = architecture.inputChannels
        func add(_ name: String, _ chains: [[InceptionPart]], in scope: Scope, prefixes: [String]? = nil) {
            let made = variant.style.blocks(chains, in: scope, inputs: channels)
            stages.append(Stage(name: name, parameterPrefixes: prefixes ?? [name], module: made.module))
            channels = made.outputs
        }
        func add(_ kind: Kind) {
            let blocks = (0..<kind.count).map { index -> any Module in
                let own = kind.count > 1 ? scope / kind.name / index : scope / kind.name
                return Block(own, kind, channels: channels, variant)
            }
            stages.append(
                Stage(name: kind.name, parameterPrefixes: [kind.name], module: Sequential(blocks, areBlocks: true)))
        }
        add("stem", stem, in: scope, prefixes: stemNames)
        add("mixed_5b", [mixed5b], in: scope / "mixed_5b")
        add(block35)
        add("mixed_6a", [mixed6a], in: scope / "mixed_6a")
        add(block17)
        add("mixed_7a", [mixed7a], in: scope / "mixed_7a")
        add(block8)
        add(lastBlock8)
        add("conv2d_7b", [[.layer("conv2d_7b", 1536, 1)]], in: scope)
        let classifier = Linear(
            scope / "classif", inputs: channels, outputs: architecture.classes, initializer: variant.initializer,
            biasInitializer: variant.biasInitializer)
        return Network(
            architecture, store: scope.store, stages: stages + [.globalAveragePool], head: classifier,
            headPrefix: "classif")
    }

    // MARK: The paper's figures 15 to 19, as published

    /// In three blocks, each recomputed for itself: its images are by far the largest.
    private static let stem: [[InceptionPart]] = [
        [.layer("conv2d_1a", 32, 3, stride: 2), .layer("conv2d_2a", 32, 3, isPadded: false)],
        [.layer("conv2d_2b", 64, 3), .maximum],
        [.layer("conv2d_3b", 80, 1), .layer("conv2d_4a", 192, 3, isPadded: false), .maximum],
    ]

    private static let stemNames = ["conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a"]

    private static let mixed5b: [InceptionPart] = {
        let second: [InceptionPart] = [.layer("branch1.0", 48, 1), .layer("branch1.1", 64, 5)]
        let third: [InceptionPart] = [
            .layer("branch2.0", 64, 1), .layer("branch2.1", 96, 3), .layer("branch2.2", 96, 3),
        ]
        return [.branches([[.layer("branch0", 96, 1)], second, third, [.average, .layer("branch3.1", 64, 1)]])]
    }()

    private static let mixed6a: [InceptionPart] = {
        let second: [InceptionPart] = [
            .layer("branch1.0", 256, 1), .layer("branch1.1", 256, 3), .layer("branch1.2", 384, 3, stride: 2),
        ]
        return [.branches([[.layer("branch0", 384, 3, stride: 2)], second, [.maximum]])]
    }()

    private static let mixed7a: [InceptionPart] = {
        let first: [InceptionPart] = [.layer("branch0.0", 256, 1), .layer("branch0.1", 384, 3, stride: 2)]
        let second: [InceptionPart] = [.layer("branch1.0", 256, 1), .layer("branch1.1", 288, 3, stride: 2)]
        let third: [InceptionPart] = [
            .layer("branch2.0", 256, 1), .layer("branch2.1", 288, 3), .layer("branch2.2", 320, 3, stride: 2),
        ]
        return [.branches([first, second, third, [.maximum]])]
    }()

    /// A block that is repeated.
    struct Kind {
        /// What timm calls the blocks, and Keras the block.
        let name, keras: String
        let count: Int
        /// What the branches count.
        let factor: Float
        var activation = Activation.relu
        let branches: [[InceptionPart]]
    }

    private static let block35: Kind = {
        let third: [InceptionPart] = [
            .layer("branch2.0", 32, 1), .layer("branch2.1", 48, 3), .layer("branch2.2", 64, 3),
        ]
        return Kind(
            name: "repeat", keras: "block35", count: 10, factor: 0.17,
            branches: [
                [.layer("branch0", 32, 1)], [.layer("branch1.0", 32, 1), .layer("branch1.1", 32, 3)], third,
            ])
    }()

    private static let block17: Kind = {
        let second: [InceptionPart] = [
            .layer("branch1.0", 128, 1), .layer("branch1.1", 160, 1, 7), .layer("branch1.2", 192, 7, 1),
        ]
        return Kind(
            name: "repeat_1", keras: "block17", count: 20, factor: 0.1,
            branches: [[.layer("branch0", 192, 1)], second])
    }()

    private static let branches8: [[InceptionPart]] = {
        let second: [InceptionPart] = [
            .layer("branch1.0", 192, 1), .layer("branch1.1", 224, 1, 3), .layer("branch1.2", 256, 3, 1),
        ]
        return [[.layer("branch0", 192, 1)], second]
    }()

    private static let block8 = Kind(name: "repeat_2", keras: "block8", count: 9, factor: 0.2, branches: branches8)
    private static let lastBlock8 = Kind(
        name: "block8", keras: "block8", count: 1, factor: 1, activation: .identity, branches: branches8)

    /// activation(x + factor · convolution(branches of x)). Input and output N×channels×H×W.
    struct Block: Module {
        private let branches: any Module
        private let sum: ConvolutionSum

        init(_ scope: Scope, _ kind: Kind, channels: Int, _ variant: Variant) {
            let made = variant.style.module([.branches(kind.branches)], in: scope, inputs: channels)
            branches = made.module
            let convolution = Convolution2D(
                scope / "conv2d", inputChannels: made.outputs, outputChannels: channels,
                window: SlidingWindow(1, padding: .symmetric(0)), usesBias: true, initializer: variant.initializer,
                biasInitializer: variant.biasInitializer)
            sum = ConvolutionSum(convolution, factor: kind.factor, activation: kind.activation)
        }

        func callAsFunction(_ x: Tensor, _ context: ForwardContext) throws -> Tensor {
            try sum(branches(x, context), residual: x, context)
        }

        func outputShape(for input: [Int], in pass: ShapePass) throws -> [Int] {
            try sum.outputShape(for: branches.outputShape(for: input, in: pass), residual: input, in: pass)
        }
    }

    /// keras.applications: conv2d is conv2d_1a.conv, the following are numbered; block35_1_conv is repeat.0.conv2d.
    static let kerasLayers: [KerasLayer] = {
        var names = InceptionKerasNames()
        var layers = names.columns(stem.flatMap { $0 }, at: "").flatMap { $0 }
        func add(_ parts: [InceptionPart], at path: String) {
            layers += names.columns(parts, at: path + ".").flatMap { $0 }
        }
        func add(_ kind: Kind, from first: Int = 1) {
            for index in 0..<kind.count {
                let path = kind.count > 1 ? "\(kind.name).\(index)" : kind.name
                add([.branches(kind.branches)], at: path)
                layers.append(
                    KerasLayer("\(kind.keras)_\(first + index)_conv", .convolution(hasBias: true), path + ".conv2d"))
            }
        }
        add(mixed5b, at: "mixed_5b")
        add(block35)
        add(mixed6a, at: "mixed_6a")
        add(block17)
        add(mixed7a, at: "mixed_7a")
        add(block8)
        add(lastBlock8, from: 10)
        return layers + [
            KerasLayer("conv_7b", .convolution(hasBias: false), "conv2d_7b.conv"),
            KerasLayer("conv_7b_bn", .batchNormalization(hasScale: false), "conv2d_7b.bn"),
            KerasLayer("predictions", .dense, "classif"),
        ]
    }()
}
