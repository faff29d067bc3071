import Collectives

/// Which parameters learn: rules applied in order to a network in which everything learns, the last
/// matching rule deciding.
public struct TrainableSet: Codable, Equatable, Sendable {
    /// One step of the set: parameters that match `pattern` stop or start to learn.
    public struct Rule: Codable, Equatable, Sendable {
        public enum Action: String, Codable, Sendable { case freeze, learn }

        public var action: Action
        /// See `NamePattern`.
        public var pattern: String

        public init(_ action: Action, _ pattern: String) {
            self.action = action
            self.pattern = pattern
        }

        public static func freeze(_ pattern: String) -> Rule { Rule(.freeze, pattern) }
        public static func learn(_ pattern: String) -> Rule { Rule(.learn, pattern) }
    }

    public var rules: [Rule]

    public init(rules: [Rule] = []) {
        self.rules = rules
    }

    /// Every parameter learns.
    public static let everything = TrainableSet()
    /// Only the classifier learns.
    public static let headOnly = TrainableSet(rules: [.freeze("*"), .learn("head")])

    /// Which of a network's parameters learn, and which batch-norm statistics stay put because
    /// nothing in their layer learns.
    ///
    /// - Parameters:
    ///   - parameterPaths: every parameter, in the network's order.
    ///   - bufferPaths: every buffer; the layers that hold one are taken for batch norm.
    ///   - headPrefix: the path of the classifier, which the pattern `head` stands for.
    /// - Throws: `TrainingError.patternWithoutMatch` for a rule that matches no parameter,
    ///   `TrainingError.nothingLearns` where the rules leave no parameter to train.
    public func resolve(
        parameterPaths: [String], bufferPaths: [String] = [], headPrefix: String? = nil
    ) throws -> ResolvedTrainableSet {
        for rule in rules {
            try Self.requireMatch(
                of: rule.pattern, role: rule.action.rawValue, in: parameterPaths, headPrefix: headPrefix)
        }
        let trainable = parameterPaths.filter { learns($0, headPrefix: headPrefix) }
        guard !trainable.isEmpty else {
            throw TrainingError.nothingLearns(rules: rules.map { "\($0.action.rawValue) \($0.pattern)" })
        }
        let learning = Set(trainable)
        return ResolvedTrainableSet(
            trainable: trainable, frozen: parameterPaths.filter { !learning.contains($0) },
            frozenBatchNormPrefixes: frozenLayers(
                among: bufferPaths, parameterPaths: parameterPaths, learning: learning,
                headPrefix: headPrefix))
    }

    /// Throws the error that names `pattern` and its nearest neighbours unless it matches some path.
    static func requireMatch(
        of pattern: String, role: String, in paths: [String], headPrefix: String?
    ) throws {
        let glob = NamePattern(pattern)
        if paths.contains(where: { glob.matches($0, headPrefix: headPrefix) }) { return }
        var stem = pattern
        while stem.hasSuffix("*") || stem.hasSuffix(".") { stem.removeLast() }
        let known = namesAtAnyDepth(paths) + (headPrefix == nil ? [] : ["head"])
        throw TrainingError.patternWithoutMatch(
            role: role, pattern: pattern, nearest: nearestNames(to: stem, among: known))
    }

    private func learns(_ path: String, headPrefix: String?) -> Bool {
        let last = rules.last { NamePattern($0.pattern).matches(path, headPrefix: headPrefix) }
        return last?.action != .freeze
    }

    /// Prefixes of the layers that hold buffers and in which nothing learns. A layer without
    /// parameters of its own follows the rules as if its buffers were parameters.
    private func frozenLayers(
        among bufferPaths: [String], parameterPaths: [String], learning: Set<String>, headPrefix: String?
    ) -> [String] {
        let owned = Dictionary(grouping: parameterPaths, by: parentPath)
        var seen = Set<String>()
        return bufferPaths.compactMap { buffer in
            let layer = parentPath(buffer)
            guard seen.insert(layer).inserted else { return nil }
            if let parameters = owned[layer] {
                return parameters.contains(where: learning.contains) ? nil : layer
            }
            return learns(buffer, headPrefix: headPrefix) ? nil : layer
        }
    }
}

/// A trainable set applied to one network.
public struct ResolvedTrainableSet: Equatable, Sendable {
    /// Paths of the parameters that learn, in the network's order.
    public let trainable: [String]
    /// Paths of all others, in the network's order.
    public let frozen: [String]
    /// Paths of the batch-norm layers that normalise with their running statistics and leave them
    /// as they are.
    public let frozenBatchNormPrefixes: [String]
}

/// The path without its last component, empty for a path of one.
func parentPath(_ path: String) -> String {
    path.lastIndex(of: ".").map { String(path[..<$0]) } ?? ""
}

/// Every path and every prefix of it that ends before a dot.
private func namesAtAnyDepth(_ paths: [String]) -> [String] {
    var names = Set<String>()
    for path in paths {
        var name = path
        while !name.isEmpty, names.insert(name).inserted { name = parentPath(name) }
    }
    return Array(names)
}
