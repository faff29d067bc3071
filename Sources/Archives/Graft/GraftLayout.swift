import Foundation
import Tensors

/// How an archive is laid out in HDF5.
enum GraftLayout {
    /// Attributes hold at most 64 KB; longer texts stand in `/metadata` alone.
    private static let longestAttribute = 60_000
    private static let deepest = 32

    // MARK: Writing

    /// The bytes of the HDF5 file, its first 512 left free. Tensors let go of their values when these are in it.
    static func image(_ archive: consuming GraftArchive, path: String) throws -> Data {
        let file = try HDF5File(inMemory: path, userBlock: GraftSeal.size)
        try writeMetadata(archive.metadata, to: file.root)
        for section in archive.sections.indices {
            let (parent, name) = try place(archive.sections[section].name, in: file.root, path: path)
            let group = try parent.groupCreatingIfNeeded(name)
            try group.setAttribute(Layout.section, "tensors")
            for index in archive.sections[section].tensors.indices {
                try write(archive.sections[section].tensors[index], to: group, path: path)
                archive.sections[section].tensors[index].bytes = Data()
            }
        }
        for (name, text) in archive.texts.sorted(by: { $0.key < $1.key }) {
            let (parent, last) = try place(name, in: file.root, path: path)
            try parent.createText(last, text)
        }
        return try file.image()
    }

    private static func writeMetadata(_ metadata: WeightMetadata, to root: HDF5Group) throws {
        try root.setAttribute(Layout.format, Layout.version)
        let facts = [
            ("architecture", metadata.architecture), ("variant", metadata.variant),
            ("provenance", metadata.provenance), ("license", metadata.license),
        ]
        for case (let name, let text?) in facts where text.utf8.count <= longestAttribute {
            try root.setAttribute(name, text)
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try root.createText(Layout.metadata, String(decoding: try encoder.encode(metadata), as: UTF8.self))
    }

    private static func write(_ tensor: StoredTensor, to section: HDF5Group, path: String) throws {
        let (parent, name) = try place(tensor.name, in: section, path: path)
        let dataset = try parent.createDataset(name, shape: tensor.shape, elementType: tensor.elementType)
        try tensor.bytes.withUnsafeBytes { try dataset.write($0, as: tensor.elementType) }
        try dataset.setAttribute(Layout.role, tensor.role.rawValue)
        if let layout = tensor.layout { try dataset.setAttribute(Layout.layout, layout) }
        try dataset.setAttribute(Layout.sourceElementType, tensor.sourceElementType.rawValue)
        try dataset.setAttribute(Layout.digest, GraftSeal.digest(tensor.bytes))
    }

    /// The group that `name` lies in, made where it is not there, and its last part.
    private static func place(_ name: String, in group: HDF5Group, path: String) throws -> (HDF5Group, String) {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard let last = parts.last, parts.allSatisfy({ !$0.isEmpty && $0 != "." && !$0.contains("\0") })
        else {
            throw ArchiveError.unsupported(path: path, feature: "the name \"\(name)\" in HDF5")
        }
        let parent = try parts.dropLast().reduce(group) { try $0.groupCreatingIfNeeded($1) }
        return (parent, last)
    }

    // MARK: Reading

    /// Whether a file has this layout.
    static func recognises(_ file: HDF5File) -> Bool {
        file.root.hasAttribute(Layout.format)
    }

    /// Reads everything; with `listing`, tensors come without their bytes.
    static func read(_ file: HDF5File, listing: Bool) throws -> GraftArchive {
        let version = try file.root.attributeText(Layout.format) ?? ""
        guard version == Layout.version else {
            throw ArchiveError.unsupported(path: file.path, feature: "version \"\(version)\" of Graft's HDF5")
        }
        var archive = GraftArchive()
        let reader = Reader(path: file.path, listing: listing)
        try reader.walk(file.root, place: Place(), into: &archive)
        if let text = archive.texts.removeValue(forKey: Layout.metadata) {
            guard let metadata = try? JSONDecoder().decode(WeightMetadata.self, from: Data(text.utf8)) else {
                throw ArchiveError.damaged(
                    path: file.path, format: WeightFormat.graftHDF5.title,
                    reason: "/metadata is not the JSON that it should be")
            }
            archive.metadata = metadata
        }
        return archive
    }

    /// Where a walk through the file is.
    private struct Place {
        /// The path from the root.
        var path: [String] = []
        /// How many parts of `path` name the section, 0 outside of sections.
        var sectionDepth = 0

        var section: String { path.prefix(sectionDepth).joined(separator: "/") }
        func tensorName(_ last: String) -> String {
            (path.dropFirst(sectionDepth) + [last]).joined(separator: "/")
        }
    }

    private struct Reader {
        let path: String
        let listing: Bool

        func walk(_ group: HDF5Group, place: Place, into archive: inout GraftArchive) throws {
            guard place.path.count < GraftLayout.deepest else {
                throw ArchiveError.damaged(
                    path: path, format: WeightFormat.graftHDF5.title,
                    reason: "groups too deep within each other")
            }
            var tensors: [StoredTensor] = []
            for name in try group.names() {
                switch group.kind(of: name) {
                case .group:
                    var inner = place
                    inner.path.append(name)
                    let child = try group.group(name)
                    if child.hasAttribute(Layout.section) {
                        inner.sectionDepth = inner.path.count
                        archive[section: inner.section] = []
                    }
                    try walk(child, place: inner, into: &archive)
                case .dataset:
                    let dataset = try group.dataset(name)
                    if dataset.holdsText {
                        archive.texts[(place.path + [name]).joined(separator: "/")] =
                            try dataset.texts().first ?? ""
                    } else {
                        tensors.append(try tensor(dataset, name: place.tensorName(name)))
                    }
                default: continue
                }
            }
            if !tensors.isEmpty { archive[section: place.section] += tensors }
        }

        private func tensor(_ dataset: HDF5Dataset, name: String) throws -> StoredTensor {
            var tensor = try StoredTensor(reading: dataset, name: name, listing: listing)
            if let role = try dataset.attributeText(Layout.role).flatMap(StoredTensor.Role.init) {
                tensor.role = role
            }
            tensor.layout = try dataset.attributeText(Layout.layout)
            if let source = try dataset.attributeText(Layout.sourceElementType).flatMap(ElementType.init) {
                tensor.sourceElementType = source
            }
            return tensor
        }
    }
}
