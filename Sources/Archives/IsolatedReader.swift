import Foundation
import Glibc
import Logging
import Tensors

/// Reads HDF5 files in a process of their own, with limits on memory and time, because libhdf5 1.10 crashes on some
/// damaged files. Graft's own are no exception: whoever makes a file to do harm can compute its digest.
///
/// The process is the `graft` command itself, as `graft read-hdf5 FILE`: it hands the tensors over a
/// pipe. Where there is no such command beside the running program (nor in `GRAFT_EXECUTABLE`), the
/// file is read in this process, after a warning.
public enum IsolatedReader {
    /// The hidden subcommand.
    public static let subcommand = "read-hdf5"
    /// Makes the child send what the tensors are, without their values.
    static let listingFlag = "--list"

    /// Bytes of tensors: weights hardly compress, but a few zeros may.
    private static func outputLimit(fileSize: Int) -> Int { (256 << 20) + 16 * fileSize }
    /// Memory of the child: room for the program itself, and for the tensors twice.
    private static func memoryLimit(fileSize: Int) -> Int { (2 << 30) + 2 * outputLimit(fileSize: fileSize) }
    /// Seconds for a file: slow disks deliver 5 MB/s.
    private static func secondsLimit(fileSize: Int) -> Int { 60 + fileSize / 5_000_000 }
    /// Seconds of computing: libhdf5 goes round in circles in some damaged files.
    private static func processorLimit(fileSize: Int) -> Int { 5 + fileSize / 5_000_000 }

    /// Reads an HDF5 file that is not known to be sound.
    ///
    /// - Throws: `ArchiveError.damaged` where the child crashed or ran into its limits, else what the
    ///   child found wrong.
    static func read(_ path: String, listing: Bool) throws -> WeightFile {
        try FileBytes.checkIsFile(path)
        guard let executable = executablePath() else {
            // Damage to a sealed file has been found before.
            if try FileKind(of: path) != .graft {
                Logger(label: "graft.archives").warning(
                    "no graft command beside this program: a damaged file may crash it",
                    metadata: ["file": "\(path)"])
            }
            return try parse(path, listing: listing)
        }
        let size = (try? FileBytes.size(path)) ?? 0
        let arguments = [subcommand, path] + (listing ? [listingFlag] : [])
        do {
            return try ChildProcess.run(
                executable, arguments, environment: ["SWIFT_BACKTRACE": "enable=no"],
                seconds: secondsLimit(fileSize: size), mostBytes: outputLimit(fileSize: size)
            ) { try IsolatedReply.read(&$0, listing: listing, path: path) }
        } catch ChildProcess.Failure.notStarted(let reason) {
            throw ArchiveError.unreadable(
                path: path, reason: "\(executable) \(subcommand) does not start: \(reason)")
        } catch let failure as ChildProcess.Failure {
            throw ArchiveError.damaged(path: path, format: "HDF5", reason: failure.description)
        }
    }

    /// Has an HDF5 file from outside, such as a data set, looked through by the child: its groups, what its data
    /// sets are, their attributes. What passes can be opened with `HDF5File`.
    ///
    /// - Throws: `ArchiveError` where the child found something wrong or did not survive it.
    public static func check(_ path: String) throws {
        _ = try read(path, listing: true)
    }

    /// What the child does: limits itself, parses, streams the answer to its standard output, exits.
    public static func childMain(path: String, listing: Bool = false) -> Never {
        // Sockets of the cluster and pipes of other children are none of its business.
        for file in Int32(3)..<1_024 { close(file) }
        let size = (try? FileBytes.size(path)) ?? 0
        limit(RLIMIT_AS, memoryLimit(fileSize: size))
        limit(RLIMIT_CPU, processorLimit(fileSize: size), grace: 2)
        limit(RLIMIT_CORE, 0)
        do {
            try IsolatedReply.write(Swift.Result { try open(path, everything: listing) }, listing: listing)
        } catch {
            exit(1)
        }
        exit(0)
    }

    /// - Parameter grace: between the signal that a limit gives and the end without one.
    private static func limit(_ resource: __rlimit_resource, _ value: Int, grace: Int = 0) {
        var limit = rlimit(rlim_cur: rlim_t(value), rlim_max: rlim_t(value + grace))
        // Where a lower limit stands already, that one holds.
        _ = setrlimit(__rlimit_resource_t(resource.rawValue), &limit)
    }

    /// Opens weights of any HDF5 layout, and those of a `.keras` archive, in this process.
    private static func open(_ path: String, everything: Bool) throws -> HDF5Weights {
        let kind = try FileKind(of: path)
        if kind == .zip { return try KerasArchive.weights(path) }
        // The digest of a sealed file is that of all its bytes, and has been compared where values are asked for.
        return try HDF5Weights(
            try HDF5File(reading: path), everything: everything, verifiesDigests: kind != .graft)
    }

    private static func parse(_ path: String, listing: Bool) throws -> WeightFile {
        let weights = try open(path, everything: listing)
        return listing ? weights.listing : try weights.read()
    }

