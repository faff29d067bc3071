import Models

/// What must be done to a stored tensor to become the parameter it is mapped to.
enum TensorConversion: Equatable {
    case none
    /// H×W×I×O of Keras to O×I×H×W; I×O to O×I.
    case kernel
    /// H×W×C×M of Keras to (C·M)×1×H×W.
    case depthwiseKernel
    /// (H·W·C)×O of Keras's dense layer on a flattened image to O×(C·H·W).
    case flattenedKernel(channels: Int)
}

/// A tensor of a file under the network's own path.
struct MappedTensor {
    let path: String
    let stored: StoredTensor
    let conversion: TensorConversion

    /// Its shape after the conversion, where a convolution takes it.
    var shape: [Int] {
        let s = stored.shape
        switch (conversion, s.count) {
        case (.kernel, 4): return [s[3], s[2], s[0], s[1]]
        case (.kernel, 2), (.flattenedKernel, 2): return [s[1], s[0]]
        case (.depthwiseKernel, 4): return [s[2] * s[3], 1, s[0], s[1]]
        default: return s
        }
    }
}

/// A file's tensors under canonical paths, whichever source named them.
struct CanonicalTensors {
    /// By canonical path.
    private(set) var tensors: [String: MappedTensor] = [:]
    /// Names in the file that the source's names do not explain.
    private(set) var unmapped: [String] = []
    /// Whether Keras's names were translated.
    let isKeras: Bool
    /// What the tensors are weights of, as far as names and shapes tell.
    private(set) var recognition: Recognition?

    private var shapes: WeightShapes { WeightShapes(tensors.mapValues(\.shape), isKeras: isKeras) }

    /// - Parameter architecture: what the user or the file says it holds.
    init(_ file: WeightFile, as architecture: Architecture?) {
        if let table = KerasTable(file.tensors.map(\.name), as: architecture) {
            self.init(file, table)
            recognition = Self.recognise(shapes, as: architecture)
            return
        }
        let families = architecture.map { [$0.family] } ?? Family.all
        for family in families {
            for source in family.sources {
                var found = CanonicalTensors(file, source)
                found.recognition = family.recognises(found.shapes)
                if found.recognition != nil {
                    self = found
                    return
                }
            }
        }
        self.init(file, families.first?.sources.first)
    }

    private static func recognise(_ shapes: WeightShapes, as architecture: Architecture?) -> Recognition? {
        let families = architecture.map { [$0.family] } ?? Family.all
        return families.lazy.compactMap { $0.recognises(shapes) }.first
    }

    private init(_ file: WeightFile, _ table: KerasTable) {
        isKeras = true
        for tensor in file.tensors { add(tensor, table.place(of: tensor.name)) }
    }

    private init(_ file: WeightFile, _ source: NameMap?) {
        isKeras = false
        for tensor in file.tensors {
            add(tensor, source?.path(of: Self.withoutModule(tensor.name)).map { ($0, .none) })
        }
    }

    /// `module.` before a name is what PyTorch's DataParallel adds.
    static func withoutModule(_ name: String) -> String {
        let prefix = "module."
        return name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : name
    }

    private mutating func add(_ tensor: StoredTensor, _ place: (path: String, conversion: TensorConversion)?) {
        if let place, tensors[place.path] == nil {
            tensors[place.path] = MappedTensor(path: place.path, stored: tensor, conversion: place.conversion)
        } else {
            unmapped.append(tensor.name)
        }
    }
}
