import Foundation

/// A `.keras` file of Keras 3: a zip archive of `config.json`, `metadata.json` and `model.weights.h5`.
package enum KerasArchive {
    private static let configuration = "config.json"
    private static let metadata = "metadata.json"
    private static let weights = "model.weights.h5"

    /// Whether a zip archive is one.
    static func recognises(_ archive: ZipArchive) -> Bool { archive.has(configuration) && archive.has(weights) }

    /// The parts of a file, as far as they can be read without HDF5.
    package struct Contents {
        package let configuration: KerasConfiguration
        /// The bytes of an HDF5 file.
        package let weights: Data
        let version: String?
    }

    /// Reads the parts and looks for code.
    ///
    /// - Throws: `ArchiveError`; `.refusedLayer` where a layer is a Python function.
    package static func contents(_ bytes: Data, path: String) throws -> Contents {
        try contents(ByteSource(bytes, path: path))
    }

    static func contents(_ source: ByteSource) throws -> Contents {
        let archive = try ZipArchive(source, format: .kerasArchive)
        guard recognises(archive) else { throw ArchiveError.missing(path: source.path, name: weights) }
        let text = String(decoding: try archive.contents(configuration), as: UTF8.self)
        let model = try KerasConfiguration(text, path: source.path)
        try model.refuseCode()
        struct Metadata: Decodable { var keras_version: String? }
        let about = try archive.contentsIfPresent(metadata).flatMap {
            try? JSONDecoder().decode(Metadata.self, from: $0)
        }
        return Contents(
            configuration: model, weights: try archive.contents(weights), version: about?.keras_version)
    }

    /// The weights. Called only in a process of its own (`IsolatedReader`).
    static func weights(_ path: String) throws -> HDF5Weights {
        let contents = try Self.contents(try ByteSource(path: path))
        let file = try HDF5File(image: contents.weights, name: path)
        guard let weights = try KerasHDF5.weights(file, configuration: contents.configuration) else {
            throw ArchiveError.unsupported(path: path, feature: "a \(Self.weights) that Keras did not write")
        }
        var metadata = weights.metadata
        metadata.notes["keras_version"] = contents.version
        metadata.notes["model"] = contents.configuration.modelName
        return HDF5Weights(file: file, format: .kerasArchive, entries: weights.entries, metadata: metadata)
    }
}
