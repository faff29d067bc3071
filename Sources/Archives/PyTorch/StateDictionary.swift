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

    func read(_ object: PickleValue, storage: (String) throws -> Data) throws -> WeightFile {
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
            for (key, value) in top where !key.lowercased().hasPrefix("optim") {
                try collect(value, prefix: key, depth: 0, into: &found, &nameBytes)
            }
        }
        guard !found.isEmpty else { throw ArchiveError.noTensors(path: path) }
        let tensors = try read(found, storage)
        return WeightFile(format: format, tensors: tensors, metadata: WeightMetadata(notes: notes(top, read: chosen)))
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

    /// - Parameter read: the state dict, where it is one of several things.
    private func notes(_ top: OrderedDictionary<String, PickleValue>, read chosen: String?) -> [String: String] {
        var notes: [String: String] = [:]
        for (key, value) in top {
            switch value {
            case .text(let text): notes[key] = text
            case .integer(let number): notes[key] = "\(number)"
            case .real(let number): notes[key] = "\(number)"
            case .bool(let flag): notes[key] = "\(flag)"
            case .dictionary where key.lowercased().hasPrefix("optim"): notes[key] = "not read"
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
        _ found: OrderedDictionary<String, Int>, _ storage: (String) throws -> Data
    ) throws -> [StoredTensor] {
        var uses: [String: Int] = [:]
        for index in found.values { uses[unpickler.tensors[index].storage.key, default: 0] += 1 }
        var storages: [String: Data] = [:]
        var seen: [PickleTensor: Data] = [:]
        // All storages together are no larger than the file, nor are all tensors that are a part of one, each of its
        // own; a few bytes blown up to many times the file are refused.
        var budget = fileSize.multipliedReportingOverflow(by: 2).partialValue + 1 << 20
        return try found.map { name, index in
            let tensor = unpickler.tensors[index]
            guard let type = tensor.type.elementType else {
                throw ArchiveError.unsupported(
                    path: path, feature: "the element type \(tensor.type.name) of \(name)")
            }
            let key = tensor.storage.key
            if seen[tensor] == nil {
                let view = try TensorView(tensor, name: name, path: path, format: format)
                var values = storages[key] ?? Data()
                if storages[key] == nil {
                    values = try storage(key)
                    storages[key] = values
                    budget -= values.count
                }
                let (bytes, isCopy) = try view.bytes(of: values, limit: min(fileSize, budget))
                if isCopy { budget -= bytes.count }
                seen[tensor] = bytes
            }
            uses[key, default: 1] -= 1
            if uses[key] == 0 { storages[key] = nil }
            return StoredTensor(
                name: name, shape: tensor.shape, elementType: type, bytes: seen[tensor] ?? Data(),
                role: .expected(for: name))
        }
    }
}
