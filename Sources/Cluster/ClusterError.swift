import Collectives

/// What can go wrong between ranks. All of them end the job with exit code 5, worth a retry.
public enum ClusterError: GraftError, Equatable {
    /// An MPI call did not succeed.
    case call(name: String, code: Int, text: String)
    /// A count that MPI cannot express, after chunking.
    case count(name: String, count: Int)
    /// Ranks disagree on how many bytes or elements an exchange has.
    case sizeMismatch(name: String, rank: Int, expected: Int, actual: Int)
    /// MPI started this process but cannot be used.
    case cannotJoin(reason: String)
    /// A gradient for a parameter that is not in the bucket plan.
    case unplannedGradient(variable: String)
    /// A gradient whose size is not the planned one.
    case gradientSize(variable: String, expected: Int, actual: Int)
    /// A gradient that came after its bucket had gone out.
    case lateGradient(variable: String)

    public var exitCode: ExitCode { .cluster }

    public var description: String {
        switch self {
        case .call(let name, let code, let text):
            return "\(name) failed: \(text) (MPI error \(code)); a rank or the network between ranks was lost. "
                + "Start the same command again with --resume auto."
        case .count(let name, let count):
            return "\(name): \(count) elements are more than MPI can count; use a smaller chunk size."
        case .sizeMismatch(let name, let rank, let expected, let actual):
            return "\(name): rank \(rank) sent \(actual) bytes where \(expected) were expected; "
                + "do all ranks run the same program with the same recipe?"
        case .cannotJoin(let reason):
            return "this process was started by an MPI launcher but cannot join it: \(reason)"
        case .unplannedGradient(let variable):
            return "a gradient arrived for \(variable), which is not among the trainable parameters of this phase"
        case .gradientSize(let variable, let expected, let actual):
            return "the gradient of \(variable) has \(actual) elements where \(expected) were planned"
        case .lateGradient(let variable):
            return "the gradient of \(variable) arrived after its bucket had been sent: "
                + "it was reported twice in the last backward pass of a step"
        }
    }
}
