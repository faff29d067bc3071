import Archives
import ArgumentParser
import Collectives
import Foundation

/// The root of the command: finds the subcommand, runs it, and turns what it throws into a message and an
/// exit code.
@main
struct Graft: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "graft",
        abstract: "Fine-tune pre-trained networks on a cluster of plain CPU nodes.",
        discussion: """
            From weights that somebody else trained to a network for a task of one's own:

              graft inspect mobilenet.h5                       what is in the file?
              graft train recipe.yaml --dry-run                what would training do?
              launch/mpirun -np 2 graft train recipe.yaml      train on two ranks
              graft evaluate --weights runs/a/weights.h5 --data photos/test
              graft predict --weights runs/a/weights.h5 photo.jpg

            Results go to standard output, notes to standard error; --json prints results
            for scripts.

            Exit codes: 0 done, 2 arguments or recipe, 3 data or weights, 4 diverged,
            5 a rank was lost (worth a retry), 6 stopped by a signal after saving (worth a
            requeue).
            """,
        subcommands: [
            Train.self, Evaluate.self, Predict.self, Generate.self, Convert.self, Inspect.self, ListModels.self,
            Pack.self,
            Bench.self,
        ])

    static func main() {
        // The process that HDF5 files from outside are read in; it does nothing else.
        if CommandLine.arguments.count > 2, CommandLine.arguments[1] == IsolatedReader.subcommand {
            IsolatedReader.childMain(
                path: CommandLine.arguments[2], listing: CommandLine.arguments.contains("--list"))
        }
        do {
            try refuseUnknownCommand(CommandLine.arguments.dropFirst().first)
            var command = try parseAsRoot()
            try command.run()
        } catch {
            leave(after: error)
        }
    }

    /// The parser would call a mistyped command an unexpected argument.
    private static func refuseUnknownCommand(_ word: String?) throws {
        guard let word, !word.hasPrefix("-") else { return }
        let known = configuration.subcommands.map { $0._commandName } + ["help"]
        guard !known.contains(word) else { return }
        throw CommandError.unknownCommand(name: word, nearest: nearestNames(to: word, among: known), known: known)
    }

    /// Prints what went wrong and ends the process with the documented exit code.
    private static func leave(after error: Error) -> Never {
        if let error = error as? GraftError {
            end("graft: \(error)", error.exitCode.rawValue)
        }
        let code = exitCode(for: error)
        if code == .success { exit(withError: error) }
        if code == .validationFailure {
            let message = fullMessage(for: error)
            end(message.hasPrefix("Error: ") ? "graft: " + message.dropFirst("Error: ".count) : message, 2)
        }
        if error is ArgumentParser.ExitCode { exit(withError: error) }
        end("graft: \(error.localizedDescription)", CommandError.unexpected.rawValue)
    }

    private static func end(_ message: String, _ code: Int32) -> Never {
        fflush(nil)
        Output.note(message)
        Foundation.exit(code)
    }
}
