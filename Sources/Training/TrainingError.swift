import Collectives

/// What can go wrong between a plan and a training step.
public enum TrainingError: GraftError, Equatable {
    /// A freeze or learn rule, or the pattern of a parameter group, names nothing in the network.
    case patternWithoutMatch(role: String, pattern: String, nearest: [String])
    /// The rules freeze everything.
    case nothingLearns(rules: [String])
    /// A parameter group covers only parameters that do not learn.
    case groupWithoutTrainable(pattern: String)
    /// Saved optimizer state that does not belong to this optimizer.
    case optimizerStateMismatch(entry: String, expected: String, actual: String)
    /// A batch without a field that the objective reads.
    case missingField(objective: String, stream: String, field: String)
    /// A label outside the classes of the network.
    case labelOutOfRange(label: Int, classes: Int)
    /// The loss is not a finite number.
    case divergedLoss(value: Double, phase: String, step: Int)
    /// The loss of an evaluation is not a finite number.
    case notFiniteLoss(value: Double, source: String)
    /// Weights that are not finite numbers, about to be saved.
    case divergedWeights(names: [String], step: Int)
    /// The norm of the gradient is not a finite number.
    case divergedGradient(phase: String, step: Int)

    public var exitCode: ExitCode {
        switch self {
        case .patternWithoutMatch, .nothingLearns, .groupWithoutTrainable: .usage
        case .optimizerStateMismatch, .missingField, .labelOutOfRange: .data
        case .divergedLoss, .divergedGradient, .notFiniteLoss, .divergedWeights: .numerical
        }
    }
}

extension TrainingError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .patternWithoutMatch(let role, let pattern, let nearest):
            let hint = nearest.isEmpty ? "" : "; the nearest are " + nearest.joined(separator: ", ")
            return "\(role): the pattern '\(pattern)' matches no parameter\(hint)"
        case .nothingLearns(let rules):
            return "freeze: nothing is left to learn after \(rules.joined(separator: ", ")); "
                + "add a learn rule such as 'learn: head'"
        case .groupWithoutTrainable(let pattern):
            return "groups: the pattern '\(pattern)' matches only frozen parameters; "
                + "let them learn or remove the group"
        case .optimizerStateMismatch(let entry, let expected, let actual):
            return "optimizer state '\(entry)': expected \(expected), found \(actual); "
                + "resume with the recipe that wrote the checkpoint"
        case .missingField(let objective, let stream, let field):
            return "objective \(objective): the batches of stream '\(stream)' have no field '\(field)'"
        case .labelOutOfRange(let label, let classes):
            return "label \(label) does not fit a network with \(classes) classes; "
                + "give the model a new head (model.head: new) or select the classes it knows"
        case .divergedLoss(let value, let phase, let step):
            return "phase '\(phase)', step \(step): the loss is \(value); lower the learning rate, "
                + "lengthen the warm-up or set clip-norm"
        case .notFiniteLoss(let value, let source):
            return "\(source): the loss on it is \(value): the network overflows; take weights from before training "
                + "diverged, or train again with a lower learning rate or clip-norm"
        case .divergedWeights(let names, let step):
            return
                "step \(step): \(names.prefix(3).joined(separator: ", ")) (of \(names.count)) would be saved with NaN "
                + "or infinity; lower the learning rate, lengthen the warm-up or set clip-norm"
        case .divergedGradient(let phase, let step):
            return "phase '\(phase)', step \(step): the gradient is not a finite number; lower the "
                + "learning rate, lengthen the warm-up or set clip-norm"
        }
    }
}
