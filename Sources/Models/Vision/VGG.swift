// VGG: 11, 13, 16 and 19 layers, with and without batch norm.
//
// Paper: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
//   https://arxiv.org/abs/1409.1556
// Variants: `torchvision`: dropout 0.5 behind the two hidden layers. `keras` (keras.applications, 16 and 19 layers, no
//   batch norm): no dropout, Keras's initial values. Both: adaptive average pooling to 7×7 before the classifier, so that
//   any input of 32 pixels or more works (Keras flattens what there is: its classifier fits images of 224 pixels only, where
//   the pooling does nothing).
// Weight names: torchvision's — features.0, features.2, … (convolutions; with batch norm features.1, features.4, …
//   are norms), classifier.0, classifier.3, classifier.6. timm's are read too: pre_logits.fc1 and pre_logits.fc2, which are
//   convolutions there (7×7 and 1×1), and head.fc. (Of images larger than 224 pixels timm averages the features of all
//   7×7 windows instead of pooling the image to one.)
// Checked against: torchvision (all depths), timm (11 with batch norm, 16) and Keras (16 and 19 layers), each filled by a
//   formula — logits (but Keras's at two input sizes) and every gradient (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let vgg = Family(
        title: "VGG",
        names: VGG.Depth.allCases.flatMap { ["vgg\($0.rawValue)", "vgg\($0.rawValue)_bn"] },
        member: { asked in
            guard asked.name.hasPrefix("vgg") else { return nil }
            let normalizes = asked.name.hasSuffix("_bn")
            let number = asked.name.dropFirst("vgg".count).dropLast(normalizes ? "_bn".count : 0)
            guard let depth = Int(number).flatMap(VGG.Depth.init(rawValue:)) else { return nil }
            let variants: [VGG.Variant] = depth.isInKeras && !normalizes ? [.torchvision, .keras] : [.torchvision]
            let variant = try asked.choose(from: variants)
            return Member(
                name: asked.name, variant: variant, of: variants,
                input: .images(variant == .keras ? .kerasCaffe : .torchvision), classes: 1000,
                // Of both variants: dropout has no weights.
                kerasLayers: variants.contains(.keras) ? VGG.kerasLayers(depth) : nil,
                build: { VGG.network($0, depth, variant, normalizes: normalizes, seed: $1) })
        },
        recognise: { VGG.recognise($0) }, nameMaps: [VGG.timm])
}

public enum VGG {
    public enum Variant: String, CaseIterable, Sendable { case torchvision, keras }

    /// The paper's columns A, B, D and E.
    public enum Depth: Int, CaseIterable, Sendable {
        case vgg11 = 11
        case vgg13 = 13
        case vgg16 = 16
        case vgg19 = 19

        /// Convolutions of each block; a block ends in a pooling.
        var blocks: [Int] {
            switch self {
            case .vgg11: [1, 1, 2, 2, 2]
            case .vgg13: [2, 2, 2, 2, 2]
            case .vgg16: [2, 2, 3, 3, 3]
            case .vgg19: [2, 2, 4, 4, 4]
            }
        }

        var isInKeras: Bool { self == .vgg16 || self == .vgg19 }
    }

    private static let widths = [64, 128, 256, 512, 512]
    private static let hidden = 4096

