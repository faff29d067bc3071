import COpenMPI
import Collectives
import Foundation

/// Waiting, and saying for whom.
///
/// A rank that has waited long in a collective operation tells the others the operation's number, by a
/// small message on a communicator of its own. Those that have said the same are waiting too; the
/// lowest of them prints who has not. Ranks that compute, or hang, do not answer: they are the ones.
final class RollCall {
    private let communicator: MPI_Comm
    private let rank: Int
    private let hostNames: [String]
    private let patience: Double
    /// The highest operation each rank has said it waits in.
    private var reported: [Int]

    init(communicator: MPI_Comm, rank: Int, hostNames: [String], patience: Double) {
        self.communicator = communicator
        self.rank = rank
        self.hostNames = hostNames
        self.patience = patience
        self.reported = [Int](repeating: -1, count: hostNames.count)
    }

    /// Polls until `requests` have finished: busily for 0.2 ms, then giving way to other threads, after
    /// a second sleeping 50 microseconds at a time.
    ///
    /// - Parameters:
    ///   - operation: number of the collective operation on this rank.
    ///   - collective: whether all ranks take part.
    ///   - what: what is waited for, in words.
    func wait(
        for requests: MPIRequests, operation: Int, phase: String, collective: Bool, _ what: () -> String
    ) throws {
        if try requests.test() { return }
        let start = DispatchTime.now().uptimeNanoseconds
        var nextReport = patience
        var reportDue: Double?
        while try !requests.test() {
            let waited = Double(DispatchTime.now().uptimeNanoseconds &- start) * 1e-9
            if waited > 1 { usleep(50) } else if waited > 0.0002 { sched_yield() }
            if waited > nextReport {
                if collective { try tellOthers(operation) }
                reportDue = reportDue ?? nextReport + min(1, patience)
                nextReport *= 2
            }
            if let due = reportDue, waited > due {
                try drain()
                report(waited, operation: operation, phase: phase, collective: collective, what())
                reportDue = nil
            }
        }
    }

    /// Reads what other ranks have said.
    func drain() throws {
        while true {
            var found: CInt = 0
            var status = MPI_Status()
            try check("MPI_Iprobe", MPI_Iprobe(MPI_ANY_SOURCE, 0, communicator, &found, &status))
            guard found != 0 else { return }
            var operation: Int64 = 0
            try check(
                "MPI_Recv",
                MPI_Recv(
                    &operation, 1, graft_MPI_INT64(), status.MPI_SOURCE, 0, communicator,
                    graft_MPI_STATUS_IGNORE()))
            let sender = Int(status.MPI_SOURCE)
            reported[sender] = max(reported[sender], Int(operation))
        }
    }

    /// Eight bytes go out at once, whether or not anybody reads them.
    private func tellOthers(_ operation: Int) throws {
        reported[rank] = operation
        var number = Int64(operation)
        for other in hostNames.indices where other != rank {
            try check("MPI_Send", MPI_Send(&number, 1, graft_MPI_INT64(), CInt(other), 0, communicator))
        }
    }

    private func report(_ waited: Double, operation: Int, phase: String, collective: Bool, _ what: String) {
        var message = "graft: rank \(rank) has waited \(Int(waited)) s for \(what)"
        if !phase.isEmpty { message += " while \(phase)" }
        if collective {
            let missing = hostNames.indices.filter { reported[$0] < operation }
            let waiting = hostNames.indices.filter { reported[$0] >= operation }
            guard waiting.first == rank, !missing.isEmpty else { return }
            let names = missing.map { "rank \($0) on \(hostNames[$0])" }
            message += "; not yet there: " + names.joined(separator: ", ")
        }
        FileHandle.standardError.writeIfPossible(message + "\n")
    }
}
