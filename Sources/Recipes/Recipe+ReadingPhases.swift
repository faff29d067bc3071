import Training

extension RecipeNode {
    /// A phase with what `train:` says for all phases wherever the phase says nothing itself.
    ///
    /// Mappings are merged key by key, but one that names another optimizer or schedule stands alone, and
    /// keys that exclude each other are not inherited beside each other.
    func inheriting(from common: RecipeNode?) -> RecipeNode {
        guard case .mapping(let own) = content, case .mapping(let given)? = common?.content else { return self }
        let rivals = [["epochs", "steps"], ["transfer", "unfreeze", "freeze", "learn", "rules"]]
        var merged = self
        for entry in given {
            if let mine = own.first(where: { $0.key == entry.key })?.value {
                guard entry.key == "optimizer" || entry.key == "schedule" else { continue }
                guard mine["name"] == nil || mine["name"] == entry.value["name"] else { continue }
                if case .mapping = mine.content, case .mapping = entry.value.content {
                    merged[entry.key] = mine.inheriting(from: entry.value)
                } else if case .mapping = mine.content, case .scalar = entry.value.content, mine["name"] == nil {
                    merged[entry.key]?["name"] = entry.value
                }
                continue
            }
            let excluded = rivals.contains { group in
                group.contains(entry.key) && own.contains { group.contains($0.key) }
            }
            if !excluded { merged[entry.key] = entry.value }
        }
        return merged
    }
}

extension Recipe.Phase {
    static let keys = [
        "name", "epochs", "steps", "batch", "transfer", "unfreeze", "freeze", "learn", "rules", "optimizer",
        "groups", "schedule", "clip-norm", "accumulate", "recompute", "label-smoothing", "batch-norm",
    ]

    init(_ section: Section, defaultName: String, hasWeights: Bool) throws {
        self.init(
            name: try section.text("name") ?? defaultName, length: try Self.length(section),
            technique: try section.choice("transfer", of: Technique.self)
                ?? (hasWeights ? .fineTuning : .fromScratch))
        // A batch times the largest image times a network must not overflow.
        batch = try section.integer("batch", atLeast: 1, atMost: 100_000) ?? batch
        unfreeze = try section.words("unfreeze") ?? unfreeze
        rules = try Self.rules(section)
        optimizer = try Recipe.Optimizer(section) ?? optimizer
        groups = try Self.groups(section)
        schedule = try Self.schedule(section, length: length) ?? schedule
        clipNorm = try section.number("clip-norm", "give a number above 0, or remove the key") { $0 > 0 }
        accumulate = try section.integer("accumulate", atLeast: 1) ?? accumulate
        recomputes = try section.flag("recompute") ?? recomputes
        labelSmoothing =
            try section.number("label-smoothing", "give a number from 0 to below 1") { $0 >= 0 && $0 < 1 }
            ?? labelSmoothing
        batchNorm = try section.choice("batch-norm", of: BatchNormStatistics.self) ?? batchNorm
        if accumulate > batch {
            throw section.conflict(
                "accumulate", "a batch of \(batch) cannot be computed in that many parts",
                "give at most the batch")
        }
        try checkTechnique(section, hasWeights: hasWeights)
    }

    private static func length(_ section: Section) throws -> PhaseLength {
        let epochs = try section.integer("epochs", atLeast: 1)
        let steps = try section.integer("steps", atLeast: 1)
        switch (epochs, steps) {
        case (let epochs?, nil): return .epochs(epochs)
        case (nil, let steps?): return .steps(steps)
        case (nil, nil):
            throw RecipeError.missingKey(
                place: section.place, key: section.fullName("epochs"), remedy: "say how long to train: epochs or steps")
        case (_?, _?):
            throw section.conflict(
                "steps", "'\(section.fullName("epochs"))' is given too", "choose one of the two")
        }
    }

