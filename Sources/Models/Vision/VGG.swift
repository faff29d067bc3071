// VGG: 11, 13, 16 and 19 layers, with and without batch norm.
//
// Paper: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
//   https://arxiv.org/abs/1409.1556
// Variant: `torchvision`: adaptive average pooling to 7×7 before the classifier, so that any input of 32 pixels or
//   more works; dropout 0.5 behind the two hidden layers.
// Weight names: torchvision's — features.0, features.2, … (convolutions; with batch norm features.1, features.4, …
//   are norms), classifier.0, classifier.3, classifier.6.
// Checked against: torchvision's vgg11 and vgg13_bn — logits in evaluation at two input sizes
//   (Tests/ModelsTests/Reference).

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
            let variant = try asked.choose(from: VGG.Variant.allCases)
            return Member(
                name: asked.name, variant: variant, of: VGG.Variant.allCases, input: .images(.torchvision),
                classes: 1000,
                build: { VGG.network($0, depth, normalizes: normalizes, seed: $1) })
        },
        recognise: VGG.recognise)
}

public enum VGG {
    public enum Variant: String, CaseIterable, Sendable { case torchvision }

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
    }

    private static let widths = [64, 128, 256, 512, 512]
    private static let hidden = 4096

    static func network(
        _ architecture: Architecture, _ depth: Depth, normalizes: Bool, seed: UInt64
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
                        scope / "features", &index, inputs, width, normalizes: normalizes,
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
        // Cut before each dropout: what is random is no fixed function, whatever is frozen.
        let classifier = scope / "classifier"
        stages += [
            Stage(name: "avgpool", parameterPrefixes: [], module: Sequential([AdaptiveAveragePool(7), Flatten()])),
            Stage(
                name: "classifier.0", parameterPrefixes: ["classifier.0"],
                module: Sequential([linear(classifier / 0, inputs * 49, hidden), ReLU()])),
            Stage(
                name: "classifier.3", parameterPrefixes: ["classifier.3"],
                module: Sequential([
                    Dropout(classifier / 2, rate: 0.5), linear(classifier / 3, hidden, hidden), ReLU(),
                ])),
        ]
        let head =
            [
                Dropout(classifier / 5, rate: 0.5), linear(classifier / 6, hidden, architecture.classes),
            ] as [any Module]
        return Network(
            architecture, store: scope.store, stages: stages, head: Sequential(head), headPrefix: "classifier.6")
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
                return Recognition(
                    "vgg\(depth.rawValue)" + (normalizes ? "_bn" : ""), Variant.torchvision.rawValue)
            }
        }
        return nil
    }

    /// A 3×3 convolution with an activation, and the batch norm between them where there is one.
    private static func layer(
        _ features: Scope, _ index: inout Int, _ inputs: Int, _ outputs: Int, normalizes: Bool,
        activation: Activation
    ) -> any Module {
        defer { index += normalizes ? 3 : 2 }
        let convolution = Convolution2D(
            features / index, inputChannels: inputs, outputChannels: outputs,
            window: SlidingWindow(3, padding: .symmetric(1)), usesBias: true,
            activation: normalizes ? .identity : activation, initializer: .kaimingNormal(.fanOut),
            biasInitializer: .zeros)
        guard normalizes else { return convolution }
        return ConvolutionBatchNorm(
            convolution: convolution, normalization: features / (index + 1), activation: activation)
    }

    private static func linear(_ scope: Scope, _ inputs: Int, _ outputs: Int) -> Linear {
        Linear(
            scope, inputs: inputs, outputs: outputs, initializer: .normal(standardDeviation: 0.01),
            biasInitializer: .zeros)
    }
}
