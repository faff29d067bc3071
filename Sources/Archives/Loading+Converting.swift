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
    /// - Returns: the tensors in the order of the network, after them those that the network has no place for and that
    ///   may be there (copies of tied weights, the pooler of an encoder), with metadata that say what they are; and what
    ///   became of each.
    /// - Throws: `LoadError`, `ModelError`.
    public static func canonical(
        _ file: WeightFile, path: String, architecture: String? = nil, variant: String? = nil,
        head: HeadPolicy = .keep
    ) throws -> (file: WeightFile, report: LoadReport) {
        var file = file
        let report = try makeCanonical(&file, path: path, architecture: architecture, variant: variant, head: head)
        return (file, report)
    }

    /// Turns a file into what `canonical` returns; nothing changes where it throws. Where nobody else holds the tensors,
    /// they are let go of one by one.
    ///
    /// - Returns: what became of each tensor.
    public static func makeCanonical(
        _ file: inout WeightFile, path: String, architecture: String? = nil, variant: String? = nil,
        head: HeadPolicy = .keep
    ) throws -> LoadReport {
        let weights = try RecognisedWeights(file, path: path, architecture: architecture, variant: variant)
        let network = weights.architecture.network()
        let matching = Matching(weights, network, head)
        try matching.throwIfUnfit(path: path)
        try matching.throwIfNotFinite(path: path)
        let (report, beside) = (matching.report, matching.beside)
        _ = consume matching
        // A name goes back with the shape it came with only: a reader that knows it expects that one.
        let names = report.count(.reshaped) == 0 ? renamed(weights) : [:]
        file.format = .graftHDF5
        file.tensors = []
        var found = (consume weights).tensors
        func take(_ path: String, _ shape: [Int]?, _ role: StoredTensor.Role) -> StoredTensor? {
            found.removeValue(forKey: path).map { tensor($0, path, shape ?? $0.shape, role) }
        }
        func isLeftOut(_ path: String) -> Bool { head == .new && network.isHead(path) }
        for parameter in network.store.parameters where !isLeftOut(parameter.path) {
            if let tensor = take(parameter.path, parameter.shape, .parameter) { file.tensors.append(tensor) }
        }
        for buffer in network.store.buffers where !isLeftOut(buffer.path) {
            if let tensor = take(buffer.path, buffer.shape, .buffer) {
                file.tensors.append(tensor)
            } else if buffer.isCounter {
                file.tensors.append(
                    StoredTensor(
                        name: buffer.path, shape: buffer.shape, elementType: .int64,
                        bytes: Data(count: 8 * buffer.shape.reduce(1, *)), role: .buffer))
            }
        }
        for path in beside {
            if let tensor = take(path, nil, .expected(for: path)) { file.tensors.append(tensor) }
        }
        describe(&file.metadata, network.architecture)
        if !names.isEmpty { file.metadata.sourceNames = names }
        return report
    }

    /// What the file calls tensors otherwise than by their canonical paths, by these; nothing of Keras's, whose tensors
    /// are others.
    private static func renamed(_ weights: RecognisedWeights) -> [String: String] {
        guard !weights.isKeras else { return [:] }
        return weights.tensors.mapValues { CanonicalTensors.withoutModule($0.stored.name) }
            .filter { $0.key != $0.value }
    }

    /// Says what the tensors are; what the file said may have been overridden.
    private static func describe(_ metadata: inout WeightMetadata, _ architecture: Architecture) {
        (metadata.architecture, metadata.variant, metadata.sizes) = (nil, nil, nil)
        (metadata.dropout, metadata.rates) = (nil, nil)
        metadata = metadata.filled(for: architecture)
        metadata.huggingFaceConfiguration = configuration(of: architecture, metadata)
    }

    /// The `config.json` of a network: what the file brings along where it describes this very network or one that
    /// transformers does not have, else one that does; nil where there is none.
    private static func configuration(of architecture: Architecture, _ metadata: WeightMetadata) -> String? {
        let own = metadata.huggingFaceConfiguration
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
