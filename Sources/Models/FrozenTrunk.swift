import Layers
import Tensors

/// Some stages of a network as a constant function: what a phase runs that freezes them, off the tape.
///
/// Input: images N×C×H×W, or what the stage before the first gave. Output: what the last stage gives.
public final class FrozenTrunk {
    /// What convolutions compute with.
    public enum Precision: String, Codable, Sendable, CaseIterable { case float32, int8 }

    public let stages: Range<Int>
    public let precision: Precision
    private let network: Network

    /// - Parameter stages: which of the network's stages.
    public init(_ network: Network, stages: Range<Int>, precision: Precision = .float32) throws {
        self.network = network
        self.stages = stages
        self.precision = precision
    }

    /// - Throws: `ModelError` or `LayerError` where the input does not fit.
    public func callAsFunction(_ input: Tensor) throws -> Tensor {
        try withoutTape { try network.run(input, stages: stages, .inference) }
    }
}
