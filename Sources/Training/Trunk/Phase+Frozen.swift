import Layers
import Models

extension Phase {
    /// How many stages of the network, from the first on, are a constant function in all turns of this phase: no
    /// parameter learns and no running statistic moves. They run as in evaluation, without dropout.
    ///
    /// - Throws: `TrainingError`, as `TrainableSet.resolve`.
    public func frozenStages(of network: Network) throws -> Int {
        var changing = Set<String>()
        for turn in turns {
            let (learning, statistics, _) = try turn.exchanged(in: network, self)
            changing.formUnion(learning.map(\.path))
            changing.formUnion(statistics.map(\.path))
        }
        let first = network.stages.firstIndex { stage in changing.contains(where: stage.owns) }
        return first ?? network.stages.count
    }
}
