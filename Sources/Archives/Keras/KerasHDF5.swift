import Foundation
import Tensors

/// Keras's HDF5 weights: weights-only files and full models of Keras 1 and 2, and `.weights.h5` of Keras 3.
///
/// Called on files from outside only in a process of its own (`IsolatedReader`).
struct KerasHDF5 {
    private let file: HDF5File
    private var tensors: [StoredTensor] = []
    private var names: Set<String> = []

    static func read(_ file: HDF5File, listing: Bool) throws -> WeightFile? {
        var reader = KerasHDF5(file)
        let root = file.root
        let holder = root.kind(of: "model_weights") == .group ? try root.group("model_weights") : root
        if let layers = try reader.splitAttribute("layer_names", of: holder) {
            for layer in layers { try reader.readLayer(layer, in: holder, listing: listing) }
            if holder.kind(of: "top_level_model_weights") == .group {
                try reader.readLayer("top_level_model_weights", in: holder, listing: listing)
            }
        } else if root.kind(of: "layers") == .group
            || root.kind(of: "_layer_checkpoint_dependencies") == .group
        {
            try reader.readTree(root, prefix: "", depth: 0, listing: listing)
        } else {
            return nil
        }
        let metadata = WeightMetadata(notes: try reader.notes(holder))
        return WeightFile(format: .kerasHDF5, tensors: reader.tensors, metadata: metadata)
    }

    /// What any HDF5 file holds, without the values.
    static func list(_ file: HDF5File) throws -> WeightFile {
        var reader = KerasHDF5(file)
        try reader.readTree(file.root, prefix: "", depth: 0, listing: true)
        return WeightFile(format: .hdf5, tensors: reader.tensors)
    }

    private init(_ file: HDF5File) { self.file = file }

    /// A layer's group lists its weights by their paths within the group; a nested model is one layer.
    private mutating func readLayer(_ layer: String, in holder: HDF5Group, listing: Bool) throws {
        let group = try holder.group(layer)
        for weight in try splitAttribute("weight_names", of: group) ?? [] {
            // Two nested copies of one model hold the same names.
            let name = names.contains(weight) ? "\(layer)/\(weight)" : weight
            guard names.insert(name).inserted else {
                throw ArchiveError.damaged(
                    path: file.path, format: "HDF5", reason: "the weight \(name) is listed twice")
            }
            tensors.append(try StoredTensor(reading: try group.dataset(weight), name: name, listing: listing))
        }
    }

    private mutating func readTree(_ group: HDF5Group, prefix: String, depth: Int, listing: Bool) throws {
        guard depth < 32 else {
            throw ArchiveError.damaged(
                path: file.path, format: "HDF5", reason: "groups too deep within each other")
        }
        for name in try group.names() where !(depth == 0 && name.hasPrefix("optimizer")) {
            switch group.kind(of: name) {
            case .group:
                try readTree(
                    try group.group(name), prefix: prefix + name + "/", depth: depth + 1, listing: listing)
            case .dataset:
                let dataset = try group.dataset(name)
                if dataset.elementType == nil { continue }
                tensors.append(try StoredTensor(reading: dataset, name: prefix + name, listing: listing))
            default: continue
            }
        }
    }

    /// A list of names too long for one attribute lies in `name0`, `name1`, ….
    private func splitAttribute(_ name: String, of group: HDF5Group) throws -> [String]? {
        if let texts = try group.attributeTexts(name) { return texts }
        var parts: [String] = []
        var index = 0
        while let texts = try group.attributeTexts("\(name)\(index)") {
            parts += texts
            index += 1
        }
        return index == 0 ? nil : parts
    }

    private func notes(_ holder: HDF5Group) throws -> [String: String] {
        var notes: [String: String] = [:]
        for name in ["keras_version", "backend"] {
            notes[name] = try holder.attributeText(name) ?? file.root.attributeText(name)
        }
        if file.root.kind(of: "optimizer_weights") == .group { notes["optimizer_weights"] = "not read" }
        notes["model"] = try modelName()
        return notes
    }

    /// The model's name within `model_config`, such as `mobilenet_0.25_224`.
    private func modelName() throws -> String? {
        struct Model: Decodable {
            struct Configuration: Decodable { var name: String? }
            var config: Configuration?
        }
        guard let text = try file.root.attributeText("model_config") else { return nil }
        return (try? JSONDecoder().decode(Model.self, from: Data(text.utf8)))?.config?.name
    }
}

extension StoredTensor {
    /// Reads a whole data set, or with `listing` only what it is (then `bytes` is empty).
    init(reading dataset: HDF5Dataset, name: String, listing: Bool) throws {
        guard let type = dataset.elementType else {
            throw ArchiveError.unsupported(
                path: dataset.filePath, feature: "the element type of \(dataset.name)")
        }
        self.init(
            listed: name, shape: dataset.shape, elementType: type,
            bytes: listing ? Data() : try dataset.read(),
            sourceElementType: type, role: .expected(for: name), layout: nil)
    }
}
