import Foundation
import Layers
import Models
import Tensors

extension WeightLoader {
    /// A file's tensors under the canonical paths of its network and in the network's order of dimensions.
    ///
    /// Values and element types are those of the file, bit by bit: nothing is widened, and counters stay the integers
    /// that they are. Written and read back, a float64 or bfloat16 file is what it was.
    ///
    /// - Parameters:
    ///   - path: names the file in errors.
    ///   - architecture: overrides what the file says or its names and shapes tell.
    ///   - head: with `.new`, the classifier is left out.
    /// - Returns: the tensors in the order of the network, with metadata that say what they are; and what became of
    ///   each.
    /// - Throws: `LoadError`, `ModelError`.
    public static func canonical(
        _ file: WeightFile, path: String, architecture: String? = nil, variant: String? = nil,
        head: HeadPolicy = .keep
    ) throws -> (file: WeightFile, report: LoadReport) {
        let (network, report) = try Self.network(
            from: file, path: path, architecture: architecture, variant: variant, head: head)
        let weights = try RecognisedWeights(file, path: path, architecture: architecture, variant: variant)
        var metadata = file.metadata
        // What the file said may have been overridden.
        (metadata.architecture, metadata.variant, metadata.sizes) = (nil, nil, nil)
        (metadata.dropout, metadata.rates) = (nil, nil)
        metadata = metadata.filled(for: network.architecture)
        metadata.notes[HuggingFaceFolder.configuration] = configuration(of: network.architecture, metadata)

        func isLeftOut(_ path: String) -> Bool { head == .new && network.isHead(path) }
        let parameters = network.store.parameters.filter { !isLeftOut($0.path) }.compactMap { parameter in
            weights.tensors[parameter.path].map {
                tensor($0, parameter.path, parameter.shape, .parameter)
            }
        }
        let buffers = network.store.buffers.filter { !isLeftOut($0.path) }.compactMap { buffer -> StoredTensor? in
            if let found = weights.tensors[buffer.path] { return tensor(found, buffer.path, buffer.shape, .buffer) }
            guard buffer.isCounter else { return nil }
            return StoredTensor(
                name: buffer.path, shape: buffer.shape, elementType: .int64,
                bytes: Data(count: 8 * buffer.shape.reduce(1, *)), role: .buffer)
        }
        return (WeightFile(format: .graftHDF5, tensors: parameters + buffers, metadata: metadata), report)
    }

    /// The `config.json` of a network: what the file brings along where it describes this very network or one that
    /// transformers does not have, else one that does; nil where there is none.
    private static func configuration(of architecture: Architecture, _ metadata: WeightMetadata) -> String? {
        let own = metadata.notes[HuggingFaceFolder.configuration]
        return (try? architecture.huggingFaceConfig(classNames: metadata.classNames, keeping: own)) ?? own
    }

    private static func tensor(
        _ mapped: MappedTensor, _ path: String, _ shape: [Int], _ role: StoredTensor.Role
    ) -> StoredTensor {
        var tensor = mapped.canonical.reshaped(shape).renamed(path)
        tensor.role = role
        tensor.layout = role == .buffer ? nil : shape.count == 4 ? "OIHW" : shape.count == 2 ? "OI" : nil
        return tensor
    }
}
