import CKernels

/// What follows a linear map or a normalisation, where one loop can do both.
public enum Activation: Hashable, Sendable {
    case identity
    /// max(x, 0)
    case relu
    /// min(max(x, 0), 6)
    case relu6
    /// x where positive, else x · slope
    case leakyRelu(slope: Float)

    var code: Int32 {
        switch self {
        case .identity: Int32(GRAFT_IDENTITY.rawValue)
        case .relu: Int32(GRAFT_RELU.rawValue)
        case .relu6: Int32(GRAFT_RELU6.rawValue)
        case .leakyRelu: Int32(GRAFT_LEAKY_RELU.rawValue)
        }
    }

    var slope: Float {
        if case .leakyRelu(let slope) = self { return slope }
        return 0
    }
}

/// Applies an activation to each element, in any layout.
///
/// The gradient at the kink is 0, as in PyTorch. Differentiable twice (the second derivative is 0).
public func activated(_ input: Tensor, _ activation: Activation) -> Tensor {
    guard activation != .identity else { return input }
    let result = Tensor(
        shape: input.shape, storage: Storage(byteCount: input.storage.byteCount), layout: input.layout)
    Profile.measure("activation", bytes: 8 * input.storedCount) {
        Threads.parallelFor(count: input.storedCount, grain: 1 << 15) { range in
            graft_activate(
                input.storage.floats + range.lowerBound, result.storage.floats + range.lowerBound, range.count,
                activation.code, activation.slope)
        }
    }
    let output = result.detached
    return result.recorded("activation", from: [input]) { gradient in
        [activationGradient(&gradient, output: output, activation)]
    }
}

/// `activationGradient` in the memory of `gradient` where nobody else holds that.
func activationGradient(_ gradient: inout Tensor, output: Tensor, _ activation: Activation) -> Tensor {
    guard !Tape.isRecording, gradient.layout.isRowMajor == output.layout.isRowMajor,
        gradient.opaqueLayout.isSame(as: output.opaqueLayout), let target = gradient.takeIfUnique()
    else { return activationGradient(gradient, output: output, activation) }
    writeActivationGradient(target, output: output, activation, to: target)
    return target
}

/// `gradient` where the activation that made `output` lets it through. Linear in `gradient`.
func activationGradient(_ gradient: Tensor, output: Tensor, _ activation: Activation) -> Tensor {
    let source = gradient.converted(toLayoutOf: output)
    let result = Tensor(
        shape: output.shape, storage: Storage(byteCount: output.storage.byteCount), layout: output.layout)
    writeActivationGradient(source, output: output, activation, to: result)
    return result.recorded("activation gradient", from: [gradient]) { second in
        [activationGradient(second, output: output, activation)]
    }
}

/// All in one layout; `result` may be `gradient`.
private func writeActivationGradient(
    _ gradient: Tensor, output: Tensor, _ activation: Activation, to result: Tensor
) {
    Profile.measure("activation gradient", bytes: 12 * output.storedCount) {
        Threads.parallelFor(count: output.storedCount, grain: 1 << 15) { range in
            let start = range.lowerBound
            graft_activate_gradient(
                gradient.storage.floats + start, output.storage.floats + start, result.storage.floats + start,
                range.count, activation.code, activation.slope)
        }
    }
}

extension Tensor {
    /// The same values in the layout that `other` has.
    func converted(toLayoutOf other: Tensor) -> Tensor {
        switch (layout, other.layout) {
        case (.rowMajor, .rowMajor): return self
        case (_, .rowMajor): return rowMajor
        case (_, .opaque(let wanted)):
            return Tensor(
                shape: shape, storage: OneDNN.storage(of: self, in: wanted), layout: other.layout, node: node)
        }
    }
}
