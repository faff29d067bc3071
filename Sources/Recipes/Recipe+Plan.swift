import Training
import Transfer

extension Recipe {
    /// The phases this recipe asks for, techniques expanded.
    public func plan() -> TransferPlan {
        TransferPlan(phases: phases.flatMap { $0.expanded() })
    }
}

extension Recipe.Phase {
    /// The phase or phases of the technique.
    func expanded() -> [Phase] {
        let phase = Phase(
            name: name, length: length,
            streams: [DataStream(name: "train", dataset: "train", batch: batch)], turns: [turn],
            batchNorm: batchNorm, recomputes: recomputes)
        switch technique {
        case .fineTuning: return FineTuning.phases(phase, rules: rules)
        case .featureExtraction: return FeatureExtraction.phases(phase)
        case .fromScratch: return FromScratch.phases(phase)
        case .gradualUnfreezing: return GradualUnfreezing.phases(phase, order: unfreeze)
        }
    }

    private var turn: Turn {
        Turn(
            objective: .crossEntropy(labelSmoothing: labelSmoothing), optimizer: optimizer.configuration(groups),
            schedule: schedule, clipNorm: clipNorm, accumulate: accumulate)
    }
}

extension Recipe.Optimizer {
    /// The optimizer as the training loop takes it.
    func configuration(_ groups: [ParameterGroup]) -> OptimizerConfiguration {
        OptimizerConfiguration(
            rule: rule, learningRate: learningRate, momentum: momentum, usesNesterov: usesNesterov, beta1: beta1,
            beta2: beta2, epsilon: epsilon, weightDecay: weightDecay, decaysNormalization: decaysNormalization,
            groups: groups)
    }
}
