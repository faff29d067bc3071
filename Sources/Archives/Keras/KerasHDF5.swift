import Foundation
import Tensors

/// Keras's HDF5 weights: weights-only files and full models of Keras 1 and 2, and `.weights.h5` of Keras 3.
///
/// Called on files from outside only in a process of its own (`IsolatedReader`).
struct KerasHDF5 {
    private let file: HDF5File
    private var entries: [HDF5Weights.Entry] = []
    private var names: Set<String> = []

    /// The weights of a file, nil where it is not Keras's.
    ///
    /// - Parameter configuration: that of the model where it lies beside the file.
    /// - Throws: `ArchiveError.refusedLayer` for a full model with a layer that is code.
    static func weights(_ file: HDF5File, configuration: KerasConfiguration? = nil) throws -> HDF5Weights? {
        let root = file.root
        let holder = root.kind(of: "model_weights") == .group ? try root.group("model_weights") : root
        guard let layers = try splitAttribute("layer_names", of: holder) else {
            return try Keras3File(file, configuration: configuration)?.weights()
        }
        var reader = KerasHDF5(file)
        let model = try root.attributeText("model_config").map { try KerasConfiguration($0, path: file.path) }
        try model?.refuseCode()
        for layer in layers { try reader.readLayer(layer, in: holder) }
        if holder.kind(of: "top_level_model_weights") == .group {
            try reader.readLayer("top_level_model_weights", in: holder)
        }
        let metadata = WeightMetadata(notes: try reader.notes(holder, model: model))
        return HDF5Weights(file: file, format: .kerasHDF5, entries: reader.entries, metadata: metadata)
    }

    /// What any HDF5 file holds.
    static func list(_ file: HDF5File) throws -> HDF5Weights {
        var reader = KerasHDF5(file)
        try reader.readTree(file.root, prefix: "", depth: 0)
        return HDF5Weights(file: file, format: .hdf5, entries: reader.entries, metadata: WeightMetadata())
    }

    private init(_ file: HDF5File) { self.file = file }

    /// A layer's group lists its weights by their paths within the group; a nested model is one layer.
    private mutating func readLayer(_ layer: String, in holder: HDF5Group) throws {
        let group = try holder.group(layer)
        for weight in try Self.splitAttribute("weight_names", of: group) ?? [] {
            // Two nested copies of one model hold the same names.
            let name = names.contains(weight) ? "\(layer)/\(weight)" : weight
            guard names.insert(name).inserted else {
                throw ArchiveError.damaged(
                    path: file.path, format: "HDF5", reason: "the weight \(name) is listed twice")
            }
            entries.append(try HDF5Weights.Entry(try group.dataset(weight), name: name))
        }
    }

    private mutating func readTree(_ group: HDF5Group, prefix: String, depth: Int) throws {
        guard depth < 32 else {
            throw ArchiveError.damaged(
                path: file.path, format: "HDF5", reason: "groups too deep within each other")
        }
        for name in try group.names() {
            switch group.kind(of: name) {
            case .group:
                try readTree(try group.group(name), prefix: prefix + name + "/", depth: depth + 1)
            case .dataset:
                let dataset = try group.dataset(name)
                if dataset.elementType == nil { continue }
                entries.append(try HDF5Weights.Entry(dataset, name: prefix + name))
            default: continue
            }
        }
    }

    /// A list of names too long for one attribute lies in `name0`, `name1`, ….
    private static func splitAttribute(_ name: String, of group: HDF5Group) throws -> [String]? {
        if let texts = try group.attributeTexts(name) { return texts }
        var parts: [String] = []
        var index = 0
        while let texts = try group.attributeTexts("\(name)\(index)") {
            parts += texts
            index += 1
        }
        return index == 0 ? nil : parts
    }

    private func notes(_ holder: HDF5Group, model: KerasConfiguration?) throws -> [String: String] {
        var notes: [String: String] = [:]
        for name in ["keras_version", "backend"] {
            notes[name] = try holder.attributeText(name) ?? file.root.attributeText(name)
        }
        if file.root.kind(of: "optimizer_weights") == .group { notes["optimizer_weights"] = "not read" }
        notes["model"] = model?.modelName
        return notes
    }
}
