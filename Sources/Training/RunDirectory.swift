import Archives
import Collectives
import Foundation

/// The folder of one run:
///
///     recipe.yaml      resolved, every default written out
///     log.jsonl        one JSON object per line: steps, epochs, phases
///     summary.json     ranks, images per second, seconds, last and best validation
///     checkpoints/     see `CheckpointStore`
///     weights.h5       the network after the last phase
///
/// Used by rank 0 only.
public final class RunDirectory {
    public let path: String
    public var checkpoints: String { "\(path)/checkpoints" }
    public var weights: String { "\(path)/weights.h5" }
    public var summary: String { "\(path)/summary.json" }
    private var log: FileHandle?

    /// - Parameter continuing: whether the run that is already there is to go on; else the folder must be new
    ///   or empty.
    /// - Throws: `RunDirectoryError` naming the folder.
    public init(_ path: String, continuing: Bool) throws {
        self.path = path
        let files = FileManager.default
        if !continuing, let entries = try? files.contentsOfDirectory(atPath: path), !entries.isEmpty {
            throw RunDirectoryError.inUse(path: path)
        }
        do {
            try files.createDirectory(atPath: checkpoints, withIntermediateDirectories: true)
            try requireWritable()
            for folder in [path, checkpoints] { AtomicFile.removeLeftovers(in: folder) }
        } catch {
            throw RunDirectoryError.unwritable(path: path, reason: reason(error))
        }
    }

    /// A folder on a read-only mount exists but takes no files: find out before training, not after.
    private func requireWritable() throws {
        let probe = "\(checkpoints)/.writable"
        try Data().write(to: URL(fileURLWithPath: probe))
        try FileManager.default.removeItem(atPath: probe)
    }

    /// Writes a text file of the run.
    /// - Throws: `ArchiveError.writeFailed`, which is about data: the folder could be written when the run began.
    public func write(_ text: String, to name: String) throws {
        try AtomicFile.write(Data(text.utf8), to: "\(path)/\(name)")
    }

    /// Appends a line to `log.jsonl`. A log that cannot be written stops nothing: the checkpoint will say so.
    public func append(_ record: some Encodable) {
        guard let line = try? JSONEncoder.forScripts().encode(record) else { return }
        if log == nil {
            let file = "\(path)/log.jsonl"
            if !FileManager.default.fileExists(atPath: file) {
                _ = FileManager.default.createFile(atPath: file, contents: nil)
            }
            log = FileHandle(forWritingAtPath: file)
            _ = try? log?.seekToEnd()
        }
        try? log?.write(contentsOf: line + Data("\n".utf8))
    }

    private func reason(_ error: Error) -> String {
        let error = error as NSError
        if let underlying = error.userInfo[NSUnderlyingErrorKey] as? NSError, underlying.domain == NSPOSIXErrorDomain {
            return String(cString: strerror(Int32(underlying.code)))
        }
        // Foundation does not always pass on what the system said.
        if mkdir(checkpoints, 0o777) == -1, errno != EEXIST { return String(cString: strerror(errno)) }
        return error.localizedDescription
    }
}

extension JSONEncoder {
    /// The JSON that scripts read: `--json`, `log.jsonl` and `summary.json`. Keys are in snake_case and sorted;
    /// numbers that are not finite become the texts `nan`, `inf` and `-inf`.
    public static func forScripts(_ formatting: OutputFormatting = []) -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = formatting.union([.sortedKeys, .withoutEscapingSlashes])
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return encoder
    }
}

/// What can be wrong with a run's folder.
public enum RunDirectoryError: GraftError, Equatable {
    case inUse(path: String)
    case unwritable(path: String, reason: String)

    public var exitCode: ExitCode { .usage }

    public var description: String {
        switch self {
        case .inUse(let path):
            return "\(path): the output folder is in use; give another --output, or --resume auto to go on with "
                + "the run in it, where it holds one"
        case .unwritable(let path, let reason):
            return "\(path): cannot be written: \(reason); give a --output that can"
        }
    }
}
