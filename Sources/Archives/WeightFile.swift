import Foundation

/// The formats Graft reads weights from.
public enum WeightFormat: String, Codable, Sendable, CaseIterable {
    case graftHDF5
    /// Keras 1 and 2: weights alone or a full model, names in attributes.
    case kerasHDF5
    /// Keras 3's `.weights.h5`: a group per layer, `layers/conv2d_3/vars/0`.
    case kerasWeights
    /// Keras 3's `.keras`: a zip archive of a configuration and a `.weights.h5`.
    case kerasArchive
    case pytorchZip, pytorchLegacy, safetensors
    /// A folder of `config.json` and weights in one file or several, as transformers keeps them.
    case huggingFace
    /// HDF5 that holds no weights, such as a data set: it can be inspected, not read as weights.
    case hdf5

    /// The name for people.
    public var title: String {
        switch self {
        case .graftHDF5: "Graft HDF5"
        case .kerasHDF5: "Keras HDF5"
        case .kerasWeights: "Keras 3 HDF5"
        case .kerasArchive: "Keras 3 archive"
        case .pytorchZip: "PyTorch"
        case .pytorchLegacy: "PyTorch (before 1.6)"
        case .safetensors: "safetensors"
        case .huggingFace: "Hugging Face"
        case .hdf5: "HDF5"
        }
    }
}

/// What a weight file holds: raw tensors under the names the file gives them.
public struct WeightFile: Equatable, Sendable {
    public var format: WeightFormat
    /// In the order of the file.
    public var tensors: [StoredTensor]
    public var metadata: WeightMetadata

    public init(format: WeightFormat, tensors: [StoredTensor], metadata: WeightMetadata = WeightMetadata()) {
        self.format = format
        self.tensors = tensors
        self.metadata = metadata
    }

    /// The tensor of that name.
    public subscript(name: String) -> StoredTensor? {
        tensors.first { $0.name == name }
    }
}

extension WeightFile {
    /// Reads a weight file of any format, recognised by its content; the name and its suffix do not matter.
    ///
    /// A folder is read as Hugging Face keeps weights, and so is the `.index.json` of one. Nothing in a file is ever
    /// executed. HDF5 files are parsed in a process of their own (`IsolatedReader`). Values
    /// are read tensor by tensor: reading takes the memory of the tensors, not that of the file beside it.
    ///
    /// - Parameter widening: whether float16, bfloat16 and float64 tensors become float32; they remember
    ///   what they were in `sourceElementType`. Integers stay what they are.
    /// - Throws: `ArchiveError`.
    public static func read(_ path: String, widening: Bool = false) throws -> WeightFile {
        try readAsStored(path, listing: false).checked(path, widening: widening)
    }

    /// What `read` gives, without the values: `bytes` of the tensors are empty. Takes little memory; checksums are
    /// compared where the format has them.
    ///
    /// - Throws: `ArchiveError`.
    package static func list(_ path: String) throws -> WeightFile {
        try readAsStored(path, listing: true).checked(path, widening: false)
    }

    /// Reads what does not need a process of its own, PyTorch and safetensors, from memory.
    ///
    /// - Parameter path: what to call the bytes in errors.
    package static func read(_ bytes: Data, path: String) throws -> WeightFile {
        let source = ByteSource(bytes, path: path)
        guard let file = try readHere(try FileKind(of: source), source, listing: false) else {
            throw ArchiveError.unsupported(path: path, feature: "HDF5 in memory")
        }
        return try file.checked(path, widening: false)
    }

