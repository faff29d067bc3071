import Archives
import Collectives
import Foundation

/// The checkpoints of one run: generations named by their step, and the best one.
///
///     checkpoints/step-00000120.h5   a generation; the newest `generations` stay
///     checkpoints/best.h5            the one with the best validation
///     checkpoints/….h5.set-aside     damaged, or newer than the one that a run was resumed from
///
/// A checkpoint is handed over as an archive of copied values; building the file, checking it and writing
/// it happen on a thread of their own while training goes on. A file appears under its name only when it
/// is whole and on the disk, so the last good checkpoint survives anything. Used by rank 0 only.
public final class CheckpointStore {
    public let directory: String
    private let generations: Int
    private var writer: Thread?
    private let done = DispatchSemaphore(value: 0)
    private var failure: Error?

    /// - Parameter generations: how many to keep, at least 2.
    public init(directory: String, generations: Int) {
        self.directory = directory
        self.generations = max(2, generations)
    }

    /// Starts writing a checkpoint; waits for the one before to be done.
    ///
    /// - Parameter isBest: also replaces `best.h5`.
    /// - Throws: what went wrong with the checkpoint before.
    public func save(_ archive: GraftArchive, step: Int, isBest: Bool) throws {
        try wait()
        let (directory, generations) = (directory, generations)
        let finish: (Error?) -> Void = { [self] error in
            failure = error
            done.signal()
        }
        let thread = Thread {
            do {
                let path = Self.path(step: step, in: directory)
                let data = try archive.encoded(path)
                try AtomicFile.write(data, to: path)
                if isBest { try AtomicFile.write(data, to: "\(directory)/best.h5") }
                Self.removeOldGenerations(in: directory, keeping: generations)
                finish(nil)
            } catch {
                finish(error)
            }
        }
        thread.name = "graft-checkpoint"
        // Room for the HDF5 library.
        thread.stackSize = 8 << 20
        writer = thread
        thread.start()
    }

    /// Returns when nothing is being written.
    /// - Throws: what went wrong with the last checkpoint, once.
    public func wait() throws {
        guard writer != nil else { return }
        done.wait()
        writer = nil
        if let error = failure {
            failure = nil
            throw error
        }
    }

    /// What went wrong with a checkpoint that has been finished in the meantime, without waiting; the same each
    /// time, until `wait` or `save` throws it.
    public func failureSoFar() -> Error? {
        guard writer != nil, done.wait(timeout: .now()) == .success else { return nil }
        // For whoever waits next.
        done.signal()
        return failure
    }

    /// The newest checkpoint that is whole, and the damaged ones that were passed over to find it.
    public static func newestValid(in directory: String) -> (path: String?, damaged: [String]) {
        var damaged: [String] = []
        for name in names(in: directory).reversed() {
            let path = "\(directory)/\(name)"
            if GraftArchive.isValid(path) { return (path, damaged) }
            damaged.append(path)
        }
        return (nil, damaged)
    }

    /// Takes the generations after `step` out of the way of a run that goes on from there: damaged, or of what it
    /// is about to do again. Left as they are, they would push its own out, and be taken for its newest.
    ///
    /// - Returns: what is renamed, by its old and new name.
    /// - Throws: `ArchiveError.writeFailed`.
    public func setAside(after step: Int) throws -> [(old: String, new: String)] {
        try Self.names(in: directory).filter { Self.step(of: $0) ?? 0 > step }.map { name in
            let (old, new) = ("\(directory)/\(name)", "\(directory)/\(name).set-aside")
            guard rename(old, new) == 0 else {
                throw ArchiveError.writeFailed(path: old, call: "rename", reason: String(cString: strerror(errno)))
            }
            return (old, new)
        }
    }

    private static func step(of name: String) -> Int? { Int(name.dropFirst("step-".count).dropLast(".h5".count)) }

    private static func path(step: Int, in directory: String) -> String {
        let digits = String(step)
        return "\(directory)/step-\(String(repeating: "0", count: max(0, 8 - digits.count)))\(digits).h5"
    }

    /// Generations, oldest first.
    private static func names(in directory: String) -> [String] {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return all.filter { $0.hasPrefix("step-") && $0.hasSuffix(".h5") }.sorted()
    }

    private static func removeOldGenerations(in directory: String, keeping count: Int) {
        for name in names(in: directory).dropLast(count) {
            try? FileManager.default.removeItem(atPath: "\(directory)/\(name)")
        }
    }
}
