import Foundation
import Tensors

/// A Graft HDF5 file: named sections of tensors, metadata, and texts. Weights have the sections
/// `parameters` and `buffers`; checkpoints add others and texts.
///
/// In the file each section is a group of that name and each tensor a data set named by its path
/// (`/parameters/layer1.0.conv1.weight`), with its role, layout, source element type and SHA-256 as
/// attributes; each text is a text data set (`/recipe`, `/progress/state`), `/metadata` among them.
/// The file begins with 512 bytes that HDF5 leaves to the application, holding the length and the
/// SHA-256 of the rest, which is checked before the HDF5 library sees anything.
public struct GraftArchive: Equatable, Sendable {
    /// A group of tensors.
    public struct Section: Equatable, Sendable {
        /// One or more names, joined by slashes.
        public var name: String
        /// In the order of the file.
        public var tensors: [StoredTensor]

        public init(name: String, tensors: [StoredTensor]) {
            self.name = name
            self.tensors = tensors
        }
    }

    public var metadata: WeightMetadata
    /// In the order of the file.
    public var sections: [Section]
    /// JSON or other text by its path in the file: `recipe`, `progress/state`, `history`.
    public var texts: [String: String]

    public init(
        metadata: WeightMetadata = WeightMetadata(), sections: [Section] = [], texts: [String: String] = [:]
    ) {
        self.metadata = metadata
        self.sections = sections
        self.texts = texts
    }

    /// The tensors of a section, empty where there is none; setting them adds or replaces it.
    public subscript(section name: String) -> [StoredTensor] {
        get { sections.first { $0.name == name }?.tensors ?? [] }
        set {
            if let index = sections.firstIndex(where: { $0.name == name }) {
                sections[index].tensors = newValue
            } else {
                sections.append(Section(name: name, tensors: newValue))
            }
        }
    }
}

extension GraftArchive {
    /// An archive of weights: tensors go to `parameters` or `buffers` by their role.
    public init(_ file: WeightFile) {
        self.init(
            metadata: file.metadata,
            sections: [
                Section(name: Layout.parameters, tensors: file.tensors.filter { $0.role == .parameter }),
                Section(name: Layout.buffers, tensors: file.tensors.filter { $0.role == .buffer }),
            ])
    }

    /// The weights of an archive, parameters first.
    public var weights: WeightFile {
        WeightFile(
            format: .graftHDF5, tensors: self[section: Layout.parameters] + self[section: Layout.buffers],
            metadata: metadata)
    }

    /// Reads a file and checks its SHA-256 first; then has it looked through by a process of its own, as somebody may
    /// have sealed what libhdf5 does not survive.
    ///
    /// - Throws: `ArchiveError.digestMismatch` or `.damaged` where the file is not as it was written.
    public static func read(_ path: String) throws -> GraftArchive {
        try GraftSeal.verify(path)
        try IsolatedReader.check(path)
        return try GraftLayout.read(try HDF5File(reading: path), listing: false)
    }

    /// Whether the file is there, whole, and as it was written. Reads all of it, opens nothing.
    public static func isValid(_ path: String) -> Bool {
        (try? GraftSeal.verify(path)) != nil
    }

    /// Writes the file; whoever opens `path` sees the old file or the new one, never a part.
    ///
    /// - Throws: `ArchiveError.writeFailed`, with nothing left behind and the old file untouched.
    public consuming func write(to path: String) throws {
        try AtomicFile.write(try encoded(path), to: path)
    }

    /// The bytes of the file, built in memory: take them where the tensors stand still, write them
    /// (`AtomicFile.write`) in the background. Where nobody else holds the tensors, each lets go of its values when
    /// they are among the bytes.
    ///
    /// - Parameter path: what to call the file in errors.
    public consuming func encoded(_ path: String = "Graft HDF5") throws -> Data {
        var image = try GraftLayout.image(self, path: path)
        GraftSeal.seal(&image)
        return image
    }
}

/// Names in the file.
enum Layout {
    static let parameters = "parameters"
    static let buffers = "buffers"
    static let metadata = "metadata"
    static let format = "graft_format"
    static let version = "1"
    static let section = "graft_section"
    static let role = "role"
    static let layout = "layout"
    static let sourceElementType = "source_element_type"
    static let digest = "sha256"
}
