import COpenMPI
import Collectives
import Foundation

/// The processes of a run, from the first line of `main` to the exit code.
///
/// ```swift
/// ThreadPlan.prepareProcess()
/// Cluster.run { collectives in
///     try train(collectives)
///     return .done
/// }
/// ```
public enum Cluster {
    /// Joins the job that a launcher (`mpirun`, `srun`) started this process for; without one, a cluster
    /// of one that needs no MPI. Once per process.
    ///
    /// - Parameters:
    ///   - chunk: the most elements given to one MPI call.
    ///   - patience: seconds after which a wait for other ranks is reported on standard error.
    /// - Throws: `ClusterError` when there is a launcher but MPI does not start.
    public static func join(chunk: Int = 1 << 28, patience: Double = 30) throws -> Collectives {
        guard MPIEnvironment.isLaunched else { return SingleProcess() }
        return try MPICollectives(chunk: chunk, patience: patience)
    }

    /// Leaves the job in an orderly way. Collective; nothing may be called afterwards.
    public static func leave(_ collectives: Collectives) throws {
        try (collectives as? MPICollectives)?.finalize()
    }

    /// Joins, runs `body` and exits with the code it returns.
    ///
    /// When `body` throws what an agreement threw (`RankFailure`), all ranks are throwing it: one prints
    /// it and all leave with its code. Any other error is this rank's alone, and the others may be
    /// waiting for this one: it is printed and the whole job is aborted with its code.
    public static func run(
        chunk: Int = 1 << 28, patience: Double = 30, _ body: (Collectives) throws -> ExitCode
    ) -> Never {
        var joined: Collectives?
        do {
            let collectives = try join(chunk: chunk, patience: patience)
            joined = collectives
            let code = try body(collectives)
            fflush(nil)
            try leave(collectives)
            exit(code.rawValue)
        } catch let failure as RankFailure {
            guard let joined else { abort(failure, on: nil) }
            leave(joined, after: failure)
        } catch {
            abort(error, on: joined)
        }
    }

    /// Prints `error` as the cause of the failure and ends all ranks with its exit code.
    public static func abort(_ error: Error, on collectives: Collectives?) -> Never {
        let failure = error as? RankFailure ?? RankFailure(rank: collectives?.rank ?? MPIEnvironment.rank, error: error)
        announce(failure, worldSize: collectives?.worldSize)
        fflush(nil)
        if collectives is MPICollectives {
            MPI_Abort(graft_MPI_COMM_WORLD(), failure.exitCode.rawValue)
        }
        // Without MPI, or where MPI_Abort has returned: the launcher sees a rank that ended without
        // leaving, and ends the others.
        _exit(failure.exitCode.rawValue)
    }

    /// Every rank has thrown `failure`: rank 0 prints it, all exit with its code.
    private static func leave(_ collectives: Collectives, after failure: RankFailure) -> Never {
        let code = failure.exitCode.rawValue
        if collectives.rank == 0 { announce(failure, worldSize: collectives.worldSize) }
        fflush(nil)
        // Where ranks cannot leave together after all, none of them stays.
        Thread.detachNewThread {
            sleep(8)
            _exit(code)
        }
        try? leave(collectives)
        exit(code)
    }

    /// Writes the cause to standard error in one piece: for people, or as a line that `launch/mpirun`
    /// collects, to print the first one once.
    private static func announce(_ failure: RankFailure, worldSize: Int?) {
        let isAlone = worldSize ?? 1 == 1 && !MPIEnvironment.isLaunched
        var line = "graft: " + (isAlone ? failure.message : failure.description)
        if MPIEnvironment.hasSupervisor {
            // The record separator stands for a line end.
            let message = failure.message.replacingOccurrences(of: "\n", with: "\u{1e}")
            line = "graft-cause: \(failure.exitCode.rawValue) \(failure.rank) \(message)"
        }
        FileHandle.standardError.writeIfPossible(line + "\n")
    }
}
