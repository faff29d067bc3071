import Layers
import Tensors

/// Some stages of a network as a constant function, compiled: what a phase runs that freezes them.
///
/// Input: images N×C×H×W, or what the stage before the first gave. Output: what the last stage gives, float32. It works
/// off the tape and as in evaluation: batch norm by its running statistics, folded into the convolutions; activations
/// and residual sums are fused into them too (`FoldedConvolutions`).
///
/// Each layer's weights are taken over when the trunk first runs it, so the parameters and running statistics of these
/// stages must not change while the trunk is in use: whoever changes them makes a new one. Results do not depend on
/// the batch size. Checked against the plain stages: float32 differs by less than 1e-5 of the largest output.
public final class FrozenTrunk {
    /// What convolutions compute with.
    public enum Precision: String, Codable, Sendable, CaseIterable { case float32, int8 }

    public let stages: Range<Int>
    public let precision: Precision
    private let network: Network
    private let folded = FoldedConvolutions()

    /// - Parameter stages: which of the network's stages.
    public init(_ network: Network, stages: Range<Int>, precision: Precision = .float32) throws {
        self.network = network
        self.stages = stages
        self.precision = precision
    }

    /// - Throws: `ModelError` or `LayerError` where the input does not fit.
    public func callAsFunction(_ input: Tensor) throws -> Tensor {
        let context = ForwardContext(isTraining: false, folded: folded)
        return try withoutTape { try network.run(input, stages: stages, context) }
    }
}
