import Models
import Tensors

/// Finds the network that Keras has whose layers are those of a file that only numbers them.
///
/// The layers of each class, in order, with the number and rank of their variables, tell the networks of
/// `Family.kerasNetworks` apart; channels may be others (widths, classes). A file without the classifier matches too.
enum Keras3Matching {
    /// What the table says of a group.
    struct Match {
        let layer: String
        let variables: [String]
    }

    /// What Keras's own classes with weights in the tables are called in files.
    private static let kinds = ["conv2d", "depthwise_conv2d", "batch_normalization", "dense"]
    /// Layers at the end of a table that a file may lack.
    private static let longestHead = 3

    /// By the path of a group; a group that no network explains has none.
    ///
    /// - Parameter groups: those whose layers have no name; of each container and class in order.
    static func names(of groups: [Keras3File.Group]) -> [String: Match] {
        var names: [String: Match] = [:]
        for (_, members) in Dictionary(grouping: groups, by: \.container) {
            let present = Dictionary(grouping: members, by: \.kind)
            guard members.count > 1, present.keys.allSatisfy(kinds.contains),
                let table = Self.table(for: present)
            else { continue }
            let layers = Dictionary(grouping: table, by: \.group)
            for (kind, layers) in layers {
                for (group, layer) in zip(present[kind] ?? [], layers) {
                    names[group.path] = Match(layer: layer.name, variables: layer.variables.map(\.name))
                }
            }
        }
        return names
    }

    /// The layers that a file has of the network that fits it best, in their order.
    private static func table(for present: [String: [Keras3File.Group]]) -> [KerasLayer]? {
        for dropped in 0...longestHead {
            var best: (layers: [KerasLayer], score: Int)?
            for architecture in Family.kerasNetworks {
                guard let table = architecture.kerasLayers, dropped < table.count else { continue }
                let kept = Array(table.dropLast(dropped))
                // The classifier has no batch norm.
                let isHead = table.suffix(dropped).allSatisfy { $0.group != "batch_normalization" }
                guard isHead, fits(kept, present) else { continue }
                let score = Self.score(kept, present, architecture)
                if score > best?.score ?? -1 { best = (kept, score) }
            }
            if let best { return best.layers }
        }
        return nil
    }

    private static func fits(_ table: [KerasLayer], _ present: [String: [Keras3File.Group]]) -> Bool {
        let wanted = Dictionary(grouping: table, by: \.group)
        return kinds.allSatisfy { kind in
            let (layers, groups) = (wanted[kind] ?? [], present[kind] ?? [])
            // A network without its classifier may have another.
            if kind == "dense", layers.isEmpty { return true }
            return layers.count == groups.count
                && zip(layers, groups).allSatisfy { layer, group in
                    layer.variables.count == group.entries.count
                        && group.entries.first?.tensor.shape.count == rank(kind)
                }
        }
    }

    private static func rank(_ kind: String) -> Int {
        switch kind {
        case "batch_normalization": 1
        case "dense": 2
        default: 4
        }
    }

    /// How many arrays have the very shapes of the network, to choose between networks of the same layers.
    private static func score(
        _ table: [KerasLayer], _ present: [String: [Keras3File.Group]], _ architecture: Architecture
    ) -> Int {
        let store = architecture.network().store
        var count = 0
        for (kind, layers) in Dictionary(grouping: table, by: \.group) {
            for (layer, group) in zip(layers, present[kind] ?? []) {
                for (variable, entry) in zip(layer.variables, group.entries) {
                    let mapped = MappedTensor(
                        path: variable.path, stored: entry.tensor, conversion: layer.conversion(of: variable))
                    if store[variable.path]?.shape == mapped.shape { count += 1 }
                }
            }
        }
        return count
    }
}
