// ResNet for CIFAR: 20, 32, 44 and 56 layers.
//
// Paper: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, section 4.2,
//   https://arxiv.org/abs/1512.03385
// Variant: option A, shortcuts without parameters: every second position, channels padded with zeros.
// Weight names: akamaster/pytorch_resnet_cifar10's — conv1, bn1, layer1.0.conv1, layer1.0.bn1, …,
//   linear. Its files have no num_batches_tracked.
// Checked against: its resnet20 and resnet32 weights in PyTorch, logits; all depths written anew in PyTorch
//   (Reference/networks.py), filled by a formula — logits at two input sizes and every gradient; resnet20 in training mode
//   with loss, gradients, running statistics and ten steps of SGD (Tests/ModelsTests/Reference).

import Layers
import Tensors

extension Family {
    static let cifarResNet = Family(
        title: "ResNet for CIFAR",
        names: CIFARResNet.Depth.allCases.map { "resnet\($0.rawValue)" },
        member: { asked in
            let depth = asked.number(after: "resnet").flatMap(CIFARResNet.Depth.init(rawValue:))
            guard let depth else { return nil }
            let variant = try asked.choose(from: CIFARResNet.Variant.allCases)
            return Member(
                name: "resnet\(depth.rawValue)", variant: variant, of: CIFARResNet.Variant.allCases,
                input: .images(.torchvision(32)),
                classes: 10, build: { CIFARResNet.network($0, depth, seed: $1) })
        },
        recognise: { weights in
            let depth = CIFARResNet.Depth(rawValue: 6 * weights.count("layer3.", ".conv1.weight") + 2)
            guard let depth, weights["conv1.weight"]?.first == 16 else { return nil }
            return Recognition("resnet\(depth.rawValue)", CIFARResNet.Variant.optionA.rawValue)
        })
}

public enum CIFARResNet {
    public enum Depth: Int, CaseIterable, Sendable {
        case resNet20 = 20
        case resNet32 = 32
        case resNet44 = 44
        case resNet56 = 56

        /// Blocks in each of the three layers: depth is 6n + 2.
        var blocksPerLayer: Int { (rawValue - 2) / 6 }
    }

    public enum Variant: String, CaseIterable, Sendable { case optionA = "option-a" }

    static func network(_ architecture: Architecture, _ depth: Depth, seed: UInt64) -> Network {
        let scope = Scope(ParameterStore(), seed: seed)
        let stem = block(scope, "conv1", "bn1", architecture.inputChannels, 16, stride: 1)
        var stages = [Stage(name: "stem", parameterPrefixes: ["conv1", "bn1"], module: stem)]
        var channels = 16
        for index in 0..<3 {
            let name = "layer\(index + 1)"
            let width = 16 << index
            let blocks = (0..<depth.blocksPerLayer).map { block in
                let stride = index > 0 && block == 0 ? 2 : 1
                defer { channels = width }
                return residual(scope / name / block, inputs: channels, outputs: width, stride: stride)
            }
            stages.append(Stage(name: name, parameterPrefixes: [name], module: Sequential(blocks, areBlocks: true)))
        }
        stages.append(.globalAveragePool)
        let classifier = Linear(
            scope / "linear", inputs: channels, outputs: architecture.classes,
            initializer: .kaimingNormal(.fanIn))
        return Network(
            architecture, store: scope.store, stages: stages,
            head: classifier, headPrefix: "linear")
    }

    private static func block(
        _ scope: Scope, _ convolution: String, _ normalization: String, _ inputs: Int, _ outputs: Int,
        stride: Int
    ) -> ConvolutionBatchNorm {
        ConvolutionBatchNorm(
            convolution: Convolution2D(
                scope / convolution, inputChannels: inputs, outputChannels: outputs,
                window: SlidingWindow(3, stride: stride, padding: .symmetric(1)),
                initializer: .kaimingNormal(.fanIn)),
            normalization: scope / normalization, activation: .relu)
    }

    /// ReLU(convolutions(x) + shortcut(x)).
    /// Input N×inputs×H×W, output N×outputs×⌈H/stride⌉×⌈W/stride⌉.
    private static func residual(_ scope: Scope, inputs: Int, outputs: Int, stride: Int) -> ResidualBlock {
        let changesShape = stride > 1 || inputs != outputs
        return ResidualBlock(
            convolutions: [block(scope, "conv1", "bn1", inputs, outputs, stride: stride)],
            last: block(scope, "conv2", "bn2", outputs, outputs, stride: 1),
            shortcut: changesShape
                ? .projection(OptionAShortcut(inputs: inputs, outputs: outputs, stride: stride)) : .identity)
    }
}

/// Every `stride`-th position, with channels of zeros added before and after in equal numbers.
///
/// Written as a 1×1 convolution with ones where a channel is taken over: exact, and it keeps the
/// layout of the activations, which slicing and padding would not.
struct OptionAShortcut: Module {
    private let stride: Int
    private let selection: Tensor  // outputs×inputs×1×1

    init(inputs: Int, outputs: Int, stride: Int) {
        self.stride = stride
        let before = (outputs - inputs) / 2
        selection = Tensor(shape: [outputs, inputs, 1, 1]) { weights in
            weights.update(repeating: 0)
            for channel in 0..<inputs { weights[(before + channel) * inputs + channel] = 1 }
        }
    }

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) -> Tensor {
        convolution2D(x.dequantized, weight: selection, stride: (stride, stride))
    }

    func outputShape(for input: [Int], in pass: ShapePass) -> [Int] {
        [input[0], selection.shape[0], (input[2] + stride - 1) / stride, (input[3] + stride - 1) / stride]
    }
}
