import Cluster
import Collectives
import Foundation

/// A failed expectation, or a failure on purpose.
struct CheckError: GraftError {
    let message: String
    var exitCode: ExitCode = .data
    var description: String { message }
}

typealias Program = (Collectives, [String]) throws -> ExitCode

let programs: [String: Program] = [
    "collectives": checkCollectives,
    "agree": failTogether,
    "throw": failAlone,
    "kill": dieBySignal,
    "exit": leaveEarly,
    "late": comeLate,
    "threads": printThreads,
    "synchronizer": checkSynchronizer,
    "overlap": checkOverlap,
    "allreduce": measureAllReduce,
]

/// Whole arrays, not sums of them.
func expect<T: Equatable>(_ actual: T, equals expected: T, _ what: String) throws {
    guard actual == expected else {
        throw CheckError(message: "\(what): \(actual) is not \(expected)", exitCode: .numerical)
    }
}

func number(_ arguments: [String], _ index: Int) -> Int {
    arguments.indices.contains(index) ? Int(arguments[index]) ?? 0 : 0
}

/// Runs on the lowest rank that every other one waits for: `agree RANK…` fails on these ranks.
private func failTogether(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    let failing = arguments.compactMap { Int($0) }
    try collectives.agree(nil)
    let codes: [ExitCode] = [.data, .numerical, .usage, .data]
    let error = CheckError(
        message: "rank \(collectives.rank) could not read\n\"its\" file", exitCode: codes[collectives.rank % 4])
    do {
        try collectives.agree(failing.contains(collectives.rank) ? error : nil)
    } catch let failure as RankFailure {
        let lowest = failing.min() ?? -1
        try expect(failure.rank, equals: lowest, "failing rank")
        try expect(failure.message, equals: "rank \(lowest) could not read\n\"its\" file", "message")
        try expect(failure.exitCode, equals: codes[lowest % 4], "exit code")
        throw failure
    }
    return .done
}

/// `throw RANK`: that rank throws outside an agreement; the others wait for it in a sum.
private func failAlone(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    if collectives.rank == number(arguments, 0) {
        throw CheckError(message: "weights.h5: truncated", exitCode: .data)
    }
    try collectives.barrier()
    return .done
}

/// `kill RANK SIGNAL`
private func dieBySignal(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    if collectives.rank == number(arguments, 0) { kill(getpid(), Int32(number(arguments, 1))) }
    var values: [Double] = [1]
    try values.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
    return .done
}

/// `exit RANK CODE`: that rank ends without leaving the job.
private func leaveEarly(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    if collectives.rank == number(arguments, 0) { _exit(Int32(number(arguments, 1))) }
    try collectives.barrier()
    return .done
}

/// `late RANK SECONDS`: the others wait for this rank in a barrier and name it.
private func comeLate(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    if collectives.rank == number(arguments, 0) { sleep(UInt32(number(arguments, 1))) }
    (collectives as? MPICollectives)?.phase = "loading weights"
    try collectives.barrier()
    return .done
}

private func printThreads(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    let plan = ThreadPlan.current()
    let policy = ProcessInfo.processInfo.environment["OMP_WAIT_POLICY"] ?? "unset"
    print("rank \(collectives.rank) threads \(plan.threads) oversubscribed \(plan.isOversubscribed) policy \(policy)")
    return .done
}
