import COpenBLAS
import CKernels
import Collectives
import Foundation
import Logging

/// OpenBLAS, opened at run time.
///
/// The library picks its kernels when it is loaded, and releases before 0.3.22 or so take the oldest
/// ones ("Prescott", a fifth of the speed) on processors that they do not know. So the choice is made
/// here, from what the processor says of itself, before the library is opened; linking it would be
/// too late.
public enum OpenBLAS {
    /// What is known about the library in use.
    public struct Description: Sendable {
        /// The name of the kernels, such as "SkylakeX".
        public let kernel: String
        /// Whether the library shares OpenMP threads with oneDNN.
        public let usesOpenMP: Bool
        /// The file that was loaded.
        public let library: String
    }

    /// The library in use; opens it on first use.
    public static var description: Description { library.description }

    /// Opens the library, so that a missing one is an error before anything is computed.
    ///
    /// - Throws: `OpenBLASMissing`.
    public static func open() throws { _ = try loaded.get() }

    fileprivate typealias SGEMM =
        @convention(c) (
            CBLAS_ORDER, CBLAS_TRANSPOSE, CBLAS_TRANSPOSE, blasint, blasint, blasint, Float,
            UnsafePointer<Float>?, blasint, UnsafePointer<Float>?, blasint, Float,
            UnsafeMutablePointer<Float>?, blasint
        ) -> Void

    private struct Library {
        let sgemm: SGEMM
        let description: Description
    }

    private static let loaded = Result { try load() }

    private static var library: Library {
        switch loaded {
        case .success(let library): library
        case .failure(let error): preconditionFailure("\(error)")
        }
    }

    /// The OpenMP build first: the plain name leads to the pthread build where both are installed.
    private static let candidates = [
        "/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
        "/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0",
        "libopenblas.so.0",
    ]

    private static func load() throws -> Library {
        if let core = String(validatingCString: graft_openblas_core()), !core.isEmpty {
            setenv("OPENBLAS_CORETYPE", core, 0)  // 0: what the user has set stays
        }
        guard
            let (name, handle) = candidates.lazy.compactMap({ name in
                dlopen(name, RTLD_NOW | RTLD_LOCAL).map { (name, $0) }
            }).first,
            let sgemm = dlsym(handle, "cblas_sgemm")
        else { throw OpenBLASMissing(reason: dlerror().map { String(cString: $0) } ?? "") }
        let description = Description(
            kernel: corename(handle), usesOpenMP: parallelism(handle) == 2, library: name)
        var log = Logger(label: "graft.tensors")
        log.logLevel = .info
        if !description.usesOpenMP {
            log.warning(
                "OpenBLAS (\(name)) is not the OpenMP build and will not share threads; install libopenblas-openmp-dev")
        }
        return Library(sgemm: unsafeBitCast(sgemm, to: SGEMM.self), description: description)
    }

    private static func corename(_ handle: UnsafeMutableRawPointer) -> String {
        typealias Corename = @convention(c) () -> UnsafePointer<CChar>?
        guard let symbol = dlsym(handle, "openblas_get_corename"),
            let name = unsafeBitCast(symbol, to: Corename.self)()
        else { return "unknown" }
        return String(cString: name)
    }

    private static func parallelism(_ handle: UnsafeMutableRawPointer) -> Int32 {
        typealias Parallel = @convention(c) () -> Int32
        guard let symbol = dlsym(handle, "openblas_get_parallel") else { return -1 }
        return unsafeBitCast(symbol, to: Parallel.self)()
    }

    /// c ← alpha · op(a) · op(b) + beta · c; see `GEMM`.
    static func multiply(
        _ a: GEMM.Operand, _ b: GEMM.Operand, into c: UnsafeMutablePointer<Float>, strideC: Int, m: Int, n: Int,
        k: Int, alpha: Float, beta: Float
    ) {
        library.sgemm(
            CblasRowMajor, a.isTransposed ? CblasTrans : CblasNoTrans, b.isTransposed ? CblasTrans : CblasNoTrans,
            blasint(m), blasint(n), blasint(k), alpha, a.pointer, blasint(max(1, a.stride)), b.pointer,
            blasint(max(1, b.stride)), beta, c, blasint(max(1, strideC)))
    }
}

/// libopenblas is not on this machine, or cannot be used.
public struct OpenBLASMissing: GraftError {
    let reason: String
    public var exitCode: ExitCode { .usage }
    public var description: String {
        "OpenBLAS cannot be opened (\(reason)). "
            + "Install it with: sudo apt-get install libopenblas-openmp-dev libopenblas-dev"
    }
}
