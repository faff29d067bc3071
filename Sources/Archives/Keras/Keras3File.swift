import Foundation
import Models
import Tensors

/// The groups of a `.weights.h5`, of Keras 3 and of the last versions of Keras 2.
///
/// Called on files from outside only in a process of its own (`IsolatedReader`).
struct Keras3File {
    /// The variables of one layer.
    struct Group {
        /// Where the layer lies, without `vars` (`layers/functional/layers/conv2d_3`).
        let path: String
        /// What the file calls it; nil where it does not.
        var layer: String?
        let entries: [HDF5Weights.Entry]

        /// `layers/functional/layers`; empty for what lies at the top.
        var container: String { path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "" }
        /// `conv2d_3`
        var last: String { path.split(separator: "/").last.map(String.init) ?? "" }
        var kind: String { Keras3.parts(last).kind }
        var number: Int { Keras3.parts(last).number }
    }

    /// Where the layers of a functional or sequential model lie; the second in Keras 2.13.
    private static let roots = ["layers", "_layer_checkpoint_dependencies"]
    private static let variables = "vars"

    private let file: HDF5File
    private var groups: [Group] = []
    /// What lies beside the layers, such as the optimizer's state.
    private var passedOver: [String] = []

    /// nil where the file is not laid out so.
    init?(_ file: HDF5File, configuration: KerasConfiguration?) throws {
        self.file = file
        let root = file.root
        let models = Self.roots.filter { root.kind(of: $0) == .group }
        guard !models.isEmpty || root.kind(of: Self.variables) == .group else { return nil }
        for name in try root.names() where root.kind(of: name) == .group {
            // A model of one's own class has its layers at the top.
            let isModel = models.isEmpty ? !name.hasPrefix("optimizer") : models.contains(name)
            if isModel || name == Self.variables {
                try read(
                    try root.group(name), path: name == Self.variables ? "" : name, isVariables: name == Self.variables)
            } else {
                passedOver.append(name)
            }
        }
        let names = configuration?.layerNames ?? [:]
        for index in groups.indices where groups[index].layer == nil {
            groups[index].layer = names[groups[index].path]
        }
    }

    /// The weights, named as older files name them: `conv2d_3/kernel:0`.
    func weights() throws -> HDF5Weights {
        let ordered = groups.sorted {
            ($0.container, $0.kind, $0.number, $0.path) < ($1.container, $1.kind, $1.number, $1.path)
        }
        let table = Keras3Matching.names(of: ordered.filter { $0.layer == nil })
        var ranks: [String: Int] = [:]
        var names: Set<String> = []
        var entries: [HDF5Weights.Entry] = []
        for group in ordered {
            // Keras 2.13 counts layers twice: the numbers have gaps.
            let place = "\(group.container)/\(group.kind)"
            let rank = ranks[place, default: 0]
            ranks[place] = rank + 1
            let matched = table[group.path]
            let layer = group.layer ?? matched?.layer ?? Keras3.group(group.kind, rank)
            let variables = matched?.variables ?? Keras3.variables(group.kind, count: group.entries.count)
            for (entry, variable) in zip(group.entries, variables) {
                var entry = entry
                let name = layer.isEmpty ? "\(Self.variables)/\(variable):0" : "\(layer)/\(variable):0"
                // Two nested models may have layers of one name.
                entry.tensor.name = names.contains(name) ? "\(group.container)/\(name)" : name
                guard names.insert(entry.tensor.name).inserted else {
                    throw ArchiveError.damaged(
                        path: file.path, format: "HDF5", reason: "the weight \(name) is there twice")
                }
                entry.tensor.role = .expected(for: name)
                entries.append(entry)
            }
        }
        let notes = Dictionary(passedOver.map { ($0, "not read") }) { first, _ in first }
        return HDF5Weights(
            file: file, format: .kerasWeights, entries: entries, metadata: WeightMetadata(notes: notes))
    }

    private mutating func read(_ group: HDF5Group, path: String, isVariables: Bool = false, depth: Int = 0) throws {
        guard depth < 32 else {
            throw ArchiveError.damaged(
                path: file.path, format: "HDF5", reason: "groups too deep within each other")
        }
        if isVariables {
            let entries = try self.entries(group)
            guard !entries.isEmpty else { return }
            let layer = try path.isEmpty ? nil : group.attributeText("name")
            groups.append(Group(path: path, layer: layer, entries: entries))
            return
        }
        // The state of random numbers that dropout draws is no weight.
        for name in try group.names() where group.kind(of: name) == .group && name != "seed_generator" {
            let isVariables = name == Self.variables
            try read(
                try group.group(name), path: isVariables ? path : "\(path)/\(name)", isVariables: isVariables,
                depth: depth + 1)
        }
    }

    /// The data sets of `vars`, in the order of their numbers.
    private func entries(_ group: HDF5Group) throws -> [HDF5Weights.Entry] {
        let names = try group.names().filter { group.kind(of: $0) == .dataset }
        let ordered = names.sorted { a, b in
            switch (Int(a), Int(b)) {
            case (let a?, let b?): a < b
            case (_?, nil): true
            case (nil, _?): false
            case (nil, nil): a < b
            }
        }
        return try ordered.map { try HDF5Weights.Entry(try group.dataset($0), name: $0) }
    }
}
