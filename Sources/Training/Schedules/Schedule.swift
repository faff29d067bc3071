import Foundation

/// How the learning rate of a phase changes, as a factor of the optimizer's learning rate.
///
/// The factor is a pure function of the step, so that a resumed run goes on exactly. Checked against
/// PyTorch's `LambdaLR`-style schedulers stepped once per optimizer step.
public struct Schedule: Codable, Equatable, Sendable {
    /// The course after, or beside, the warm-up.
    public enum Shape: Codable, Equatable, Sendable {
        case constant
        /// Times `factor` after every `epochs` epochs (`StepLR`).
        case step(epochs: Int, factor: Double)
        /// Times `factor` at the start of each of these epochs, counted from 0 (`MultiStepLR`).
        case milestones(epochs: [Int], factor: Double)
        /// From 1 down half a cosine to `end` over the steps that remain after the warm-up
        /// (`CosineAnnealingLR`; Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, no restarts).
        case cosine(end: Double)
        /// From 1 straight to `end` over the steps that remain after the warm-up (`LinearLR`).
        case linear(end: Double)
    }

    /// A straight rise from `start` to 1 before the shape begins (`LinearLR`).
    public struct WarmUp: Codable, Equatable, Sendable {
        public var length: PhaseLength
        /// The factor of the very first step, in 0...1.
        public var start: Double

        public init(length: PhaseLength, start: Double) {
            self.length = length
            self.start = start
        }
    }

    public var shape: Shape
    public var warmUp: WarmUp?

    public init(shape: Shape = .constant, warmUp: WarmUp? = nil) {
        self.shape = shape
        self.warmUp = warmUp
    }

    /// The factor of optimizer step `step` of a phase.
    ///
    /// - Parameters:
    ///   - step: from 0.
    ///   - stepsPerEpoch: at least 1.
    ///   - totalSteps: of the phase, at least 1.
    public func factor(step: Int, stepsPerEpoch: Int, totalSteps: Int) -> Double {
        let warmUpSteps = self.warmUpSteps(stepsPerEpoch: stepsPerEpoch)
        var factor = shapeFactor(
            step: step, stepsPerEpoch: stepsPerEpoch, warmUpSteps: warmUpSteps, totalSteps: totalSteps)
        if let warmUp, step < warmUpSteps {
            factor *= warmUp.start + (1 - warmUp.start) * Double(step) / Double(warmUpSteps)
        }
        return factor
    }

    /// Steps before the learning rate first reaches its full value.
    public func warmUpSteps(stepsPerEpoch: Int) -> Int {
        switch warmUp?.length {
        case .epochs(let epochs): epochs * stepsPerEpoch
        case .steps(let steps): steps
        case nil: 0
        }
    }

    private func shapeFactor(step: Int, stepsPerEpoch: Int, warmUpSteps: Int, totalSteps: Int) -> Double {
        let epoch = step / max(1, stepsPerEpoch)
        let done = Double(max(0, step - warmUpSteps)) / Double(max(1, totalSteps - warmUpSteps))
        switch shape {
        case .constant:
            return 1
        case .step(let epochs, let factor):
            return pow(factor, Double(epoch / max(1, epochs)))
        case .milestones(let epochs, let factor):
            return pow(factor, Double(epochs.filter { $0 <= epoch }.count))
        case .cosine(let end):
            return end + (1 - end) * (1 + cos(.pi * min(1, done))) / 2
        case .linear(let end):
            return 1 + (end - 1) * min(1, done)
        }
    }
}
