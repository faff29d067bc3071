import Models

/// A Keras weight name: `conv1_bn/gamma:0`, also below the name of a nested model.
struct KerasName {
    let layer: String
    let variable: String

    init?(_ name: String) {
        let parts = name.split(separator: "/")
        guard parts.count >= 2 else { return nil }
        layer = String(parts[parts.count - 2])
        variable = String(parts[parts.count - 1].prefix { $0 != ":" })
    }
}

/// Which canonical path each name in a Keras file stands for: the table of the one network of `Family.kerasNetworks`
/// whose layers the file has.
struct KerasTable {
    private let layers: [String: KerasLayer]
    private let numbering: KerasNumbering

    /// nil where the names are not Keras's, or fit no network by half.
    ///
    /// - Parameter architecture: the network, where somebody says it.
    init?(_ names: [String], as architecture: Architecture? = nil) {
        let found = Set(names.compactMap { KerasName($0)?.layer })
        guard !found.isEmpty else { return nil }
        let numbering = KerasNumbering(found)
        let present = Set(found.map(numbering.fromNone))
        let tables = (architecture.map { [$0] } ?? Family.kerasNetworks).compactMap(\.kerasLayers)
        // A deeper network of a family has the layers of the shallower ones too: the most of the file is explained by
        // the right one, and of its own layers the fewest are missing.
        func counts(_ table: [KerasLayer]) -> (present: Int, absent: Int) {
            let count = table.filter { present.contains($0.name) }.count
            return (count, table.count - count)
        }
        let best = tables.max { a, b in
            let (a, b) = (counts(a), counts(b))
            return (a.present, -a.absent) < (b.present, -b.absent)
        }
        guard let best, 2 * counts(best).present > best.count else { return nil }
        self.numbering = numbering
        var layers = Dictionary(best.map { ($0.name, $0) }) { first, _ in first }
        if let head = best.last {
            for name in Self.headNames where layers[name] == nil { layers[name] = head }
        }
        self.layers = layers
    }

    /// What Keras has called the last layer in other versions.
    private static let headNames = ["predictions", "probs", "fc1000", "Logits", "conv_preds"]

    /// The canonical path of a name in the file and how its values must be turned; nil where the network has no such
    /// array.
    func place(of name: String) -> (path: String, conversion: TensorConversion)? {
        guard let name = KerasName(name), let layer = layers[numbering.fromNone(name.layer)],
            // Keras 3 says kernel of depthwise convolutions too.
            let variable = layer.variables.first(where: {
                $0.name == name.variable || ($0.name == "depthwise_kernel" && name.variable == "kernel")
            })
        else { return nil }
        return (variable.path, layer.conversion(of: variable))
    }
}

extension KerasLayer {
    /// How the values of an array that Keras stored must be turned.
    func conversion(of variable: Variable) -> TensorConversion {
        switch (variable.name, kind) {
        case ("kernel", .denseAfterFlatten(let channels)): .flattenedKernel(channels: channels)
        case ("kernel", _): .kernel
        case ("depthwise_kernel", _): .depthwiseKernel
        default: .none
        }
    }
}

/// The numbers that Keras counts on while a program runs: a second model's first convolution is `conv2d_94`.
struct KerasNumbering {
    private static let classes = ["conv2d", "batch_normalization", "depthwise_conv2d", "dense"]
    /// The lowest number of each class in a file.
    private var lowest: [String: Int] = [:]

    init(_ layers: some Collection<String>) {
        for layer in layers {
            guard let (kind, number) = Self.parts(layer) else { continue }
            lowest[kind] = min(lowest[kind] ?? number, number)
        }
    }

    /// `conv2d_95` → `conv2d_1` where the lowest is `conv2d_94`; other names as they are.
    func fromNone(_ layer: String) -> String {
        guard let (kind, number) = Self.parts(layer), let lowest = lowest[kind] else { return layer }
        return number == lowest ? kind : "\(kind)_\(number - lowest)"
    }

    private static func parts(_ layer: String) -> (kind: String, number: Int)? {
        if classes.contains(layer) { return (layer, 0) }
        guard let cut = layer.lastIndex(of: "_"), classes.contains(String(layer[..<cut])),
            let number = Int(layer[layer.index(after: cut)...]), number > 0
        else { return nil }
        return (String(layer[..<cut]), number)
    }
}