    static func network(
        _ architecture: Architecture, _ depth: Depth, _ variant: Variant, normalizes: Bool, seed: UInt64
    ) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        var inputs = architecture.inputChannels
        var index = 0
        var stages: [Stage] = []
        for (block, (count, width)) in zip(depth.blocks, widths).enumerated() {
            let first = index
            var modules: [any Module] = []
            for position in 0..<count {
                modules.append(
                    layer(
                        scope / "features", &index, inputs, width, variant, normalizes: normalizes,
                        activation: position == count - 1 ? .identity : .relu))
                inputs = width
            }
            // ReLU of the largest is the largest of ReLU, with the same gradient: a quarter of the values to go over,
            // and none of those before the pooling to keep.
            modules += [
                MaxPool2D("features.\(index)", window: SlidingWindow(2, stride: 2, padding: .symmetric(0))), ReLU(),
            ]
            stages.append(
                Stage(
                    name: "block\(block + 1)", parameterPrefixes: (first..<index).map { "features.\($0)" },
                    module: Sequential(modules)))
            index += 1
        }
        return finish(architecture, scope, stages, inputs, variant)
    }

    private static func finish(
        _ architecture: Architecture, _ scope: Scope, _ stages: [Stage], _ inputs: Int, _ variant: Variant
    ) -> Network {
        let classifier = scope / "classifier"
        func dropout(_ index: Int) -> [any Module] {
            variant == .torchvision ? [Dropout(classifier / index, rate: 0.5)] : []
        }
        func linear(_ index: Int, _ inputs: Int, _ outputs: Int) -> any Module {
            Linear(
                classifier / index, inputs: inputs, outputs: outputs,
                initializer: variant == .keras ? .glorotUniform : .normal(standardDeviation: 0.01),
                biasInitializer: .zeros)
        }
        // Cut before each dropout: it belongs to the layer that reads it, and is off where that one is frozen.
        let rest = [
            Stage(name: "avgpool", parameterPrefixes: [], module: Sequential([AdaptiveAveragePool(7), Flatten()])),
            Stage(
                name: "classifier.0", parameterPrefixes: ["classifier.0"],
                module: Sequential([linear(0, inputs * 49, hidden), ReLU()])),
            Stage(
                name: "classifier.3", parameterPrefixes: ["classifier.3"],
                module: Sequential(dropout(2) + [linear(3, hidden, hidden), ReLU()])),
        ]
        return Network(
            architecture, store: scope.store, stages: stages + rest,
            head: Sequential(dropout(5) + [linear(6, hidden, architecture.classes)]), headPrefix: "classifier.6")
    }

    /// Convolutions stand behind a pooling or two places (with batch norm three) behind the last.
    static func recognise(_ weights: WeightShapes) -> Recognition? {
        for depth in Depth.allCases {
            for normalizes in [false, true] {
                var (index, fits) = (0, weights.has("classifier.3.weight"))
                for count in depth.blocks {
                    for _ in 0..<count {
                        fits = fits && weights["features.\(index).weight"]?.count == 4
                        fits = fits && weights.has("features.\(index + 1).running_mean") == normalizes
                        index += normalizes ? 3 : 2
                    }
                    index += 1
                }
                guard fits, !weights.has("features.\(index).weight") else { continue }
                let variant: Variant = weights.isKeras && depth.isInKeras && !normalizes ? .keras : .torchvision
                return Recognition("vgg\(depth.rawValue)" + (normalizes ? "_bn" : ""), variant.rawValue)
            }
        }
        return nil
    }

    /// A 3×3 convolution with an activation, and the batch norm between them where there is one.
    private static func layer(
        _ features: Scope, _ index: inout Int, _ inputs: Int, _ outputs: Int, _ variant: Variant, normalizes: Bool,
        activation: Activation
    ) -> any Module {
        defer { index += normalizes ? 3 : 2 }
        let convolution = Convolution2D(
            features / index, inputChannels: inputs, outputChannels: outputs,
            window: SlidingWindow(3, padding: .symmetric(1)), usesBias: true,
            activation: normalizes ? .identity : activation,
            initializer: variant == .keras ? .glorotUniform : .kaimingNormal(.fanOut), biasInitializer: .zeros)
        guard normalizes else { return convolution }
        return ConvolutionBatchNorm(
            convolution: convolution, normalization: features / (index + 1), activation: activation)
    }

    /// timm: the classifier has other names, and convolutions for linear layers.
    static let timm = NameMap(
        "timm",
        prefixes: [
            ("features.", "features."), ("pre_logits.fc1.", "classifier.0."), ("pre_logits.fc2.", "classifier.3."),
            ("head.fc.", "classifier.6."),
        ])

    /// keras.applications: block1_conv1 is features.0, fc1 and fc2 the hidden layers. Keras flattens H×W×C.
    static func kerasLayers(_ depth: Depth) -> [KerasLayer] {
        var index = 0
        var layers: [KerasLayer] = []
        for (block, count) in depth.blocks.enumerated() {
            for position in 1...count {
                let name = "block\(block + 1)_conv\(position)"
                layers.append(KerasLayer(name, .convolution(hasBias: true), "features.\(index)"))
                index += 2
            }
            index += 1
        }
        return layers + [
            KerasLayer("fc1", .denseAfterFlatten(channels: widths[4]), "classifier.0"),
            KerasLayer("fc2", .dense, "classifier.3"), KerasLayer("predictions", .dense, "classifier.6"),
        ]
    }
}
