import Collections
import Foundation
import Tensors

/// PyTorch's two file formats, down to tensors: the zip archives of 1.6 and later, and the older
/// sequence of pickles followed by raw storages.
enum PyTorchArchive {
    /// `0x1950a86a20f9469cfc6c`, little endian: the first thing in a file of the older format.
    static let legacyMagic = Data([0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19])

    static func readZip(_ bytes: Data, path: String) throws -> WeightFile {
        let format = WeightFormat.pytorchZip
        let archive = try ZipArchive(bytes, path: path)
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
            ByteReader(Data(try archive.contents(pickleName)), path: path, format: format.title), path: path)
        let object = try unpickler.load()
        var storages: [String: Data] = [:]
        let reader = StateDictionary(unpickler, path: path, format: format, fileSize: archive.totalSize)
        return try reader.read(object) { key in
            if let known = storages[key] { return known }
            let storage = try archive.contents(prefix + "data/" + key)
            storages[key] = storage
            return storage
        }
    }

    static func readLegacy(_ bytes: Data, path: String) throws -> WeightFile {
        let format = WeightFormat.pytorchLegacy
        var reader = ByteReader(bytes, path: path, format: format.title)
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
        var storages: [String: Range<Int>] = [:]
        for key in keys {
            guard case .text(let key) = key, let type = unpickler.storages[key] else {
                throw reader.damaged("a storage that nothing refers to")
            }
            let (size, overflow) = try reader.size().multipliedReportingOverflow(by: type.byteCount)
            guard !overflow else { throw reader.damaged("storage \(key) is too large") }
            storages[key] = try reader.take(size)
        }
        let dictionary = StateDictionary(unpickler, path: path, format: format, fileSize: bytes.count)
        return try dictionary.read(object) { key in
            guard let range = storages[key] else { throw reader.damaged("storage \(key) is missing") }
            return bytes[range]
        }
    }
}

/// Finds the state dict in what was unpickled and reads its tensors.
struct StateDictionary {
    /// What training scripts call the state dict in their checkpoints, most telling first.
    private static let usualKeys = [
        "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights",
        "params",
    ]
    private static let deepest = 16
    private static let longestName = 4_096
    /// Of all names together: a dictionary that occurs in many others gets many.
    private static let mostNameBytes = 1 << 26

    private let unpickler: Unpickler
    private let path: String
    private let format: WeightFormat
    private let fileSize: Int

    init(_ unpickler: Unpickler, path: String, format: WeightFormat, fileSize: Int) {
        self.unpickler = unpickler
        self.path = path
        self.format = format
        self.fileSize = fileSize
    }

    func read(_ object: PickleValue, storage: (String) throws -> Data) throws -> WeightFile {
        guard case .dictionary(let index) = object else {
            throw ArchiveError.unsupported(
                path: path, feature: "a PyTorch file whose content is no dictionary")
        }
        let top = unpickler.dictionaries[index]
        var found = OrderedDictionary<String, Int>()
        var nameBytes = 0
        if let key = StateDictionary.usualKeys.first(where: { holdsTensors(top[$0]) }), let value = top[key] {
            try collect(value, prefix: "", depth: 0, into: &found, &nameBytes)
        } else {
            for (key, value) in top where !key.lowercased().hasPrefix("optim") {
                try collect(value, prefix: key, depth: 0, into: &found, &nameBytes)
            }
        }
        guard !found.isEmpty else { throw ArchiveError.noTensors(path: path) }
        let tensors = try read(found, storage)
        return WeightFile(format: format, tensors: tensors, metadata: WeightMetadata(notes: notes(top)))
    }

    private func holdsTensors(_ value: PickleValue?) -> Bool {
        guard case .dictionary(let index)? = value else { return false }
        return unpickler.dictionaries[index].values.contains {
            switch $0 {
            case .tensor, .dictionary: true
            default: false
            }
        }
    }

    /// Tensors by name; those of dictionaries within dictionaries get names joined by dots.
    private func collect(
        _ value: PickleValue, prefix: String, depth: Int, into found: inout OrderedDictionary<String, Int>,
        _ nameBytes: inout Int
    ) throws {
        nameBytes += 1 + prefix.utf8.count
        guard prefix.utf8.count <= StateDictionary.longestName else {
            throw ArchiveError.damaged(
                path: path, format: format.title,
                reason: "a name of more than \(StateDictionary.longestName) bytes")
        }
        switch value {
        case .tensor(let index):
            found[prefix] = index
        case .dictionary(let index):
            guard depth < StateDictionary.deepest, nameBytes < StateDictionary.mostNameBytes else {
                throw ArchiveError.damaged(
                    path: path, format: format.title, reason: "dictionaries too deep within each other")
            }
            for (key, item) in unpickler.dictionaries[index] {
                try collect(
                    item, prefix: prefix.isEmpty ? key : "\(prefix).\(key)", depth: depth + 1, into: &found,
                    &nameBytes)
            }
        default: break
        }
    }

