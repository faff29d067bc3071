import Tensors

/// A parameter as an optimizer sees it.
public struct OptimizedParameter: Equatable, Sendable {
    public let path: String
    public let count: Int
    /// A bias or a parameter of a normalisation layer, which decays only if the configuration says so.
    public let isBiasOrNormalization: Bool

    public init(path: String, count: Int, isBiasOrNormalization: Bool) {
        self.path = path
        self.count = count
        self.isBiasOrNormalization = isBiasOrNormalization
    }
}

/// One optimizer over the parameters of one trainable set: keeps their state and takes steps.
///
///     optimizer.beginStep()
///     for each parameter:  optimizer.update(path, values:, gradient:, learningRate:, gradientScale:)
///
/// Not safe to use from several threads at once; a step spreads its own work.
public final class Optimizer {
    public let configuration: OptimizerConfiguration
    /// How many steps have begun; part of the state.
    public private(set) var stepCount = 0

    private let rule: any UpdateRule
    private var slots: [String: Slot] = [:]
    private let order: [String]

    private struct Slot {
        let state: [StateBuffer]
        let count: Int
        let learningRateFactor: Double
        let weightDecay: Double
    }

    /// - Parameters:
    ///   - parameters: what learns.
    ///   - frozenPaths: the network's other parameters, only to tell a group that covers nothing from
    ///     one that covers frozen parameters.
    ///   - headPrefix: the path of the classifier, which the pattern `head` stands for.
    /// - Throws: `TrainingError.patternWithoutMatch` and `TrainingError.groupWithoutTrainable` for groups.
    public init(
        configuration: OptimizerConfiguration, parameters: [OptimizedParameter], frozenPaths: [String] = [],
        headPrefix: String? = nil
    ) throws {
        self.configuration = configuration
        rule = configuration.updateRule
        order = parameters.map(\.path)
        try configuration.checkGroups(learning: order, frozen: frozenPaths, headPrefix: headPrefix)
        for parameter in parameters {
            slots[parameter.path] = makeSlot(for: parameter, headPrefix: headPrefix)
        }
    }

    private func makeSlot(for parameter: OptimizedParameter, headPrefix: String?) -> Slot {
        let group = configuration.groups.first { group in
            group.patterns.contains { NamePattern($0).matches(parameter.path, headPrefix: headPrefix) }
        }
        let isExempt = parameter.isBiasOrNormalization && !configuration.decaysNormalization
        return Slot(
            state: rule.stateNames.map { _ in StateBuffer(count: parameter.count) }, count: parameter.count,
            learningRateFactor: group?.learningRateFactor ?? 1,
            weightDecay: group?.weightDecay ?? (isExempt ? 0 : configuration.weightDecay))
    }

    /// Starts the next step; every parameter is updated once after it.
    public func beginStep() {
        stepCount += 1
    }

    /// Takes the current step for one parameter, or for a stretch of it.
    ///
    /// - Parameters:
    ///   - path: one of the parameters given at the start; traps otherwise.
    ///   - values: the parameter, row-major, or the stretch; updated in place.
    ///   - gradient: as long as `values`.
    ///   - offset: where in the parameter a stretch begins; nil for all of it.
    ///   - learningRate: after the schedule; the group's factor is applied here.
    ///   - gradientScale: from `GradientClipping.scale`, or 1.
    public func update(
        _ path: String, values: UnsafeMutableBufferPointer<Float>, gradient: UnsafeBufferPointer<Float>,
        learningRate: Double, gradientScale: Double = 1, at offset: Int? = nil
    ) {
        guard let slot = slots[path] else { preconditionFailure("optimizer: no parameter '\(path)'") }
        let first = offset ?? 0
        precondition(
            gradient.count == values.count && first >= 0
                && (offset == nil ? values.count == slot.count : first + values.count <= slot.count),
            "optimizer: '\(path)' has \(slot.count) elements, not \(values.count) with \(gradient.count) gradients")
        let settings = StepSettings(
            learningRate: learningRate * slot.learningRateFactor, weightDecay: slot.weightDecay,
            gradientScale: gradientScale, step: stepCount)
        forEachRange(of: values.count) { range in
            let place = range.lowerBound + first..<range.upperBound + first
            rule.update(
                values: UnsafeMutableBufferPointer(rebasing: values[range]),
                gradient: UnsafeBufferPointer(rebasing: gradient[range]),
                state: slot.state.map { UnsafeMutableBufferPointer(rebasing: $0.elements[place]) },
                settings: settings)
        }
    }

