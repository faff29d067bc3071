import Training

/// Feature extraction: the network is a fixed function; only a new head learns on top of it.
///
/// Donahue et al. (2014, https://arxiv.org/abs/1310.1531) and Razavian et al. (2014,
/// https://arxiv.org/abs/1403.6382) take activations of an ImageNet network as features for other tasks.
/// The right choice for few images close to what the network knows: nothing else can be forgotten,
/// gradients stop at the head, and only the head's gradient crosses the network. Batch norm uses its
/// running statistics throughout, because everything it belongs to is frozen.
public enum FeatureExtraction {
    /// The phase in which only the head learns.
    ///
    /// - Parameter phase: lengths, data, objective and optimizer; its turns' trainable sets are replaced.
    public static func phases(_ phase: Phase) -> [Phase] {
        [phase.learning(.headOnly)]
    }
}
