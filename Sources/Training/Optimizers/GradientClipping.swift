import Tensors

/// Gradient clipping by global norm (Pascanu et al. 2013, https://arxiv.org/abs/1211.5063), as in
/// PyTorch's `clip_grad_norm_`. Gradients are not rewritten: the factor goes into the optimizer step.
public enum GradientClipping {
    /// The Euclidean norm over all gradients together, accumulated in double, in an order that
    /// depends on neither CPU nor threads.
    public static func globalNorm(of gradients: [UnsafeBufferPointer<Float>]) -> Double {
        gradients.reduce(0) { $0 + sumOfSquares($1) }.squareRoot()
    }

    /// The sum of squares of one gradient; sums of several are added before the root is taken.
    public static func sumOfSquares(_ gradient: UnsafeBufferPointer<Float>) -> Double {
        let chunk = 1 << 16
        return stride(from: 0, to: gradient.count, by: chunk).reduce(0) { sum, start in
            let end = min(start + chunk, gradient.count)
            return sum + OptimizerKernels.sumOfSquares(UnsafeBufferPointer(rebasing: gradient[start..<end]))
        }
    }

    /// What to multiply gradients of norm `norm` by so that their norm is at most `maximum`; 1 where
    /// it already is.
    public static func scale(norm: Double, maximum: Double) -> Double {
        min(1, maximum / (norm + 1e-6))
    }
}
