import Training

/// From scratch: random weights, everything learns. The baseline that says whether transfer paid.
///
/// Random weights follow He et al. (2015, https://arxiv.org/abs/1502.01852) unless the architecture says
/// otherwise. With enough data and time it catches up with fine-tuning even on large tasks (He et al.
/// 2019, https://arxiv.org/abs/1811.08883); with twenty images per class it does not.
public enum FromScratch {
    /// The phase in which everything learns.
    ///
    /// - Parameter phase: lengths, data, objective and optimizer; its turns' trainable sets are replaced.
    public static func phases(_ phase: Phase) -> [Phase] {
        [phase.learning(.everything)]
    }
}
