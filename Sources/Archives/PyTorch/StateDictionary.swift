import Collections
import Foundation
import Tensors

/// Finds the state dict in what was unpickled and reads its tensors.
struct StateDictionary {
    /// What training scripts call the state dict in their checkpoints, most telling first.
    private static let usualKeys = [
        "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights",
        "params", "generator", "state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema",
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

    /// - Parameters:
    ///   - object: what the pickle built.
    ///   - listing: whether tensors come without their values.
    func read(_ object: PickleValue, _ storages: some TensorStorages, listing: Bool) throws -> WeightFile {
        guard case .dictionary(let index) = object else {
            throw ArchiveError.unsupported(
                path: path, feature: "a PyTorch file whose content is no dictionary")
        }
        let top = unpickler.dictionaries[index]
        var found = OrderedDictionary<String, Int>()
        var nameBytes = 0
        let chosen = StateDictionary.usualKeys.first { holdsTensors(top[$0]) }
        if let chosen, let value = top[chosen] {
            try collect(value, prefix: "", depth: 0, into: &found, &nameBytes)
        } else {
            for (key, value) in top where !isOptimizer(key, value) {
                try collect(value, prefix: key, depth: 0, into: &found, &nameBytes)
            }
        }
        guard !found.isEmpty else { throw ArchiveError.noTensors(path: path) }
        let tensors = try read(found, storages, listing: listing)
        return WeightFile(format: format, tensors: tensors, metadata: WeightMetadata(notes: notes(top, read: chosen)))
    }

    /// A tensor may be called so, as one of a network for optical flow is.
    private func isOptimizer(_ key: String, _ value: PickleValue) -> Bool {
        guard case .dictionary = value else { return false }
        return key.lowercased().hasPrefix("optim")
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

    private func isTensor(_ value: PickleValue) -> Bool { if case .tensor = value { true } else { false } }

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
            guard found.updateValue(index, forKey: prefix) == nil else {
                throw ArchiveError.damaged(path: path, format: format.title, reason: "\(prefix) is there twice")
            }
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

    /// - Parameter read: the state dict, where it is one of several things.
    private func notes(_ top: OrderedDictionary<String, PickleValue>, read chosen: String?) -> [String: String] {
        var notes: [String: String] = [:]
        for (key, value) in top {
            switch value {
            case .text(let text): notes[key] = text
            case .integer(let number): notes[key] = "\(number)"
            case .real(let number): notes[key] = "\(number)"
            case .bool(let flag): notes[key] = "\(flag)"
            case .dictionary where isOptimizer(key, value): notes[key] = "not read"
            case .list, .tuple:
                if unpickler.sequence(value)?.contains(where: isTensor) == true { notes[key] = "not read" }
            // Averages beside the weights, or another network.
            case .dictionary where chosen != nil && key != chosen && holdsTensors(value): notes[key] = "not read"
            default: break
            }
        }
        return notes
    }

    /// Reads every storage once, and lets go of it after the last tensor over it: memory is taken for the values once,
    /// and for tensors that are the same under two names (tied weights) no more.
    private func read(
        _ found: OrderedDictionary<String, Int>, _ storages: some TensorStorages, listing: Bool
    ) throws -> [StoredTensor] {
        var uses: [String: Int] = [:]
        for index in found.values { uses[unpickler.tensors[index].storage.key, default: 0] += 1 }
        var sizes: [String: Int] = [:]
        var held: [String: Data] = [:]
        var seen: [PickleTensor: Data] = [:]
        // All storages together are no larger than the file, nor are all tensors that are a part of one, each of its
        // own; a few bytes blown up to many times the file are refused.
        var budget = fileSize.multipliedReportingOverflow(by: 2).partialValue + 1 << 20
        func values(_ tensor: PickleTensor, _ name: String) throws -> Data {
            let (key, view) = (tensor.storage.key, try TensorView(tensor, name: name, path: path, format: format))
            let size = try sizes[key] ?? storages.size(key)
            if sizes.updateValue(size, forKey: key) == nil {
                budget -= size
                if listing { try storages.check(key) }
            }
            if try !view.isWhole(storageSize: size, limit: min(fileSize, budget)) { budget -= view.byteCount }
            guard !listing else { return Data() }
            let storage = try held[key] ?? storages.read(key)
            held[key] = storage
            return view.bytes(of: storage)
        }
        return try found.map { name, index in
            let tensor = unpickler.tensors[index]
            guard let type = tensor.type.elementType else {
                throw ArchiveError.unsupported(
                    path: path, feature: "the element type \(tensor.type.name) of \(name)")
            }
            let bytes = try seen[tensor] ?? values(tensor, name)
            seen[tensor] = bytes
            uses[tensor.storage.key, default: 1] -= 1
            if uses[tensor.storage.key] == 0 { held[tensor.storage.key] = nil }
            return StoredTensor(
                listed: name, shape: tensor.shape, elementType: type, bytes: bytes, sourceElementType: type,
                role: .expected(for: name), layout: nil)
        }
    }
}

/// Where the values of a PyTorch file lie: storages by their keys.
protocol TensorStorages {
    /// How many bytes there are.
    func size(_ key: String) throws -> Int
    func read(_ key: String) throws -> Data
    /// Throws where the bytes are not those that were written, as far as the format can tell; holds few of them.
    func check(_ key: String) throws
}
