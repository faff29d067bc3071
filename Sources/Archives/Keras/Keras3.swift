import Foundation
import Models

/// How Keras 3 names what it writes: a layer's group by its class and by how many of that class come before it in the
/// model (`layers/conv2d_3`), a variable by its number among the layer's (`vars/0`).
///
/// Keras from about 3.4 on also writes the layer's own name, as the attribute `name` of `vars`; a `.keras` file has the
/// names in its configuration. Where neither says, the layers of each class are compared with the tables of the
/// networks that Keras has (`Keras3Matching`).
enum Keras3 {
    /// `BatchNormalization` → `batch_normalization`, as Keras does it.
    static func group(ofClass name: String) -> String {
        var result = ""
        var previous: Character?
        let letters = Array(name.filter { $0.isLetter || $0.isNumber || $0 == "_" })
        for (index, letter) in letters.enumerated() {
            let next = index + 1 < letters.count ? letters[index + 1] : nil
            // An underscore before a capital that begins a word, and between a small letter and a capital.
            if letter.isUppercase, let previous, previous.isLowercase || (next?.isLowercase ?? false), previous != "_" {
                result += "_"
            }
            result += letter.lowercased()
            previous = letter
        }
        return result
    }

    /// `conv2d` and 3 → `conv2d_3`; the first of a class has no number.
    static func group(_ kind: String, _ number: Int) -> String { number == 0 ? kind : "\(kind)_\(number)" }

    /// `conv2d_3` → `conv2d` and 3.
    static func parts(_ group: String) -> (kind: String, number: Int) {
        guard let cut = group.lastIndex(of: "_"), let number = Int(group[group.index(after: cut)...]), number > 0
        else { return (group, 0) }
        return (String(group[..<cut]), number)
    }

    /// What the variables of a layer are called, in the words of older files.
    ///
    /// - Parameter count: batch norm with three has no gamma (`scale=False`), with two neither gamma nor beta.
    static func variables(_ kind: String, count: Int) -> [String] {
        let names: [String]
        switch kind {
        case "conv1d", "conv2d", "conv3d", "conv2d_transpose", "dense": names = ["kernel", "bias"]
        case "depthwise_conv2d": names = ["depthwise_kernel", "bias"]
        case "separable_conv2d": names = ["depthwise_kernel", "pointwise_kernel", "bias"]
        case "batch_normalization":
            names = Array(["gamma", "beta", "moving_mean", "moving_variance"].suffix(max(2, count)))
        case "layer_normalization": names = ["gamma", "beta"]
        case "embedding": names = ["embeddings"]
        default: names = []
        }
        return (0..<count).map { $0 < names.count && count <= names.count ? names[$0] : "\($0)" }
    }
}

extension KerasLayer {
    /// The group that Keras 3 writes each layer of a model to, below `layers`: `conv2d`, `batch_normalization`,
    /// `conv2d_1`, ….
    ///
    /// - Parameter layers: in the order of Keras's `model.layers`; those without weights do not count, because no class
    ///   of `Kind` is without.
    package static func keras3Names(layers: [KerasLayer]) -> [String] {
        var counts: [String: Int] = [:]
        return layers.map { layer in
            defer { counts[layer.group, default: 0] += 1 }
            return Keras3.group(layer.group, counts[layer.group, default: 0])
        }
    }

    /// The class in Keras 3's spelling for groups.
    var group: String { Keras3.group(ofClass: className) }
}
