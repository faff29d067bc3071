import Training

/// Gradual unfreezing: the head learns first, then the layers below join from the top down.
///
/// Howard and Ruder (2018, https://arxiv.org/abs/1801.06146, section 3.3): thawing everything at once
/// lets the gradients of a random head overwrite what the lower layers know. Each phase is a full one,
/// with its own optimizer state and schedule; only what has thawed costs backward time and traffic.
public enum GradualUnfreezing {
    /// One phase per entry of `order`.
    ///
    /// - Parameters:
    ///   - phase: what each of the phases is like: its length is that of one. Turns' trainable sets are
    ///     replaced and the names get a suffix.
    ///   - order: what starts to learn, phase by phase: name patterns such as `head`, `layer4`, `layer3`.
    ///     What has started goes on.
    public static func phases(_ phase: Phase, order: [String]) -> [Phase] {
        order.indices.map { index in
            let rules = [.freeze("*")] + order[...index].map(TrainableSet.Rule.learn)
            var thawed = phase.learning(TrainableSet(rules: rules))
            thawed.name = "\(phase.name)-\(index + 1)"
            for turn in thawed.turns.indices {
                thawed.turns[turn].optimizer.groups = thawed.turns[turn].optimizer.groups.compactMap { group in
                    var group = group
                    // What is for a layer that is still frozen would cover nothing.
                    group.patterns.removeAll {
                        isPattern($0, for: order[(index + 1)...]) && !isPattern($0, for: order[...index])
                    }
                    return group.patterns.isEmpty ? nil : group
                }
            }
            return thawed
        }
    }

    /// Whether a group's pattern names one of the layers or a part of one.
    private static func isPattern(_ pattern: String, for layers: ArraySlice<String>) -> Bool {
        layers.contains { pattern == $0 || pattern.hasPrefix($0 + ".") }
    }
}
