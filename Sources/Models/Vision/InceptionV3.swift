// InceptionV3.
//
// Paper: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", 2015,
//   https://arxiv.org/abs/1512.00567
// Variants, all of 299 pixels, ε 1e-3, no biases in convolutions: `torchvision`: means at edges count the padding, dropout
//   0.5 before the classifier, and the auxiliary classifier, whose loss counts 0.4 in training (of images large enough for
//   its 5×5 window: from 299 pixels on). What torchvision calls `transform_input` belongs to the preprocessing here: its
//   published weights take pixels of -1…1. `timm`: the same without dropout and auxiliary classifier. `keras`
//   (keras.applications): means at edges leave the padding out; batch norm without scale; no dropout.
// Weight names: torchvision's — Conv2d_1a_3x3.conv, Conv2d_1a_3x3.bn, …, Mixed_5b.branch1x1.conv, …, AuxLogits.conv0.conv,
//   AuxLogits.fc, fc.
// Checked against: torchvision, timm and Keras, each filled by a formula — logits at two input sizes and every gradient,
//   torchvision's of the auxiliary loss too (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let inceptionV3 = Family(
        title: "InceptionV3",
        names: ["inception_v3"],
        member: { asked in
            guard asked.name == "inception_v3" else { return nil }
            let variant = try asked.choose(from: InceptionV3.Variant.allCases)
            return Member(
                name: asked.name, variant: variant, of: InceptionV3.Variant.allCases,
                input: .images(variant.preprocessing), classes: 1000,
                kerasLayers: variant == .keras ? InceptionV3.kerasLayers : nil,
                build: { InceptionV3.network($0, variant, seed: $1) })
        },
        recognise: { weights in
            guard weights.has("Mixed_5b.branch5x5_2.conv.weight"), weights.has("Mixed_7c.branch_pool.conv.weight")
            else {
                return nil
            }
            let others: InceptionV3.Variant = weights.has("AuxLogits.fc.weight") ? .torchvision : .timm
            let variant = weights.has("Mixed_7c.branch_pool.bn.weight") ? others : .keras
            return Recognition("inception_v3", variant.rawValue)
        })
}

public enum InceptionV3 {
    public enum Variant: String, CaseIterable, Sendable {
        case torchvision, timm, keras

        var preprocessing: Preprocessing {
            var preprocessing = Preprocessing.kerasSymmetric(299)
            switch self {
            case .torchvision: preprocessing.resize = 342
            case .timm: (preprocessing.resize, preprocessing.interpolation) = (341, .bicubic)
            case .keras: break
            }
            return preprocessing
        }

        /// torchvision draws all weights so, of the classifiers too.
        var initializer: Initializer { self == .keras ? .glorotUniform : .normal(standardDeviation: 0.1) }

        var style: InceptionStyle {
            let rule: NormalizationRule = self == .keras ? .keras.with(hasScale: false) : .pytorch.with(epsilon: 1e-3)
            return InceptionStyle(rule: rule, initializer: initializer, countsPadding: self != .keras)
        }
    }

