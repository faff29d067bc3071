import Foundation

/// The formats Graft reads weights from.
public enum WeightFormat: String, Codable, Sendable, CaseIterable {
    case graftHDF5, kerasHDF5, pytorchZip, pytorchLegacy, safetensors
    /// HDF5 that holds no weights, such as a data set: it can be inspected, not read as weights.
    case hdf5

    /// The name for people.
    public var title: String {
        switch self {
        case .graftHDF5: "Graft HDF5"
        case .kerasHDF5: "Keras HDF5"
        case .pytorchZip: "PyTorch"
        case .pytorchLegacy: "PyTorch (before 1.6)"
        case .safetensors: "safetensors"
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
    /// Nothing in a file is ever executed. HDF5 files that Graft did not write are parsed in a process of
    /// their own (`IsolatedReader`).
    ///
    /// - Parameter widening: whether float16, bfloat16 and float64 tensors become float32; they remember
    ///   what they were in `sourceElementType`. Integers stay what they are.
    /// - Throws: `ArchiveError`.
    public static func read(_ path: String, widening: Bool = false) throws -> WeightFile {
        var file = try readAsStored(path)
        if let problem = file.metadata.preprocessing?.problem {
            throw ArchiveError.damaged(
                path: path, format: file.format.title, reason: "its metadata's preprocessing cannot be: \(problem)")
        }
        if widening {
            file.tensors = file.tensors.map { tensor in
                switch tensor.elementType {
                case .float16, .bfloat16, .float64: tensor.widened
                default: tensor
                }
            }
        }
        return file
    }

    /// Writes Graft HDF5 or safetensors, in one piece: `path` holds the old file or the new one.
    ///
    /// - Throws: `ArchiveError.writeFailed`; `.unsupported` for the formats that Graft only reads.
    public func write(to path: String, as format: WeightFormat) throws {
        switch format {
        case .graftHDF5: try GraftArchive(self).write(to: path)
        case .safetensors: try AtomicFile.write(try Safetensors.encode(self, path: path), to: path)
        case .kerasHDF5, .pytorchZip, .pytorchLegacy, .hdf5:
            throw ArchiveError.unsupported(path: path, feature: "writing \(format.title)")
        }
    }

    private static func readAsStored(_ path: String) throws -> WeightFile {
        switch try FileKind(of: path) {
        case .graft: try GraftArchive.read(path).weights.notEmpty(path)
        case .hdf5: try IsolatedReader.read(path, listing: false).notEmpty(path)
        case .zip: try PyTorchArchive.readZip(try FileBytes.read(path), path: path)
        case .pickle: try PyTorchArchive.readLegacy(try FileBytes.read(path), path: path)
        case .safetensors: try Safetensors.read(try FileBytes.read(path), path: path).notEmpty(path)
        }
    }

    private func notEmpty(_ path: String) throws -> WeightFile {
        guard !tensors.isEmpty else { throw ArchiveError.noTensors(path: path) }
        return self
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

    /// - Throws: `ArchiveError.notRecognised` where it is none of them, or why it cannot be read.
    init(of path: String) throws {
        let head = try FileBytes.read(path, limit: 8_192)
        let size = try FileBytes.size(path)
        if GraftSeal.recognises(head) {
            self = .graft
        } else if FileBytes.beginsAsHDF5(head) {
            self = .hdf5
        } else if head.starts(with: [0x50, 0x4b, 0x03, 0x04]) || head.starts(with: [0x50, 0x4b, 0x05, 0x06]) {
            self = .zip
        } else if head.count >= 2, head[0] == 0x80, (1...5).contains(head[1]) {
            self = .pickle
        } else if Safetensors.recognises(head, size: size) {
            self = .safetensors
        } else {
            throw ArchiveError.notRecognised(path: path)
        }
    }
}