    /// Writes Graft HDF5, safetensors, a Hugging Face folder or Keras's HDF5, in one piece: `path` holds the old file
    /// or the new one.
    ///
    /// HDF5 is built in memory: where nobody else holds the tensors, each lets go of its values when they are in it.
    /// Tensors that were widened when they were read are written as the type they had, where their values are still of
    /// that type (`StoredTensor.narrowed`); Graft HDF5 keeps both. Keras's formats need a network that Keras has
    /// (`Architecture.kerasLayers`), and take its names.
    ///
    /// - Throws: `ArchiveError.writeFailed`; `.unsupported` for the formats that Graft only reads and for tensors that
    ///   Keras's network does not have; `LoadError` and `ModelError` where Keras's format is asked for and the
    ///   network is not known.
    public consuming func write(to path: String, as format: WeightFormat) throws {
        switch format {
        case .graftHDF5: try GraftArchive(self).write(to: path)
        case .safetensors: try AtomicFile.write(try Safetensors.encode(self, path: path), to: path)
        case .huggingFace: try HuggingFaceFolder.write(self, to: path)
        case .kerasHDF5, .kerasWeights:
            var writing = try KerasWriting(self, path: path)
            try AtomicFile.write(format == .kerasHDF5 ? writing.legacyImage() : writing.weightsImage(), to: path)
        case .kerasArchive, .pytorchZip, .pytorchLegacy, .hdf5:
            throw ArchiveError.unsupported(path: path, feature: "writing \(format.title)")
        }
    }

    private static func readAsStored(_ path: String, listing: Bool) throws -> WeightFile {
        if let folder = try HuggingFaceFolder(folder: path) { return try folder.read(listing: listing) }
        let source = try ByteSource(path: path)
        let kind = try FileKind(of: source)
        if let file = try readHere(kind, source, listing: listing) { return file }
        if kind == .index { return try HuggingFaceFolder(index: source).read(listing: listing) }
        if kind == .graft { try GraftSeal.verify(path) }
        return try IsolatedReader.read(path, listing: listing).notEmpty(path)
    }

    /// A file of the kinds that are read in this process: PyTorch and safetensors; nil where it is of another kind.
    static func readHere(_ kind: FileKind, _ source: ByteSource, listing: Bool) throws -> WeightFile? {
        switch kind {
        case .zip:
            let archive = try ZipArchive(source, format: .pytorchZip)
            if KerasArchive.recognises(archive) { return nil }
            return try PyTorchArchive.readZip(archive, path: source.path, listing: listing)
        case .pickle: return try PyTorchArchive.readLegacy(source, listing: listing)
        case .safetensors: return try Safetensors.read(source, listing: listing).notEmpty(source.path)
        case .graft, .hdf5, .index: return nil
        }
    }

    private func notEmpty(_ path: String) throws -> WeightFile {
        guard !tensors.isEmpty else { throw ArchiveError.noTensors(path: path) }
        return self
    }

    private func checked(_ path: String, widening: Bool) throws -> WeightFile {
        if let problem = metadata.preprocessing?.problem {
            throw ArchiveError.damaged(
                path: path, format: format.title, reason: "its metadata's preprocessing cannot be: \(problem)")
        }
        guard widening else { return self }
        var file = self
        for index in file.tensors.indices {
            switch file.tensors[index].elementType {
            case .float16, .bfloat16, .float64: file.tensors[index] = file.tensors[index].widened
            default: continue
            }
        }
        return file
    }
}

/// What the first bytes of a file say it is.
enum FileKind {
    /// HDF5 with Graft's seal before it.
    case graft
    /// Any other HDF5.
    case hdf5
    case zip
    case pickle
    case safetensors
    /// The JSON that lists the shards of a Hugging Face folder.
    case index

    /// How many of the first bytes it takes to tell.
    private static let headSize = 8_192

    /// - Throws: `ArchiveError.notRecognised` where it is none of them, or why it cannot be read.
    init(of path: String) throws { try self.init(of: try ByteSource(path: path)) }

    init(of source: ByteSource) throws {
        let head = try source.head(Self.headSize)
        if GraftSeal.recognises(head) {
            self = .graft
        } else if FileBytes.beginsAsHDF5(head) {
            self = .hdf5
        } else if head.starts(with: [0x50, 0x4b, 0x03, 0x04]) || head.starts(with: [0x50, 0x4b, 0x05, 0x06]) {
            self = .zip
        } else if head.count >= 2, head[0] == 0x80, (1...5).contains(head[1]) {
            self = .pickle
        } else if Safetensors.recognises(head, size: source.count) {
            self = .safetensors
        } else if HuggingFaceFolder.recognisesIndex(head) {
            self = .index
        } else {
            throw ArchiveError.notRecognised(path: source.path)
        }
    }
}
