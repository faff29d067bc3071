import Models

/// A weight file seen as a network: its tensors under canonical paths, and what they are weights of.
struct RecognisedWeights {
    let architecture: Architecture
    /// By canonical path.
    let tensors: [String: MappedTensor]
    /// Names in the file that no known network has.
    let unmapped: [String]

    /// - Parameters:
    ///   - name: the architecture, where the user says it; else what the file says, else what names and
    ///     shapes tell.
    ///   - variant: likewise.
    /// - Throws: `LoadError.unrecognised`, or `ModelError` for a name that is not known.
    init(_ file: WeightFile, path: String, architecture name: String? = nil, variant: String? = nil) throws {
        let scheme = NameScheme.of(file.tensors.map(\.name))
        var tensors: [String: MappedTensor] = [:]
        var unmapped: [String] = []
        for tensor in file.tensors {
            if let mapped = scheme.map(tensor), tensors[mapped.path] == nil {
                tensors[mapped.path] = mapped
            } else {
                unmapped.append(tensor.name)
            }
        }
        self.tensors = tensors
        self.unmapped = unmapped

        let traits = WeightTraits(shapes: tensors.mapValues(\.shape), isKeras: scheme.isKeras)
        let guess = traits.architecture
        guard let chosen = name ?? file.metadata.architecture ?? guess?.name else {
            throw LoadError.unrecognised(path: path, names: Array(file.tensors.map(\.name).prefix(3)))
        }
        // What names tell of the variant counts for the architecture that they tell, no other.
        let base = try Architecture(named: chosen)
        let inherited = name == nil ? file.metadata.variant : nil
        let said = variant ?? inherited ?? (chosen.contains("-") ? base.variant : nil)
        let known = try Architecture(
            named: base.name, variant: said ?? (guess?.name == base.name ? guess?.variant : nil))
        architecture = try traits.fit(known)
    }
}

/// What names and shapes of canonical tensors tell about their network.
struct WeightTraits {
    let shapes: [String: [Int]]
    let isKeras: Bool

    /// Name and variant of the network these are weights of, or nil where none is recognised.
    var architecture: (name: String, variant: String)? {
        if has("conv_dw_1.weight") { return mobileNetV1("conv_pw_13.weight", .keras) }
        if has("stage1.1.3.weight") { return mobileNetV1("stage3.1.3.weight", .pytorch) }
        if has("features.1.conv.0.0.weight"), has("features.18.0.weight") { return mobileNetV2 }
        if has("layer4.0.conv1.weight") { return resNet }
        if has("layer2.0.shortcut.weight"), has("layer3.0.shortcut.bias") {
            return ("resnet8", ResNet8.Variant.keras.rawValue)
        }
        let blocks = self.blocks(in: "layer3")
        if let depth = CIFARResNet.Depth(rawValue: 6 * blocks + 2), shapes["conv1.weight"]?.first == 16 {
            return ("resnet\(depth.rawValue)", CIFARResNet.Variant.optionA.rawValue)
        }
        return nil
    }

    /// The architecture with the number of classes and input channels that the tensors have.
    func fit(_ architecture: Architecture) throws -> Architecture {
        let network = architecture.network()
        let classes = shapes[network.headPrefix + ".weight"]?.first
        let first = network.store.parameters.first.flatMap { shapes[$0.path] }
        let channels = first.flatMap { $0.count == 4 && $0[1] > 0 ? $0[1] : nil }
        return try Architecture(
            named: architecture.name, variant: architecture.variant, classes: classes.map { max(1, $0) },
            inputChannels: channels)
    }

    private func has(_ path: String) -> Bool { shapes[path] != nil }

    private func blocks(in layer: String) -> Int {
        (0...).first { !has("\(layer).\($0).conv1.weight") } ?? 0
    }

    private func mobileNetV1(_ last: String, _ variant: MobileNetV1.Variant) -> (String, String)? {
        guard let channels = shapes[last]?.first else { return nil }
        return (Architecture.name("mobilenet_v1", width: Double(channels) / 1024), variant.rawValue)
    }

    /// Channels are rounded to multiples of 8, so several widths may fit; the usual ones come first.
    private var mobileNetV2: (String, String)? {
        let usual = [1, 0.75, 0.5, 0.35, 0.25, 1.3, 1.4, 0.1]
        let widths = usual + (1...40).map { Double($0) / 20 }.filter { !usual.contains($0) }
        let outputs: [(String, Int)] = [
            ("features.0.0.weight", 32), ("features.1.conv.1.weight", 16), ("features.2.conv.2.weight", 24),
            ("features.4.conv.2.weight", 32), ("features.7.conv.2.weight", 64),
            ("features.11.conv.2.weight", 96), ("features.14.conv.2.weight", 160),
            ("features.17.conv.2.weight", 320),
        ]
        let width = widths.first { width in
            outputs.allSatisfy { shapes[$0.0]?.first == MobileNetV2.channels($0.1, width: width) }
        }
        let variant: MobileNetV2.Variant = isKeras ? .keras : .torchvision
        return width.map { (Architecture.name("mobilenet_v2", width: $0), variant.rawValue) }
    }

    private var resNet: (String, String)? {
        let counts = (1...4).map { blocks(in: "layer\($0)") }
        let depths: [([Int], bottlenecks: Bool, ResNet.Depth)] = [
            ([2, 2, 2, 2], false, .resNet18), ([3, 4, 6, 3], false, .resNet34), ([3, 4, 6, 3], true, .resNet50),
            ([3, 4, 23, 3], true, .resNet101), ([3, 8, 36, 3], true, .resNet152),
        ]
        let hasBottlenecks = has("layer1.0.conv3.weight")
        guard let depth = depths.first(where: { $0.0 == counts && $0.bottlenecks == hasBottlenecks })?.2 else {
            return nil
        }
        let variant: ResNet.Variant = has("conv1.bias") && hasBottlenecks ? .keras : .v1_5
        return ("resnet\(depth.rawValue)", variant.rawValue)
    }
}
