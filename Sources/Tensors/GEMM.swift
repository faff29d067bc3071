import CKernels
import COneDNN

/// Single-precision matrix products of row-major matrices in memory.
///
/// oneDNN computes them where it has AVX-512 kernels (6 % faster than OpenBLAS on Zen 4, as fast on Xeons), OpenBLAS
/// elsewhere: a function of the processor, the same on every call.
package enum GEMM {
    /// A matrix in memory: where it begins, the distance of its rows, and whether its transpose is meant.
    struct Operand {
        let pointer: UnsafePointer<Float>
        let stride: Int
        var isTransposed = false

        var transposed: Operand { Operand(pointer: pointer, stride: stride, isTransposed: !isTransposed) }
    }

    /// Set by tests only.
    nonisolated(unsafe) package static var usesOneDNN = graft_vector_bits() == 512

    /// What computes matrix products here.
    package static var library: String { usesOneDNN ? "oneDNN" : "OpenBLAS" }

    /// c ← alpha · op(a) · op(b) + beta · c; op(a) is m×k, op(b) k×n, c m×n with rows `strideC` apart.
    static func multiply(
        _ a: Operand, _ b: Operand, into c: UnsafeMutablePointer<Float>, strideC: Int, m: Int, n: Int, k: Int,
        alpha: Float = 1, beta: Float = 0
    ) {
        guard m > 0, n > 0 else { return }
        guard usesOneDNN, k > 0 else {
            OpenBLAS.multiply(a, b, into: c, strideC: strideC, m: m, n: n, k: k, alpha: alpha, beta: beta)
            return
        }
        func letter(_ operand: Operand) -> CChar { CChar(UInt8(ascii: operand.isTransposed ? "T" : "N")) }
        OneDNN.check(
            dnnl_sgemm(
                letter(a), letter(b), Int64(m), Int64(n), Int64(k), alpha, a.pointer, Int64(max(1, a.stride)),
                b.pointer, Int64(max(1, b.stride)), beta, c, Int64(max(1, strideC))),
            "dnnl_sgemm")
    }

    /// The same for matrices without gaps, noted in a profile. To be called from the thread that trains.
    static func multiply(
        _ a: UnsafePointer<Float>, transposed transposeA: Bool, _ b: UnsafePointer<Float>,
        transposed transposeB: Bool, into c: UnsafeMutablePointer<Float>, m: Int, n: Int, k: Int,
        alpha: Float = 1, beta: Float = 0
    ) {
        Profile.measure("matrix product", bytes: 4 * (m * k + k * n + m * n), operations: 2 * m * n * k) {
            multiply(
                Operand(pointer: a, stride: transposeA ? m : k, isTransposed: transposeA),
                Operand(pointer: b, stride: transposeB ? k : n, isTransposed: transposeB), into: c, strideC: n, m: m,
                n: n, k: k, alpha: alpha, beta: beta)
        }
    }
}
