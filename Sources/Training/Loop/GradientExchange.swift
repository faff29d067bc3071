import Tensors

/// Where a training step's gradients go while backward runs, and come back summed over ranks.
///
/// The cluster's `GradientSynchronizer` is one. A step is
/// `beginStep`, then backward passes into it (with `endPass` between them), then `finishStep`.
public protocol GradientExchange: GradientSink {
    /// Numbers averaged over ranks along with the gradients: written before the last backward pass, read
    /// after `finishStep`.
    var statistics: UnsafeMutableBufferPointer<Float> { get }
    /// Seconds the last `finishStep` waited for the network.
    var waitedSeconds: Double { get }

    /// Starts a step of `passes` backward passes.
    func beginStep(passes: Int)
    /// Ends a pass that is not the last one.
    func endPass()
    /// Waits for the sums over passes and ranks. Collective.
    func finishStep() throws
    /// The summed gradient of one variable, valid until the next step.
    func gradient(of variable: VariableID) -> UnsafeMutableBufferPointer<Float>?
    /// All gradients in one piece, zeros between them: for norms.
    var allGradients: UnsafeMutableBufferPointer<Float> { get }
}

/// How gradients lie in exchange memory: each begins at a multiple of 64 bytes.
public enum ExchangeLayout {
    /// The numbers that a gradient of `count` takes, the gap behind it included.
    public static func aligned(_ count: Int) -> Int { (count + 15) / 16 * 16 }
}
