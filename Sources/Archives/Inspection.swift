import Foundation
import Tensors

/// What is inside a weight file or checkpoint.
public struct Inspection: Codable, Equatable, Sendable {
    /// Whether bytes are as they were written.
    public enum Digest: String, Codable, Sendable {
        case valid, invalid
        /// The format keeps no digests; or, of a tensor, it was not compared, as the whole file's is wrong.
        case absent
    }

    /// One tensor, without its values.
    public struct Tensor: Codable, Equatable, Sendable {
        public let name: String
        /// The group of a Graft file (`parameters`, `buffers`, `optimizer`, …), nil in other formats.
        public let section: String?
        public let shape: [Int]
        /// The type of the values in the file.
        public let elementType: ElementType
        /// What they were before Graft wrote them.
        public let sourceElementType: ElementType
        public let role: StoredTensor.Role
        public let layout: String?
        public let digest: Digest
    }

    public let path: String
    public let format: WeightFormat
    public let fileSize: Int
    public let tensors: [Tensor]
    public let metadata: WeightMetadata
    /// The texts of a Graft file by path: recipe, progress, history of a checkpoint.
    public let texts: [String: String]
    /// The digest over the whole file.
    public let digest: Digest

    /// How many values all tensors hold; `Int.max` where a file claims more.
    public var valueCount: Int {
        tensors.reduce(0) { sum, tensor in
            let (total, overflow) = sum.addingReportingOverflow(StoredTensor.count(of: tensor.shape) ?? .max)
            return overflow ? .max : total
        }
    }
}

extension Inspection {
    /// Looks into a file of any format. A Graft file whose digest is wrong is reported so, not refused.
    ///
    /// - Throws: `ArchiveError` where the file cannot be read as any format.
    public static func inspect(_ path: String) throws -> Inspection {
        if let folder = try HuggingFaceFolder(folder: path) {
            return try Inspection(path, file: try WeightFile.list(path), size: try folder.size(), digest: .absent)
        }
        switch try FileKind(of: path) {
        case .graft where GraftArchive.isValid(path):
            try IsolatedReader.check(path)
            let file = try HDF5File(reading: path)
            return try Inspection(path, archive: try GraftLayout.read(file, listing: true), root: file.root)
        case .graft:
            // No longer what was written, so it is no safer than a file from outside.
            let listed =
                (try? IsolatedReader.read(path, listing: true)) ?? WeightFile(format: .graftHDF5, tensors: [])
            return try Inspection(path, file: listed, digest: .invalid)
        case .hdf5:
            return try Inspection(path, file: try IsolatedReader.read(path, listing: true), digest: .absent)
        case .index:
            let folder = try HuggingFaceFolder(index: try ByteSource(path: path))
            return try Inspection(path, file: try WeightFile.list(path), size: try folder.size(), digest: .absent)
        case .zip, .pickle, .safetensors:
            return try Inspection(path, file: try WeightFile.list(path), digest: .absent)
        }
    }

    private init(_ path: String, file: WeightFile, size: Int? = nil, digest: Digest) throws {
        self.init(
            path: path, format: file.format, fileSize: try size ?? FileBytes.size(path),
            tensors: file.tensors.map { Tensor($0, section: nil, digest: .absent) },
            metadata: file.metadata, texts: [:], digest: digest)
    }

    private init(_ path: String, archive: GraftArchive, root: HDF5Group) throws {
        var tensors: [Tensor] = []
        for section in archive.sections {
            for tensor in section.tensors {
                let name = section.name.isEmpty ? tensor.name : "\(section.name)/\(tensor.name)"
                let dataset = try root.dataset(name)
                let digest = try dataset.attributeText(Layout.digest).map { expected in
                    try expected == GraftSeal.digest(dataset) ? Digest.valid : .invalid
                }
                tensors.append(Tensor(tensor, section: section.name, digest: digest ?? .absent))
            }
        }
        self.init(
            path: path, format: .graftHDF5, fileSize: try FileBytes.size(path), tensors: tensors,
            metadata: archive.metadata, texts: archive.texts, digest: .valid)
    }
}

extension Inspection {
    /// The weights without their values, as `WeightFile.read` names them; nil where the file is not as it was written or
    /// of no format of weights.
    public var weights: WeightFile? {
        guard format != .hdf5, digest != .invalid else { return nil }
        let sections = [nil, "", Layout.parameters, Layout.buffers]
        return WeightFile(
            format: format,
            tensors: tensors.filter { sections.contains($0.section) }.map {
                StoredTensor(
                    listed: $0.name, shape: $0.shape, elementType: $0.elementType, bytes: Data(),
                    sourceElementType: $0.sourceElementType, role: $0.role, layout: $0.layout)
            }, metadata: metadata)
    }
}

extension Inspection.Tensor {
    fileprivate init(_ tensor: StoredTensor, section: String?, digest: Inspection.Digest) {
        self.init(
            name: tensor.name, section: section, shape: tensor.shape, elementType: tensor.elementType,
            sourceElementType: tensor.sourceElementType, role: tensor.role, layout: tensor.layout,
            digest: digest)
    }
}
