/// What a recipe comes down to: phases, run one after the other over the same network.
///
/// Everything else is derived from the phase: what backward may skip, which batch-norm statistics
/// move, which gradients cross the network, what a checkpoint must hold.
public struct TransferPlan: Codable, Equatable, Sendable {
    /// In the order they run. Optimizer state does not outlive its phase.
    public var phases: [Phase]

    public init(phases: [Phase]) {
        self.phases = phases
    }
}