    private static func executablePath() -> String? {
        if let given = ProcessInfo.processInfo.environment["GRAFT_EXECUTABLE"], !given.isEmpty {
            return given
        }
        guard let running = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        else { return nil }
        let beside = URL(fileURLWithPath: running).deletingLastPathComponent().appendingPathComponent("graft")
            .path
        return FileManager.default.isExecutableFile(atPath: beside) ? beside : nil
    }
}

/// What the child sends: a magic, the length of a JSON header, the header; then each tensor in parts, each as its length
/// and its bytes, read when they are sent: the child holds a part, the parent the tensors. A length of all ones is followed
/// by the length of an error as JSON, and the error.
private struct IsolatedReply: Codable {
    struct Entry: Codable {
        var name: String
        var shape: [Int]
        var elementType: ElementType
        var sourceElementType: ElementType
        var role: StoredTensor.Role
        var layout: String?
    }

    private static let magic = Data("GRAFTRP1".utf8)
    private static let failure = UInt64.max
    private static let longestHeader = 1 << 28

    var error: ArchiveError?
    var format = WeightFormat.kerasHDF5
    var metadata = WeightMetadata()
    var tensors: [Entry] = []

    // MARK: The child

    static func write(_ result: Result<HDF5Weights, Error>, listing: Bool) throws {
        switch result {
        case .failure(let error):
            try send([magic] + framed(try JSONEncoder().encode(IsolatedReply(error: archiveError(error)))))
        case .success(let weights):
            let reply = IsolatedReply(
                format: weights.format, metadata: weights.metadata,
                tensors: weights.entries.map(\.tensor).map {
                    Entry(
                        name: $0.name, shape: $0.shape, elementType: $0.elementType,
                        sourceElementType: $0.sourceElementType, role: $0.role, layout: $0.layout)
                })
            try send([magic] + framed(try JSONEncoder().encode(reply)))
            for entry in listing ? [] : weights.entries {
                do {
                    try weights.forEachPart(of: entry) { part in
                        guard let start = part.baseAddress, !part.isEmpty else { return }
                        try send(framed(Data(bytesNoCopy: start, count: part.count, deallocator: .none)))
                    }
                } catch let error as ArchiveError {
                    return try send([length(failure)] + framed(try JSONEncoder().encode(error)))
                }
            }
        }
    }

    private static func archiveError(_ error: Error) -> ArchiveError {
        error as? ArchiveError ?? .unreadable(path: "HDF5", reason: "\(error)")
    }

    private static func framed(_ bytes: Data) -> [Data] { [length(UInt64(bytes.count)), bytes] }

    private static func length(_ value: UInt64) -> Data { withUnsafeBytes(of: value.littleEndian) { Data($0) } }

    private static func send(_ parts: [Data]) throws {
        for part in parts { try FileHandle.standardOutput.write(contentsOf: part) }
    }

    // MARK: The parent

    /// Trusts the child no more than a file.
    static func read(_ output: inout ChildProcess.Output, listing: Bool, path: String) throws -> WeightFile {
        func damaged(_ reason: String) -> ArchiveError { .damaged(path: path, format: "HDF5", reason: reason) }
        func length(_ output: inout ChildProcess.Output) throws -> UInt64 {
            let bytes = try output.read(8)
            guard bytes.count == 8 else { throw damaged("reading it gave no answer") }
            return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        func object<Value: Decodable>(_ type: Value.Type, _ output: inout ChildProcess.Output) throws -> Value {
            let size = try length(&output)
            guard size <= longestHeader, let value = try? JSONDecoder().decode(type, from: try output.read(Int(size)))
            else { throw damaged("reading it gave a broken answer") }
            return value
        }
        func values(size: Int, _ output: inout ChildProcess.Output) throws -> Data {
            var bytes = try output.room(for: size)
            try bytes.withUnsafeMutableBytes { target in
                var done = 0
                while done < size {
                    let count = try length(&output)
                    if count == failure { throw try object(ArchiveError.self, &output) }
                    guard count > 0, count <= UInt64(size - done),
                        try output.read(into: .init(rebasing: target[done..<done + Int(count)])) == count
                    else { throw damaged("reading it gave a broken answer") }
                    done += Int(count)
                }
            }
            return bytes
        }
        guard try output.read(8) == magic else { throw damaged("reading it gave no answer") }
        let reply = try object(IsolatedReply.self, &output)
        if let error = reply.error { throw error }
        var tensors: [StoredTensor] = []
        for entry in reply.tensors {
            let (size, overflow) = (StoredTensor.count(of: entry.shape) ?? -1).multipliedReportingOverflow(
                by: entry.elementType.byteCount)
            guard !overflow, size >= 0 else { throw damaged("\(entry.name) has the shape \(entry.shape)") }
            let bytes = try values(size: listing ? 0 : size, &output)
            tensors.append(
                StoredTensor(
                    listed: entry.name, shape: entry.shape, elementType: entry.elementType, bytes: bytes,
                    sourceElementType: entry.sourceElementType, role: entry.role, layout: entry.layout))
        }
        return WeightFile(format: reply.format, tensors: tensors, metadata: reply.metadata)
    }
}