    private func notes(_ top: OrderedDictionary<String, PickleValue>) -> [String: String] {
        var notes: [String: String] = [:]
        for (key, value) in top {
            switch value {
            case .text(let text): notes[key] = text
            case .integer(let number): notes[key] = "\(number)"
            case .real(let number): notes[key] = "\(number)"
            case .bool(let flag): notes[key] = "\(flag)"
            case .dictionary where key.lowercased().hasPrefix("optim"): notes[key] = "not read"
            default: break
            }
        }
        return notes
    }

    private func read(
        _ found: OrderedDictionary<String, Int>, _ storage: (String) throws -> Data
    ) throws -> [StoredTensor] {
        // Tied weights appear under two names, so tensors may add up to more than the file; a few bytes
        // blown up to gigabytes may not.
        var budget = fileSize.multipliedReportingOverflow(by: 16).partialValue
        return try found.map { name, index in
            let tensor = unpickler.tensors[index]
            guard let type = tensor.type.elementType else {
                throw ArchiveError.unsupported(
                    path: path, feature: "the element type \(tensor.type.name) of \(name)")
            }
            let bytes = try TensorView(tensor, name: name, path: path, format: format).bytes(
                of: storage(tensor.storage.key), limit: min(fileSize, budget))
            budget -= bytes.count
            return StoredTensor(
                name: name, shape: tensor.shape, elementType: type, bytes: bytes, role: .expected(for: name))
        }
    }
}

/// A tensor's strided view of its storage.
private struct TensorView {
    private let tensor: PickleTensor
    /// Those of the file, 0 for dimensions of size 1: their strides lead nowhere and may be anything.
    private let strides: [Int]
    private let count: Int
    private let byteCount: Int
    private let damage: (String) -> ArchiveError

    /// - Throws: `ArchiveError.damaged` where sizes or strides make no sense.
    init(_ tensor: PickleTensor, name: String, path: String, format: WeightFormat) throws {
        let damage = { (what: String) -> ArchiveError in
            .damaged(path: path, format: format.title, reason: "\(name) \(what)")
        }
        guard let count = StoredTensor.count(of: tensor.shape) else {
            throw damage("has the shape \(tensor.shape)")
        }
        guard tensor.strides.count == tensor.shape.count, tensor.strides.allSatisfy({ $0 >= 0 }),
            tensor.offset >= 0
        else {
            throw damage("has the strides \(tensor.strides)")
        }
        let (byteCount, overflow) = count.multipliedReportingOverflow(by: tensor.type.byteCount)
        guard !overflow else { throw damage("has the shape \(tensor.shape)") }
        strides = zip(tensor.shape, tensor.strides).map { $0 == 1 ? 0 : $1 }
        (self.tensor, self.count, self.byteCount, self.damage) = (tensor, count, byteCount, damage)
    }

    /// The values, row-major.
    func bytes(of storage: Data, limit: Int) throws -> Data {
        guard byteCount <= limit else { throw damage("claims \(byteCount) bytes, more than the file has") }
        guard count > 0 else { return Data() }
        let width = tensor.type.byteCount
        let last = zip(tensor.shape, strides).reduce(Optional(tensor.offset)) { end, dimension in
            let (step, overflow) = (dimension.0 - 1).multipliedReportingOverflow(by: dimension.1)
            guard let end, !overflow else { return nil }
            let (sum, sumOverflow) = end.addingReportingOverflow(step)
            return sumOverflow ? nil : sum
        }
        guard let last, last < storage.count / width else {
            throw damage(
                "of shape \(tensor.shape) at \(tensor.offset) leaves its storage of \(storage.count) bytes")
        }
        if isContiguous {
            let start = storage.startIndex + tensor.offset * width
            return storage.subdata(in: start..<start + byteCount)
        }
        return gathered(storage, width: width)
    }

    private var isContiguous: Bool {
        var expected = 1
        for (size, stride) in zip(tensor.shape, strides).reversed() where size != 1 {
            if stride != expected { return false }
            expected *= size
        }
        return true
    }

    /// Walks the indices like an odometer, last dimension fastest.
    private func gathered(_ storage: Data, width: Int) -> Data {
        var result = Data(capacity: byteCount)
        var index = [Int](repeating: 0, count: tensor.shape.count)
        var position = tensor.offset
        storage.withUnsafeBytes { bytes in
            for _ in 0..<count {
                result.append(contentsOf: bytes[position * width..<(position + 1) * width])
                for dimension in index.indices.reversed() {
                    index[dimension] += 1
                    position += strides[dimension]
                    if index[dimension] < tensor.shape[dimension] { break }
                    position -= strides[dimension] * tensor.shape[dimension]
                    index[dimension] = 0
                }
            }
        }
        return result
    }
}
