import Layers
import Tensors

/// What InceptionV3 and InceptionResNetV2 are made of, as data: their layers follow from it, and so do Keras's.
indirect enum InceptionPart {
    /// A convolution without bias (`name.conv`), batch norm (`name.bn`) and ReLU.
    case convolution(name: String, outputs: Int, window: SlidingWindow)
    /// The largest value of 3×3, at every second pixel, nothing around the image.
    case maximum
    /// The mean of 3×3 around each pixel.
    case average
    /// Chains side by side on the same input, joined along the channels.
    case branches([[InceptionPart]])

    /// A convolution of height×width (or height×height). By default the size of the image stays where the stride is 1;
    /// with a stride nothing is added around it.
    static func layer(
        _ name: String, _ outputs: Int, _ height: Int, _ width: Int? = nil, stride: Int = 1, isPadded: Bool? = nil
    ) -> InceptionPart {
        let padding: PaddingRule = isPadded ?? (stride == 1) ? .same : .symmetric(0)
        return .convolution(
            name: name, outputs: outputs,
            window: SlidingWindow(height: height, width: width ?? height, stride: stride, padding: padding))
    }
}

/// Makes layers of such parts, in one variant's way.
struct InceptionStyle {
    let rule: NormalizationRule
    /// Of convolutions; PyTorch's own by default.
    var initializer: Initializer?
    /// Whether means at the edges count the zeros around the image.
    let countsPadding: Bool

    /// One part after the other.
    ///
    /// - Parameter inputs: channels that go in.
    /// - Returns: what computes them, and how many channels come out.
    func module(
        _ chain: [InceptionPart], in scope: Scope, inputs: Int
    ) -> (module: any Module, outputs: Int) {
        var channels = inputs
        let modules = chain.map { part -> any Module in
            let made = module(part, in: scope, inputs: channels)
            channels = made.outputs
            return made.module
        }
        return (modules.count == 1 ? modules[0] : Sequential(modules), channels)
    }

    /// Chains one after the other, each a block that is recomputed for itself.
    func blocks(_ chains: [[InceptionPart]], in scope: Scope, inputs: Int) -> (module: any Module, outputs: Int) {
        var channels = inputs
        let modules = chains.map { chain in
            let made = module(chain, in: scope, inputs: channels)
            channels = made.outputs
            return made.module
        }
        return (Sequential(modules, areBlocks: true), channels)
    }

    private func module(
        _ part: InceptionPart, in scope: Scope, inputs: Int
    ) -> (module: any Module, outputs: Int) {
        switch part {
        case .convolution(let name, let outputs, let window):
            let convolution = Convolution2D(
                scope / name / "conv", inputChannels: inputs, outputChannels: outputs, window: window,
                initializer: initializer)
            let block = ConvolutionBatchNorm(
                convolution: convolution, normalization: scope / name / "bn", rule: rule, activation: .relu)
            return (block, outputs)
        case .maximum:
            let window = SlidingWindow(3, stride: 2, padding: .symmetric(0))
            return (MaxPool2D((scope / "maxpool").path, window: window), inputs)
        case .average:
            let window = SlidingWindow(3, padding: .symmetric(1))
            return (AveragePool2D((scope / "avgpool").path, window: window, countsPadding: countsPadding), inputs)
        case .branches(let chains):
            let made = chains.map { module($0, in: scope, inputs: inputs) }
            return (Branches((scope / "branches").path, made.map(\.module)), made.reduce(0) { $0 + $1.outputs })
        }
    }
}

/// Keras's layers of such parts, which it numbers in the order of the program that makes them (`conv2d_3`) and lists by
/// depth.
struct InceptionKerasNames {
    private var count = 0

    /// By place in the chain, counted in Keras's layers, those without weights too: what stands side by side has the same
    /// place, and branches end at the same one.
    ///
    /// - Parameter path: what canonical paths begin with, ended by a dot where not empty.
    mutating func columns(_ chain: [InceptionPart], at path: String) -> [[KerasLayer]] {
        var columns: [[KerasLayer]] = []
        for part in chain {
            switch part {
            case .convolution(let name, _, _): columns += convolution(path + name)
            case .maximum, .average: columns.append([])
            case .branches(let chains):
                var sides: [[[KerasLayer]]] = []
                for chain in chains { sides.append(self.columns(chain, at: path)) }
                columns += Self.sideBySide(sides) + [[]]
            }
        }
        return columns
    }

    /// Branches joined at their ends.
    static func sideBySide(_ branches: [[[KerasLayer]]]) -> [[KerasLayer]] {
        let length = branches.map(\.count).max() ?? 0
        return (0..<length).map { place in
            branches.flatMap { branch -> [KerasLayer] in
                let own = place - (length - branch.count)
                return own < 0 ? [] : branch[own]
            }
        }
    }

    /// Convolution, batch norm, activation.
    private mutating func convolution(_ path: String) -> [[KerasLayer]] {
        let number = count == 0 ? "" : "_\(count)"
        count += 1
        return [
            [KerasLayer("conv2d" + number, .convolution(hasBias: false), path + ".conv")],
            [KerasLayer("batch_normalization" + number, .batchNormalization(hasScale: false), path + ".bn")],
            [],
        ]
    }
}