    private func checkTechnique(_ section: Section, hasWeights: Bool) throws {
        let isGradual = technique == .gradualUnfreezing
        if technique != .fromScratch, !hasWeights {
            throw section.conflict(
                "transfer", "there is nothing to transfer without model.weights",
                "give model.weights or set transfer to from-scratch")
        }
        if technique == .fromScratch, hasWeights {
            throw section.conflict(
                "transfer", "model.weights is given", "set model.weights to none or transfer to fine-tuning")
        }
        if let key = ["freeze", "learn", "rules"].first(where: { section.value($0) != nil }),
            technique != .fineTuning
        {
            throw section.conflict(
                key, "transfer: \(technique.rawValue) decides what learns",
                "remove it or set transfer to fine-tuning")
        }
        if isGradual, unfreeze.isEmpty {
            throw RecipeError.missingKey(
                place: section.place, key: section.fullName("unfreeze"),
                remedy: "list what starts to learn, phase by phase, such as [head, layer3, layer2]")
        }
        if !isGradual, !unfreeze.isEmpty {
            throw section.conflict(
                "unfreeze", "transfer is \(technique.rawValue)", "set transfer to gradual-unfreezing")
        }
    }

    /// `freeze:` then `learn:`, or `rules:` in any order.
    private static func rules(_ section: Section) throws -> [TrainableSet.Rule] {
        let freeze = try section.words("freeze") ?? []
        let learn = try section.words("learn") ?? []
        guard let items = try section.items("rules") else {
            if freeze.isEmpty, !learn.isEmpty {
                throw section.conflict(
                    "learn", "nothing is frozen, so that everything learns anyway",
                    "add freeze: \"*\" to let only these learn")
            }
            return freeze.map { .freeze($0) } + learn.map { .learn($0) }
        }
        if let key = ["freeze", "learn"].first(where: { section.value($0) != nil }) {
            throw section.conflict(key, "'\(section.fullName("rules"))' is given too", "move it into the rules")
        }
        return try items.flatMap { item -> [TrainableSet.Rule] in
            let rule = try Section(item.node, path: item.path, keys: ["freeze", "learn"])
            switch (try rule.words("freeze"), try rule.words("learn")) {
            case (let patterns?, nil): return patterns.map { .freeze($0) }
            case (nil, let patterns?): return patterns.map { .learn($0) }
            default:
                throw RecipeError.invalidValue(
                    place: rule.place, key: item.path, value: "not one rule", rule: "give either freeze or learn")
            }
        }
    }

    private static func groups(_ section: Section) throws -> [ParameterGroup] {
        try (section.items("groups") ?? []).map { item in
            let group = try Section(
                item.node, path: item.path, keys: ["match", "learning-rate-factor", "weight-decay"])
            guard let patterns = try group.words("match") else {
                throw RecipeError.missingKey(
                    place: group.place, key: group.fullName("match"),
                    remedy: "name the parameters, such as head or layer4.*")
            }
            let factor = try group.number("learning-rate-factor", "give a number above 0") { $0 > 0 }
            let decay = try group.number("weight-decay", "give 0 or more") { $0 >= 0 }
            if factor == nil, decay == nil {
                throw RecipeError.missingKey(
                    place: group.place, key: group.fullName("learning-rate-factor"),
                    remedy: "give it or weight-decay, or remove the group")
            }
            return ParameterGroup(patterns: patterns, learningRateFactor: factor ?? 1, weightDecay: decay)
        }
    }

    private static func schedule(_ parent: Section, length: PhaseLength) throws -> Schedule? {
        typealias Defaults = Recipe.ScheduleDefaults
        guard let section = try parent.named("schedule", keys: ["every", "milestones", "factor", "end", "warm-up"])
        else { return nil }
        let name = try section.choice("name", of: ScheduleName.self) ?? .constant
        for key in ["every", "milestones", "factor", "end"] where section.value(key) != nil {
            guard name.keys.contains(key) else {
                let remedy = name.keys.isEmpty ? "remove it" : "remove it or use \(name.keys.joined(separator: ", "))"
                throw section.conflict(key, "the schedule is \(name.rawValue)", remedy)
            }
        }
        let factor = try section.number("factor", "give a number above 0") { $0 > 0 } ?? Defaults.factor
        let end = try section.number("end", "give a number from 0 to 1") { $0 >= 0 && $0 <= 1 } ?? Defaults.end
        let warmUp = try Self.warmUp(section, length: length)
        switch name {
        case .constant: return Schedule(shape: .constant, warmUp: warmUp)
        case .cosine: return Schedule(shape: .cosine(end: end), warmUp: warmUp)
        case .linear: return Schedule(shape: .linear(end: end), warmUp: warmUp)
        case .step: return Schedule(shape: try Self.steps(section, factor: factor), warmUp: warmUp)
        }
    }

    private enum ScheduleName: String, CaseIterable {
        case constant, step, cosine, linear

        var keys: [String] {
            switch self {
            case .constant: []
            case .step: ["every", "milestones", "factor"]
            case .cosine, .linear: ["end"]
            }
        }
    }

