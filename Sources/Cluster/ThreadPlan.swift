import Foundation
import Glibc

/// How many threads this process computes with.
///
/// A rank's share of the cores it may run on: all of them where the launcher has given it cores of its
/// own (`--bind-to`, `srun --cpus-per-task`), otherwise divided by the ranks on this host. Hardware
/// threads of one core count once, a container's CPU quota is kept. `OMP_NUM_THREADS` wins.
///
/// More threads than cores on a host (oversubscription) means that waiting must not spin: eight spinning
/// OpenMP threads on two cores are a standstill. Waits are then passive, and MPI yields.
public struct ThreadPlan: Equatable, Sendable {
    /// Threads of each operation of this process, at least 1.
    public let threads: Int
    /// Cores this process may use, alone or together with the other ranks of its host.
    public let cores: Int
    /// Whether the ranks of this host have more threads than cores.
    public let isOversubscribed: Bool

    /// - Parameters:
    ///   - cores: physical cores this process may run on.
    ///   - localRanks: ranks on this host.
    ///   - isBound: whether other ranks may not run on these cores.
    ///   - requested: what the user asked for, if anything.
    public init(cores: Int, localRanks: Int, isBound: Bool, requested: Int? = nil) {
        let sharers = isBound ? 1 : max(1, localRanks)
        self.cores = max(1, cores)
        self.threads = max(1, requested ?? self.cores / sharers)
        self.isOversubscribed = self.threads * sharers > self.cores
    }

    /// The plan for this process.
    ///
    /// - Parameter requestedThreads: what the user asked for on the command line; `OMP_NUM_THREADS`
    ///   counts where this is nil.
    public static func current(requestedThreads: Int? = nil) -> ThreadPlan {
        let allowed = Processors.allowed
        let bound = MPIEnvironment.isBound || Processors.isSmaller(allowed, than: Processors.allowedForParent)
        let cores = min(Processors.physicalCores(of: allowed), Processors.quota ?? .max)
        let environment = MPIEnvironment.number("OMP_NUM_THREADS").flatMap { $0 > 0 ? $0 : nil }
        return ThreadPlan(
            cores: cores, localRanks: MPIEnvironment.localRanks, isBound: MPIEnvironment.isLaunched && bound,
            requested: requestedThreads ?? environment)
    }

    /// Puts the plan into effect. The first line of `main`.
    ///
    /// The OpenMP library reads its environment when it is loaded, before `main`. Where a variable it
    /// reads has to change, this process therefore starts its own program again, with the same arguments
    /// and the same process number, and this function returns in the new image. That takes a few
    /// milliseconds, happens once, and is invisible to MPI, which has not been started yet.
    @discardableResult
    public static func prepareProcess(requestedThreads: Int? = nil) -> ThreadPlan {
        let plan = current(requestedThreads: requestedThreads)
        var mustRestart = false
        let own = MPIEnvironment.number("OMP_NUM_THREADS")
        // Unset, OpenMP would take every hardware thread it may run on.
        if own ?? Processors.allowed.count != plan.threads { mustRestart = true }
        setenv("OMP_NUM_THREADS", String(plan.threads), 1)
        if plan.threads > 1, !plan.isOversubscribed, MPIEnvironment.value("OMP_WAIT_POLICY") == nil {
            // Threads that meet at the end of an operation spin, and where something else runs on one of their cores
            // they burn the time that it needs: MobileNet at two threads beside another such process made 15 images/s
            // with the library's own bound, 85 with this one, and as many as before on idle cores.
            if MPIEnvironment.value("GOMP_SPINCOUNT") == nil { mustRestart = true }
            setenv("GOMP_SPINCOUNT", "20000", 0)
        }
        if plan.isOversubscribed {
            if MPIEnvironment.value("OMP_WAIT_POLICY") == nil { mustRestart = true }
            setenv("OMP_WAIT_POLICY", "passive", 0)
            setenv("GOMP_SPINCOUNT", "0", 0)
            setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0)
        }
        if mustRestart { startAgain() }
        return plan
    }

    /// Replaces this process by a fresh one of the same program; returns where that is impossible, or
    /// where it has been done already.
    private static func startAgain() {
        let mark = "GRAFT_STARTED_AGAIN"
        let process = String(getpid())
        guard MPIEnvironment.value(mark) != process else { return }
        setenv(mark, process, 1)
        var path = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        guard readlink("/proc/self/exe", &path, Int(PATH_MAX)) > 0 else { return }
        fflush(nil)
        execv(path, CommandLine.unsafeArgv)
    }
}
