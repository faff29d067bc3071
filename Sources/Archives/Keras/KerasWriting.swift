import Foundation
import Models
import Tensors

/// Weights in the formats of Keras: HDF5 of Keras 1 and 2, and `.weights.h5` of Keras 3. Both hold arrays alone;
/// `load_weights` of a model of the same architecture takes them, by order.
///
/// Names and order are those of `Architecture.kerasLayers`; kernels go from O×I×H×W to H×W×I×O. What Keras's network
/// does not have is an error. Layers at the end of the model that the weights lack, such as the classifier, are left
/// out; so is what counts batches, which Keras does not.
struct KerasWriting {
    /// A layer and its arrays, ready to be written.
    private struct Layer {
        let layer: KerasLayer
        /// In the order of `layer.variables`, as the weights have them.
        var tensors: [MappedTensor]
    }

    /// What the files say of who wrote them where the weights do not: versions that store arrays as they are written
    /// here. Keras reads older versions' arrays differently.
    private static let version = "2.15.0"
    private static let backend = "tensorflow"
    /// Keras splits attributes that are longer: HDF5 holds no longer ones.
    private static let longestAttribute = 64_512

    private let path: String
    private let notes: [String: String]
    private var layers: [Layer]
    /// The group of each layer in Keras 3's files.
    private let groups: [String]

    /// - Parameter path: what to call the file in errors.
    /// - Throws: `LoadError` and `ModelError` where the network is not known; `ArchiveError.unsupported` where Keras has
    ///   no such network, or it lacks a tensor; `.missing` for a tensor amid the others.
    init(_ file: WeightFile, path: String) throws {
        let weights = try RecognisedWeights(file, path: path)
        guard let table = weights.architecture.kerasLayers else {
            throw ArchiveError.unsupported(
                path: path, feature: "\(weights.architecture) in Keras's formats, as Keras has no such network,")
        }
        var left = weights.tensors
        var layers: [Layer] = []
        for layer in table {
            let found = layer.variables.map { left.removeValue(forKey: $0.path) }
            let tensors = found.compactMap { $0 }
            if tensors.isEmpty { continue }
            guard tensors.count == found.count, layer == table[layers.count] else {
                let absent = table[layers.count...].lazy.flatMap(\.variables).first { weights.tensors[$0.path] == nil }
                throw ArchiveError.missing(path: path, name: absent?.path ?? layer.path)
            }
            layers.append(Layer(layer: layer, tensors: tensors))
        }
        let others = left.keys.filter { !$0.hasSuffix(".num_batches_tracked") }.sorted() + weights.unmapped
        if let other = others.first {
            throw ArchiveError.unsupported(path: path, feature: "\(other), which Keras's network does not have,")
        }
        guard !layers.isEmpty else { throw ArchiveError.noTensors(path: path) }
        (self.path, notes, self.layers) = (path, file.metadata.notes, layers)
        groups = KerasLayer.keras3Names(layers: table)
    }

    /// A tensor in Keras's order of dimensions.
    private func stored(
        _ mapped: MappedTensor, of layer: KerasLayer, as variable: KerasLayer.Variable
    ) -> StoredTensor {
        // One that comes from Keras has it already.
        guard mapped.conversion == .none else { return mapped.stored }
        let tensor = mapped.stored
        switch (variable.name, layer.kind, tensor.shape.count) {
        case ("kernel", .convolution, 4): return tensor.permuted([2, 3, 1, 0])
        case ("kernel", .convolution, 2):
            // MobileNetV1's classifier is a 1×1 convolution there.
            let kernel = tensor.permuted([1, 0])
            return kernel.reshaped([1, 1] + kernel.shape)
        case ("kernel", .denseAfterFlatten(let channels), 2):
            // O×(C·H·W) → (H·W·C)×O
            let (outputs, places) = (tensor.shape[0], tensor.shape[1] / max(1, channels))
            guard channels * places == tensor.shape[1] else { return tensor }
            return tensor.reshaped([outputs, channels, places]).permuted([2, 1, 0])
                .reshaped([places * channels, outputs])
        case ("kernel", _, 4) where tensor.shape[2...] == [1, 1]:
            return tensor.reshaped(Array(tensor.shape[..<2])).permuted([1, 0])
        case ("kernel", _, 2): return tensor.permuted([1, 0])
        case ("depthwise_kernel", _, 4): return tensor.permuted([2, 3, 0, 1])
        default: return tensor
        }
    }

    // MARK: Keras 1 and 2

    /// The bytes of a weights-only file as Keras 2 writes it: a group per layer, the lists of names in attributes.
    mutating func legacyImage() throws -> Data {
        let file = try HDF5File(inMemory: path, userBlock: 0)
        try write(layers.map(\.layer.name), as: "layer_names", to: file.root)
        try file.root.setBytesAttribute("backend", [notes["backend"] ?? Self.backend], isScalar: true)
        try file.root.setBytesAttribute("keras_version", [version], isScalar: true)
        for index in layers.indices {
            let layer = layers[index].layer
            let group = try file.root.createGroup(layer.name)
            try write(layer.variables.map { "\(layer.name)/\($0.name):0" }, as: "weight_names", to: group)
            try write(index, to: group.createGroup(layer.name)) { "\(layer.variables[$0].name):0" }
        }
        return try file.image()
    }

    /// Keras 1 turned kernels; no file of it leaves as it came.
    private var version: String {
        notes["keras_version"].flatMap { $0.hasPrefix("1") ? nil : $0 } ?? Self.version
    }

    /// A list of names, in several attributes where it is too long for one.
    private func write(_ names: [String], as attribute: String, to group: HDF5Group) throws {
        let longest = names.map(\.utf8.count).max() ?? 1
        let most = max(1, Self.longestAttribute / max(1, longest))
        guard names.count > most else { return try group.setBytesAttribute(attribute, names) }
        for (number, start) in stride(from: 0, to: names.count, by: most).enumerated() {
            try group.setBytesAttribute("\(attribute)\(number)", Array(names[start..<min(start + most, names.count)]))
        }
    }

    // MARK: Keras 3

    /// The bytes of a `.weights.h5`: a group per layer by its class and number, and the layer's name as an attribute.
    mutating func weightsImage() throws -> Data {
        let file = try HDF5File(inMemory: path, userBlock: 0)
        let model = try file.root.createGroup("layers")
        for index in layers.indices {
            let variables = try model.createGroup(groups[index]).createGroup("vars")
            try variables.setAttribute("name", layers[index].layer.name)
            try write(index, to: variables) { "\($0)" }
        }
        return try file.image()
    }

    // MARK: Both

    /// Writes the arrays of a layer, and lets go of them one by one.
    private mutating func write(_ index: Int, to group: HDF5Group, name: (Int) -> String) throws {
        let layer = layers[index].layer
        for (number, variable) in layer.variables.enumerated() {
            let tensor = stored(layers[index].tensors.removeFirst(), of: layer, as: variable).narrowed
            let dataset = try group.createDataset(name(number), shape: tensor.shape, elementType: tensor.elementType)
            try tensor.bytes.withUnsafeBytes { try dataset.write($0, as: tensor.elementType) }
        }
    }
}
