/// Which update rule a turn uses, and its settings.
///
/// There are no defaults here: a recipe has them (`Recipe.Optimizer`).
public struct OptimizerConfiguration: Codable, Equatable, Sendable {
    /// The update rules by the names recipes use.
    public enum Rule: String, Codable, CaseIterable, Sendable {
        case sgd, adam, adamw
    }

    public var rule: Rule
    /// Before the schedule's factor; never rescaled by ranks or batch.
    public var learningRate: Double
    /// SGD only, in 0..<1; 0 keeps no state.
    public var momentum: Double
    /// SGD only.
    public var usesNesterov: Bool
    /// Adam and AdamW only: decay of the first and second moment, each in 0..<1.
    public var beta1: Double
    public var beta2: Double
    /// Adam and AdamW only, above 0.
    public var epsilon: Double
    /// SGD and Adam add it times the parameter to the gradient (L2); AdamW shrinks the parameter
    /// itself by learning rate times it (decoupled).
    public var weightDecay: Double
    /// Whether biases and the parameters of normalisation layers decay too.
    public var decaysNormalization: Bool
    /// Parameters that learn differently; of several groups that match one, the first counts.
    public var groups: [ParameterGroup]

    public init(
        rule: Rule, learningRate: Double, momentum: Double, usesNesterov: Bool, beta1: Double,
        beta2: Double, epsilon: Double, weightDecay: Double, decaysNormalization: Bool,
        groups: [ParameterGroup]
    ) {
        self.rule = rule
        self.learningRate = learningRate
        self.momentum = momentum
        self.usesNesterov = usesNesterov
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        self.decaysNormalization = decaysNormalization
        self.groups = groups
    }

    /// Refuses parameter groups that cover nothing that learns.
    ///
    /// - Parameters:
    ///   - learning: paths of the parameters that learn.
    ///   - frozen: those of the others, to tell a mistyped pattern from one for frozen parameters.
    ///   - headPrefix: the path of the classifier, which the pattern `head` stands for.
    /// - Throws: `TrainingError.patternWithoutMatch` and `TrainingError.groupWithoutTrainable`.
    public func checkGroups(learning: [String], frozen: [String], headPrefix: String?) throws {
        for pattern in groups.flatMap(\.patterns) {
            try TrainableSet.requireMatch(of: pattern, role: "groups", in: learning + frozen, headPrefix: headPrefix)
            let glob = NamePattern(pattern)
            guard learning.contains(where: { glob.matches($0, headPrefix: headPrefix) }) else {
                throw TrainingError.groupWithoutTrainable(pattern: pattern)
            }
        }
    }
}

/// Parameters that learn at a rate or with a weight decay of their own.
public struct ParameterGroup: Codable, Equatable, Sendable {
    /// A parameter belongs where any of them matches; see `NamePattern`.
    public var patterns: [String]
    /// Times the learning rate of the turn.
    public var learningRateFactor: Double
    /// In place of the optimizer's, for every parameter of the group; nil keeps that.
    public var weightDecay: Double?

    public init(patterns: [String], learningRateFactor: Double = 1, weightDecay: Double? = nil) {
        self.patterns = patterns
        self.learningRateFactor = learningRateFactor
        self.weightDecay = weightDecay
    }
}
