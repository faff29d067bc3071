import Collections
import Foundation
import Tensors

/// PyTorch's two file formats, down to tensors: the zip archives of 1.6 and later, and the older
/// sequence of pickles followed by raw storages.
enum PyTorchArchive {
    /// `0x1950a86a20f9469cfc6c`, little endian: the first thing in a file of the older format.
    static let legacyMagic = Data([0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19])

    /// - Parameter listing: whether tensors come without their values, which are only checked.
    static func readZip(_ archive: ZipArchive, path: String, listing: Bool) throws -> WeightFile {
        let format = WeightFormat.pytorchZip
        guard
            let pickleName = archive.names.filter({ $0.hasSuffix("/data.pkl") || $0 == "data.pkl" }).min(by: {
                $0.count < $1.count
            })
        else {
            throw ArchiveError.unsupported(
                path: path, feature: "a zip archive without a data.pkl (is it a PyTorch file?)")
        }
        let prefix = String(pickleName.dropLast("data.pkl".count))
        if let order = try archive.contentsIfPresent(prefix + "byteorder"), order != Data("little".utf8) {
            throw ArchiveError.unsupported(
                path: path, feature: "the byte order \(String(decoding: order, as: UTF8.self))")
        }
        var unpickler = Unpickler(
            ByteReader(try archive.contents(pickleName), path: path, format: format.title), path: path)
        let object = try unpickler.load()
        let reader = StateDictionary(unpickler, path: path, format: format, fileSize: archive.totalSize)
        return try reader.read(object, Entries(archive: archive, folder: prefix + "data/"), listing: listing)
    }

    /// - Parameter listing: whether tensors come without their values.
    static func readLegacy(_ source: ByteSource, listing: Bool) throws -> WeightFile {
        let (format, path) = (WeightFormat.pytorchLegacy, source.path)
        var reader = ByteReader(source, format: format.title)
        func next() throws -> (Unpickler, PickleValue) {
            var unpickler = Unpickler(reader, path: path)
            let value = try unpickler.load()
            reader = unpickler.reader
            return (unpickler, value)
        }
        guard case .longInteger(legacyMagic) = try next().1 else {
            throw ArchiveError.unsupported(path: path, feature: "a pickle that torch.save did not write")
        }
        guard case .integer(1001) = try next().1 else { throw reader.damaged("an unknown protocol version") }
        let (system, information) = try next()
        if case .dictionary(let index) = information,
            case .bool(false)? = system.dictionaries[index]["little_endian"]
        {
            throw ArchiveError.unsupported(path: path, feature: "the byte order big")
        }
        let (unpickler, object) = try next()
        let (keyReader, keyList) = try next()
        guard let keys = keyReader.sequence(keyList) else { throw reader.damaged("no list of storages") }
        var ranges: [String: Range<Int>] = [:]
        for key in keys {
            guard case .text(let key) = key, let type = unpickler.storages[key] else {
                throw reader.damaged("a storage that nothing refers to")
            }
            let (size, overflow) = try reader.size().multipliedReportingOverflow(by: type.byteCount)
            guard !overflow else { throw reader.damaged("storage \(key) is too large") }
            guard ranges.updateValue(try reader.take(size), forKey: key) == nil else {
                throw reader.damaged("storage \(key) is there twice")
            }
        }
        let dictionary = StateDictionary(unpickler, path: path, format: format, fileSize: source.count)
        return try dictionary.read(object, Ranges(source: source, ranges: ranges, reader: reader), listing: listing)
    }

    /// Storages as entries of a zip archive.
    private struct Entries: TensorStorages {
        let archive: ZipArchive
        let folder: String

        func size(_ key: String) throws -> Int { try archive.size(folder + key) }
        func read(_ key: String) throws -> Data { try archive.contents(folder + key) }
        func check(_ key: String) throws { try archive.check(folder + key) }
    }

    /// Storages one after the other at the end of a file, which has no checksums.
    private struct Ranges: TensorStorages {
        let source: ByteSource
        let ranges: [String: Range<Int>]
        let reader: ByteReader

        func size(_ key: String) throws -> Int { try range(key).count }
        func read(_ key: String) throws -> Data { try source.read(try range(key)) }
        func check(_ key: String) throws {}

        private func range(_ key: String) throws -> Range<Int> {
            guard let range = ranges[key] else { throw reader.damaged("storage \(key) is missing") }
            return range
        }
    }
}
