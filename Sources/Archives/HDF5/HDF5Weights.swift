import Foundation
import Tensors

/// Weights in an HDF5 file: what there is, and the values one tensor at a time.
struct HDF5Weights {
    /// A tensor without its bytes, and the data set that holds them.
    struct Entry {
        var tensor: StoredTensor
        /// The full name within the file (`/model_weights/conv1/conv1/kernel:0`).
        let dataset: String

        init(_ dataset: HDF5Dataset, name: String) throws {
            tensor = try StoredTensor(reading: dataset, name: name, listing: true)
            self.dataset = dataset.name
        }

        init(_ tensor: StoredTensor, dataset: String) {
            (self.tensor, self.dataset) = (tensor, dataset)
        }
    }

    let file: HDF5File
    let format: WeightFormat
    let entries: [Entry]
    let metadata: WeightMetadata
    /// Whether values are compared with the digests written beside them (of Graft's files).
    var verifiesDigests = false

    /// The tensors without their values.
    var listing: WeightFile { WeightFile(format: format, tensors: entries.map(\.tensor), metadata: metadata) }

    /// All tensors with their values.
    ///
    /// - Throws: `ArchiveError` where they cannot be read, or are not those that were written.
    func read() throws -> WeightFile {
        let tensors = try entries.map { entry in
            var tensor = entry.tensor
            tensor.bytes = try dataset(entry).read()
            return tensor
        }
        return WeightFile(format: format, tensors: tensors, metadata: metadata)
    }

    /// Hands over the values of a tensor in parts, one after the other.
    ///
    /// - Throws: as `read`; what `body` throws.
    func forEachPart(of entry: Entry, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        try dataset(entry).forEachPart(body)
    }

    /// Where the values of a tensor are, which are found to be those that were written.
    private func dataset(_ entry: Entry) throws -> HDF5Dataset {
        let dataset = try file.root.dataset(entry.dataset)
        if verifiesDigests, let expected = try dataset.attributeText(Layout.digest),
            try GraftSeal.digest(dataset) != expected
        {
            throw ArchiveError.digestMismatch(path: file.path, name: entry.tensor.name)
        }
        return dataset
    }
}

extension HDF5Weights {
    /// Opens weights of any HDF5 layout.
    ///
    /// - Parameter everything: also what is no weights: the optimizer's sections of a checkpoint, and HDF5 files that
    ///   hold something else.
    /// - Parameter verifiesDigests: whether to compare values of Graft's files with the digests beside them.
    /// - Throws: `ArchiveError.unsupported` where the file holds no weights.
    init(_ file: HDF5File, everything: Bool, verifiesDigests: Bool) throws {
        if GraftLayout.recognises(file) {
            let archive = try GraftLayout.read(file, listing: true)
            let sections = archive.sections.filter {
                everything || $0.name == Layout.parameters || $0.name == Layout.buffers
            }
            let isWeights = { (name: String) in name == Layout.parameters || name == Layout.buffers || name.isEmpty }
            let entries = sections.flatMap { section in
                section.tensors.map { tensor in
                    let place = section.name.isEmpty ? "/\(tensor.name)" : "/\(section.name)/\(tensor.name)"
                    return Entry(
                        isWeights(section.name) ? tensor : tensor.renamed("\(section.name)/\(tensor.name)"),
                        dataset: place)
                }
            }
            self.init(
                file: file, format: .graftHDF5, entries: entries, metadata: archive.metadata,
                verifiesDigests: verifiesDigests)
        } else if let weights = try KerasHDF5.weights(file) {
            self = weights
        } else if everything {
            self = try KerasHDF5.list(file)
        } else {
            throw ArchiveError.unsupported(
                path: file.path, feature: "an HDF5 file that is neither Graft's nor Keras's weights")
        }
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
