import Training

/// Fine-tuning: every layer starts from somebody else's weights and goes on learning.
///
/// Yosinski et al. (2014, https://arxiv.org/abs/1411.1792) find that even features that are transferred
/// from a distant task generalise better than random ones once they are fine-tuned. The head usually
/// learns faster than the layers below it: give it a parameter group of its own, and let the rest start
/// from a small learning rate so that a head of random weights does not wash the features out.
public enum FineTuning {
    /// The phase in which everything learns but what `rules` freeze.
    ///
    /// - Parameters:
    ///   - phase: lengths, data, objective and optimizer; its turns' trainable sets are replaced.
    ///   - rules: exceptions, in order; parts that are frozen keep their batch-norm statistics.
    public static func phases(_ phase: Phase, rules: [TrainableSet.Rule] = []) -> [Phase] {
        [phase.learning(TrainableSet(rules: rules))]
    }
}
