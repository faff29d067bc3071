import Training

extension Phase {
    /// The same phase with another set of learning parameters in every turn.
    func learning(_ set: TrainableSet) -> Phase {
        var phase = self
        for index in phase.turns.indices { phase.turns[index].trainable = set }
        return phase
    }
}
