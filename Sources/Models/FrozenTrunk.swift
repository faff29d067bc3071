import Layers
import Tensors

/// Some stages of a network as a constant function, compiled: what a phase runs that freezes them.
///
/// Input: images N×C×H×W, or what the stage before the first gave. Output: what the last stage gives, float32. It works
/// off the tape and as in evaluation: no dropout; batch norm by its running statistics, folded into the convolutions;
/// activations and residual sums are fused into them too (`FoldedConvolutions`).
///
/// Each layer's weights are taken over when the trunk first runs it, so the parameters and running statistics of these
/// stages must not change while the trunk is in use: whoever changes them makes a new one. Results do not depend on
/// the batch size. Checked against the plain stages: float32 differs by less than 1e-5 of the largest output. int8 stores
/// weights and activations in 8 bits: the error is 3 to 4 % of the features' norm in ResNet, 30 % in MobileNetV1 0.25 with
/// leaky ReLU.
public final class FrozenTrunk {
    /// What convolutions compute with.
    public enum Precision: String, Codable, Sendable, CaseIterable { case float32, int8 }

    public let stages: Range<Int>
    /// What it computes with: float32 where int8 was asked for and cannot be, as `fallback` says.
    public let precision: Precision
    /// Why the precision is not the one asked for; nil where it is.
    public let fallback: String?
    private let network: Network
    private let folded = FoldedConvolutions()
    private var isCalibrated = false

    /// - Parameters:
    ///   - stages: which of the network's stages.
    ///   - precision: int8 needs `calibrate` before the first call.
    public init(_ network: Network, stages: Range<Int>, precision: Precision = .float32) throws {
        self.network = network
        self.stages = stages
        fallback = Self.fallback(for: precision, network.architecture)
        self.precision = fallback == nil ? precision : .float32
    }

    /// Why this network computes in float32 here in place of a precision; nil where it does not.
    public static func fallback(for precision: Precision, _ architecture: Architecture) -> String? {
        guard precision == .int8 else { return nil }
        if architecture.tokens != nil {
            return "int8 is for convolutions, which a network over text has none of: computing in float32"
        }
        return EightBit.isSupported
            ? nil : "int8 needs a processor with AVX-512 VNNI, which this one lacks: computing in float32"
    }

    /// Finds what range of values each layer must be able to store; nothing to do for float32.
    ///
    /// - Parameter inputs: typical ones, as they will be given to the trunk; a few dozen images are enough.
    /// - Throws: `ModelError` or `LayerError` where an input does not fit.
    public func calibrate(with inputs: [Tensor]) throws {
        guard precision == .int8 else { return }
        try folded.calibrate { for input in inputs { _ = try run(input) } }
        isCalibrated = true
    }

    /// - Parameters:
    ///   - segments, keyMask: of a network over text, as `ForwardContext` has them; padding is found among tokens, so
    ///     only a trunk that starts later needs the mask.
    /// - Throws: `ModelError` or `LayerError` where the input does not fit, `ModelError.notCalibrated` for int8
    ///   before `calibrate`.
    public func callAsFunction(_ input: Tensor, segments: Tensor? = nil, keyMask: Tensor? = nil) throws -> Tensor {
        guard precision == .float32 || isCalibrated else {
            throw ModelError.notCalibrated(architecture: network.architecture.name)
        }
        return try run(input, segments: segments, keyMask: keyMask).dequantized
    }

    private func run(_ input: Tensor, segments: Tensor? = nil, keyMask: Tensor? = nil) throws -> Tensor {
        var context = ForwardContext(isTraining: false, folded: folded)
        (context.segments, context.keyMask) = (segments, keyMask)
        return try withoutTape { try network.run(input, stages: stages, context) }
    }
}
