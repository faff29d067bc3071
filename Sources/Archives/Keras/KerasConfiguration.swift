import Foundation

/// The JSON that describes a model of Keras: `config.json` of a `.keras` file, or the attribute `model_config` of older
/// ones.
///
/// Nothing is built from it. It tells what the layers are called, and whether some are code.
package struct KerasConfiguration {
    private let root: [String: Any]
    private let path: String
    private static let longest = 1 << 26

    /// - Throws: `ArchiveError.damaged` where it is not JSON.
    package init(_ text: String, path: String) throws {
        guard text.utf8.count <= Self.longest,
            let root = (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [String: Any]
        else {
            throw ArchiveError.damaged(
                path: path, format: WeightFormat.kerasArchive.title, reason: "its configuration is not JSON")
        }
        (self.root, self.path) = (root, path)
    }

    /// The model's name, such as `mobilenet_0.25_224`.
    var modelName: String? { (root["config"] as? [String: Any])?["name"] as? String }

    // MARK: Code

    /// - Throws: `ArchiveError.refusedLayer` where a layer is a Python function: nobody can say what it computes, and
    ///   weights around it would give other numbers without it.
    package func refuseCode() throws { try refuseCode(in: root, layer: modelName ?? "model") }

    private func refuseCode(in value: Any, layer: String) throws {
        if let items = value as? [Any] {
            for item in items { try refuseCode(in: item, layer: layer) }
        }
        guard let object = value as? [String: Any] else { return }
        let name = (object["config"] as? [String: Any])?["name"] as? String ?? object["name"] as? String ?? layer
        switch object["class_name"] as? String {
        case "Lambda":
            throw ArchiveError.refusedLayer(path: path, layer: name, kind: "a Lambda")
        case "__lambda__":
            throw ArchiveError.refusedLayer(path: path, layer: name, kind: "a Python function")
        case "function":
            let module = object["module"] as? String ?? "builtins"
            if module != "builtins", module != "keras", !module.hasPrefix("keras.") {
                let function = object["config"] as? String ?? "function"
                throw ArchiveError.refusedLayer(path: path, layer: name, kind: "\(module).\(function)")
            }
        default: break
        }
        for (_, inner) in object.sorted(by: { $0.key < $1.key }) { try refuseCode(in: inner, layer: name) }
    }

    // MARK: Names

    /// What the layer of each group of the weights is called: `layers/conv2d_3` → `block2_conv1`.
    package var layerNames: [String: String] {
        var names: [String: String] = [:]
        collect(root, container: "layers", into: &names)
        return names
    }

    /// Keras 3 numbers the layers of each class in the order of the model.
    private func collect(_ model: [String: Any], container: String, into names: inout [String: String]) {
        guard let layers = (model["config"] as? [String: Any])?["layers"] as? [[String: Any]] else { return }
        var counts: [String: Int] = [:]
        for layer in layers {
            guard let type = layer["class_name"] as? String else { continue }
            let kind = Keras3.group(ofClass: type)
            let number = counts[kind, default: 0]
            counts[kind] = number + 1
            let group = "\(container)/\(Keras3.group(kind, number))"
            if let name = (layer["config"] as? [String: Any])?["name"] as? String { names[group] = name }
            collect(layer, container: "\(group)/layers", into: &names)
        }
    }
}