    /// Spreads a step over threads; the bits do not depend on how.
    private func forEachRange(of count: Int, _ body: (Range<Int>) -> Void) {
        Threads.parallelFor(count: count, grain: 1 << 15, body)
    }
}

extension Optimizer {
    /// Everything to save for exact resumption: one entry per kind of state and parameter, in the
    /// order of the parameters.
    public var state: OptimizerState {
        let entries = order.flatMap { path in
            zip(rule.stateNames, slots[path]?.state ?? []).map { name, buffer in
                OptimizerState.Entry(name: name, path: path, values: Array(buffer.elements))
            }
        }
        return OptimizerState(rule: configuration.rule, stepCount: stepCount, entries: entries)
    }

    /// Takes up where the optimizer that gave `state` stopped.
    ///
    /// - Throws: `TrainingError.optimizerStateMismatch` for another rule, or entries that are missing,
    ///   unknown or of another size; nothing has changed then.
    public func restore(_ state: OptimizerState) throws {
        guard state.rule == configuration.rule else {
            throw TrainingError.optimizerStateMismatch(
                entry: "rule", expected: configuration.rule.rawValue, actual: state.rule.rawValue)
        }
        var buffers: [String: StateBuffer] = [:]
        for path in order {
            for (name, buffer) in zip(rule.stateNames, slots[path]?.state ?? []) { buffers["\(name)/\(path)"] = buffer }
        }
        var given = Set<String>()
        for entry in state.entries {
            let key = "\(entry.name)/\(entry.path)"
            guard let buffer = buffers[key] else {
                throw TrainingError.optimizerStateMismatch(
                    entry: key, expected: "no such entry", actual: "\(entry.values.count) values")
            }
            guard buffer.elements.count == entry.values.count else {
                throw TrainingError.optimizerStateMismatch(
                    entry: key, expected: "\(buffer.elements.count) values", actual: "\(entry.values.count)")
            }
            given.insert(key)
        }
        if let missing = buffers.keys.filter({ !given.contains($0) }).min() {
            throw TrainingError.optimizerStateMismatch(entry: missing, expected: "an entry", actual: "none")
        }
        for entry in state.entries {
            _ = buffers["\(entry.name)/\(entry.path)"]?.elements.update(fromContentsOf: entry.values)
        }
        stepCount = state.stepCount
    }
}

/// An optimizer's memory as flat buffers, for checkpoints.
public struct OptimizerState: Codable, Equatable, Sendable {
    /// One kind of state of one parameter.
    public struct Entry: Codable, Equatable, Sendable {
        /// `momentum`, `first_moment` or `second_moment`.
        public var name: String
        /// The parameter it belongs to.
        public var path: String
        /// In the parameter's row-major order.
        public var values: [Float]

        public init(name: String, path: String, values: [Float]) {
            self.name = name
            self.path = path
            self.values = values
        }
    }

    public var rule: OptimizerConfiguration.Rule
    public var stepCount: Int
    public var entries: [Entry]

    public init(rule: OptimizerConfiguration.Rule, stepCount: Int, entries: [Entry]) {
        self.rule = rule
        self.stepCount = stepCount
        self.entries = entries
    }
}

/// Zeroed memory that stays where it is.
private final class StateBuffer {
    let elements: UnsafeMutableBufferPointer<Float>

    init(count: Int) {
        elements = .allocate(capacity: count)
        elements.initialize(repeating: 0)
    }

    deinit {
        elements.deallocate()
    }
}
