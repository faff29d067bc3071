/// The same tensor; its gradient is multiplied by `factor` on the way back. A negative factor reverses it, as
/// adversarial domain adaptation does (Ganin and Lempitsky 2015, https://arxiv.org/abs/1409.7495).
public func scaleGradient(_ x: Tensor, by factor: Float) -> Tensor {
    x.detached.recorded("scaleGradient", from: [x]) { [$0 * factor] }
}