    private static func steps(_ section: Section, factor: Double) throws -> Schedule.Shape {
        let every = try section.integer("every", atLeast: 1)
        let rule = "give rising whole numbers of epochs, each 1 or more"
        let milestones = try section.numbers("milestones", rule) { values in
            !values.isEmpty && values.allSatisfy { $0 >= 1 && $0 == $0.rounded() && $0 < 1e9 }
                && zip(values, values.dropFirst()).allSatisfy { $0 < $1 }
        }
        switch (every, milestones) {
        case (let every?, nil): return .step(epochs: every, factor: factor)
        case (nil, let milestones?): return .milestones(epochs: milestones.map { Int($0) }, factor: factor)
        case (nil, nil):
            throw RecipeError.missingKey(
                place: section.place, key: section.fullName("every"),
                remedy: "give every (a number of epochs) or milestones (a list of epochs)")
        case (_?, _?):
            throw section.conflict("milestones", "'\(section.fullName("every"))' is given too", "choose one of the two")
        }
    }

    private static func warmUp(_ parent: Section, length: PhaseLength) throws -> Schedule.WarmUp? {
        guard let section = try parent.section("warm-up", keys: ["epochs", "steps", "start"]) else { return nil }
        let warmUp = Schedule.WarmUp(
            length: try self.length(section),
            start: try section.number("start", "give a number from 0 to 1") { $0 >= 0 && $0 <= 1 }
                ?? Recipe.ScheduleDefaults.warmUpStart)
        switch (warmUp.length, length) {
        case (.epochs(let part), .epochs(let whole)) where part >= whole:
            throw section.conflict("epochs", "the phase lasts \(whole)", "let the warm-up be shorter")
        case (.steps(let part), .steps(let whole)) where part >= whole:
            throw section.conflict("steps", "the phase lasts \(whole)", "let the warm-up be shorter")
        default: return warmUp
        }
    }
}

extension Recipe.Optimizer {
    init?(_ parent: Section) throws {
        typealias Rule = OptimizerConfiguration.Rule
        let keys = [
            "learning-rate", "momentum", "nesterov", "betas", "epsilon", "weight-decay", "decay-normalisation",
        ]
        guard let section = try parent.named("optimizer", keys: keys) else { return nil }
        self.init(rule: try section.choice("name", of: Rule.self) ?? Self().rule)
        for key in rule == .sgd ? ["betas", "epsilon"] : ["momentum", "nesterov"] where section.value(key) != nil {
            throw section.conflict(
                key, "the optimizer is \(rule.rawValue)",
                rule == .sgd ? "remove it or use adam or adamw" : "remove it or use sgd")
        }
        learningRate = try section.number("learning-rate", "give a number above 0") { $0 > 0 } ?? learningRate
        momentum = try section.number("momentum", Self.unitRule, where: Self.isBelowOne) ?? momentum
        usesNesterov = try section.flag("nesterov") ?? usesNesterov
        let betas = try section.numbers("betas", "give two numbers from 0 to below 1, such as [0.9, 0.999]") {
            $0.count == 2 && $0.allSatisfy(Self.isBelowOne)
        }
        (beta1, beta2) = betas.map { ($0[0], $0[1]) } ?? (beta1, beta2)
        epsilon = try section.number("epsilon", "give a number above 0") { $0 > 0 } ?? epsilon
        weightDecay = try section.number("weight-decay", "give 0 or more") { $0 >= 0 } ?? weightDecay
        decaysNormalization = try section.flag("decay-normalisation") ?? decaysNormalization
        if usesNesterov, momentum == 0 {
            throw section.conflict("nesterov", "the momentum is 0", "give a momentum such as 0.9")
        }
    }

    private static let unitRule = "give a number from 0 to below 1"
    private static func isBelowOne(_ value: Double) -> Bool { value >= 0 && value < 1 }
}

extension Section {
    /// A section that may also be given as its name alone: `optimizer: adam`.
    func named(_ key: String, keys: [String]) throws -> Section? {
        guard let node = value(key) else { return nil }
        let keys = ["name"] + keys
        guard case .scalar = node.content else { return try section(key, keys: keys) }
        let entry = RecipeNode.Entry(key: "name", origin: node.origin, value: node)
        return try Section(
            RecipeNode(content: .mapping([entry]), origin: node.origin), path: fullName(key), keys: keys)
    }
}