    static func network(_ architecture: Architecture, _ variant: Variant, seed: UInt64) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let stem = variant.style.blocks(Self.stem, in: scope, inputs: architecture.inputChannels)
        var stages = [Stage(name: "stem", parameterPrefixes: stemNames, module: stem.module)]
        var channels = stem.outputs
        var auxiliary: AuxiliaryHead?
        for (name, parts) in blocks {
            let block = variant.style.module(parts, in: scope / name, inputs: channels)
            stages.append(Stage(name: name, parameterPrefixes: [name], module: block.module))
            channels = block.outputs
            if name == "Mixed_6e", variant == .torchvision {
                auxiliary = auxiliaryHead(architecture, scope, after: stages.count - 1, inputs: channels)
            }
        }
        let classifier = Linear(
            scope / "fc", inputs: channels, outputs: architecture.classes, initializer: variant.initializer,
            biasInitializer: variant == .keras ? .zeros : nil)
        let dropout: [any Module] = variant == .torchvision ? [Dropout(scope / "dropout", rate: 0.5)] : []
        return Network(
            architecture, store: scope.store, stages: stages + [.globalAveragePool],
            head: Sequential(dropout + [classifier]), headPrefix: "fc", auxiliary: auxiliary)
    }

    /// torchvision draws its 5×5 convolution and its classifier narrower.
    private static func auxiliaryHead(
        _ architecture: Architecture, _ scope: Scope, after stage: Int, inputs: Int
    ) -> AuxiliaryHead {
        let prefix = "AuxLogits"
        var style = Variant.torchvision.style
        let first = style.module([.layer("conv0", 128, 1)], in: scope / prefix, inputs: inputs)
        style.initializer = .normal(standardDeviation: 0.01)
        let second = style.module(
            [.layer("conv1", 768, 5, isPadded: false)], in: scope / prefix, inputs: first.outputs)
        let pool = AveragePool2D(
            "\(prefix).avgpool", window: SlidingWindow(5, stride: 3, padding: .symmetric(0)), countsPadding: true)
        let classifier = Linear(
            scope / prefix / "fc", inputs: second.outputs, outputs: architecture.classes,
            initializer: .normal(standardDeviation: 0.001))
        return AuxiliaryHead(
            after: stage, prefix: prefix, classifierPrefix: "\(prefix).fc", weight: 0.4,
            module: Sequential([pool, first.module, second.module, GlobalAveragePool(), classifier]),
            parameters: scope.store.parameters.filter { $0.path.hasPrefix(prefix + ".") })
    }

    // MARK: The paper's table 1 and figures 5 to 7, as published

    /// In three blocks: its images are by far the largest.
    private static let stem: [[InceptionPart]] = [
        [.layer("Conv2d_1a_3x3", 32, 3, stride: 2), .layer("Conv2d_2a_3x3", 32, 3, isPadded: false)],
        [.layer("Conv2d_2b_3x3", 64, 3), .maximum],
        [.layer("Conv2d_3b_1x1", 80, 1), .layer("Conv2d_4a_3x3", 192, 3, isPadded: false), .maximum],
    ]

    private static let stemNames = [
        "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3",
    ]

    private static let blocks: [(name: String, parts: [InceptionPart])] = [
        ("Mixed_5b", a(pooled: 32)), ("Mixed_5c", a(pooled: 64)), ("Mixed_5d", a(pooled: 64)), ("Mixed_6a", b),
        ("Mixed_6b", c(128)), ("Mixed_6c", c(160)), ("Mixed_6d", c(160)), ("Mixed_6e", c(192)), ("Mixed_7a", d),
        ("Mixed_7b", e), ("Mixed_7c", e),
    ]

    private static func a(pooled: Int) -> [InceptionPart] {
        let first: [InceptionPart] = [.layer("branch1x1", 64, 1)]
        let second: [InceptionPart] = [.layer("branch5x5_1", 48, 1), .layer("branch5x5_2", 64, 5)]
        let third: [InceptionPart] = [
            .layer("branch3x3dbl_1", 64, 1), .layer("branch3x3dbl_2", 96, 3), .layer("branch3x3dbl_3", 96, 3),
        ]
        return [.branches([first, second, third, [.average, .layer("branch_pool", pooled, 1)]])]
    }

    private static var b: [InceptionPart] {
        let second: [InceptionPart] = [
            .layer("branch3x3dbl_1", 64, 1), .layer("branch3x3dbl_2", 96, 3),
            .layer("branch3x3dbl_3", 96, 3, stride: 2),
        ]
        return [.branches([[.layer("branch3x3", 384, 3, stride: 2)], second, [.maximum]])]
    }

    private static func c(_ n: Int) -> [InceptionPart] {
        let first: [InceptionPart] = [.layer("branch1x1", 192, 1)]
        let second: [InceptionPart] = [
            .layer("branch7x7_1", n, 1), .layer("branch7x7_2", n, 1, 7), .layer("branch7x7_3", 192, 7, 1),
        ]
        let third: [InceptionPart] = [
            .layer("branch7x7dbl_1", n, 1), .layer("branch7x7dbl_2", n, 7, 1), .layer("branch7x7dbl_3", n, 1, 7),
            .layer("branch7x7dbl_4", n, 7, 1), .layer("branch7x7dbl_5", 192, 1, 7),
        ]
        return [.branches([first, second, third, [.average, .layer("branch_pool", 192, 1)]])]
    }

    private static var d: [InceptionPart] {
        let first: [InceptionPart] = [.layer("branch3x3_1", 192, 1), .layer("branch3x3_2", 320, 3, stride: 2)]
        let second: [InceptionPart] = [
            .layer("branch7x7x3_1", 192, 1), .layer("branch7x7x3_2", 192, 1, 7), .layer("branch7x7x3_3", 192, 7, 1),
            .layer("branch7x7x3_4", 192, 3, stride: 2),
        ]
        return [.branches([first, second, [.maximum]])]
    }

    private static var e: [InceptionPart] {
        func split(_ a: String, _ b: String) -> InceptionPart {
            .branches([[.layer(a, 384, 1, 3)], [.layer(b, 384, 3, 1)]])
        }
        let first: [InceptionPart] = [.layer("branch1x1", 320, 1)]
        let second: [InceptionPart] = [.layer("branch3x3_1", 384, 1), split("branch3x3_2a", "branch3x3_2b")]
        let third: [InceptionPart] = [
            .layer("branch3x3dbl_1", 448, 1), .layer("branch3x3dbl_2", 384, 3),
            split("branch3x3dbl_3a", "branch3x3dbl_3b"),
        ]
        return [.branches([first, second, third, [.average, .layer("branch_pool", 192, 1)]])]
    }

    /// keras.applications: conv2d is Conv2d_1a_3x3.conv, the following are numbered.
    static let kerasLayers: [KerasLayer] = {
        var names = InceptionKerasNames()
        var columns = names.columns(stem.flatMap { $0 }, at: "")
        for (name, parts) in blocks { columns += names.columns(parts, at: name + ".") }
        return columns.flatMap { $0 } + [KerasLayer("predictions", .dense, "fc")]
    }()
}
