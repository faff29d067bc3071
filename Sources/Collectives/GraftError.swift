import Foundation

/// What a Graft process exits with, so that scripts and schedulers can decide what to do next.
public enum ExitCode: Int32, Codable, Sendable {
    case done = 0
    /// Wrong arguments or a wrong recipe.
    case usage = 2
    /// Data or weights that are missing, damaged or do not fit.
    case data = 3
    /// Training diverged: a loss or a gradient that is not a number.
    case numerical = 4
    /// A lost rank or an MPI error; worth a retry.
    case cluster = 5
    /// Stopped by a signal after saving; worth a requeue.
    case stopped = 6
}

/// An error from outside the program (files, recipes, arguments, peers), with the exit code that a
/// process ends with when nobody handles it.
public protocol GraftError: Error, CustomStringConvertible {
    /// What the process exits with.
    var exitCode: ExitCode { get }
}

/// The first cause of a failure on some rank, as every rank sees it after an agreement.
public struct RankFailure: GraftError, Codable {
    /// The rank that failed (the lowest, where several did).
    public let rank: Int
    /// The message of the error as that rank would have printed it.
    public let message: String
    public let exitCode: ExitCode

    public init(rank: Int, message: String, exitCode: ExitCode) {
        self.rank = rank
        self.message = message
        self.exitCode = exitCode
    }

    public init(rank: Int, error: Error) {
        self.init(
            rank: rank, message: String(describing: error),
            exitCode: (error as? GraftError)?.exitCode ?? .data)
    }

    public var description: String { "rank \(rank): \(message)" }
}

extension FileHandle {
    /// Writes what a person is to read. Where nobody can (a full disk, a closed pipe), it is lost and the program
    /// goes on: `write(_:)` would end it.
    package func writeIfPossible(_ text: String) { try? write(contentsOf: Data(text.utf8)) }
}
