import Foundation
import Glibc
import Logging
import Tensors

/// Reads HDF5 files from outside in a process of their own, with limits on memory and time, because
/// libhdf5 1.10 crashes on some damaged files.
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

    /// Reads an HDF5 file that is not known to be sound.
    ///
    /// - Throws: `ArchiveError.damaged` where the child crashed or ran into its limits, else what the
    ///   child found wrong.
    static func read(_ path: String, listing: Bool) throws -> WeightFile {
        try FileBytes.checkIsFile(path)
        guard let executable = executablePath() else {
            Logger(label: "graft.archives").warning(
                "no graft command beside this program: a damaged file may crash it",
                metadata: ["file": "\(path)"])
            return try parse(path, listing: listing)
        }
        let size = (try? FileBytes.size(path)) ?? 0
        let arguments = [subcommand, path] + (listing ? [listingFlag] : [])
        let output: Data
        do {
            output = try ChildProcess.run(
                executable, arguments, environment: ["SWIFT_BACKTRACE": "enable=no"],
                seconds: secondsLimit(fileSize: size), mostBytes: outputLimit(fileSize: size))
        } catch ChildProcess.Failure.notStarted(let reason) {
            throw ArchiveError.unreadable(
                path: path, reason: "\(executable) \(subcommand) does not start: \(reason)")
        } catch let failure as ChildProcess.Failure {
            throw ArchiveError.damaged(path: path, format: "HDF5", reason: failure.description)
        }
        return try IsolatedReply.decode(output, path: path)
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
        limit(RLIMIT_CPU, secondsLimit(fileSize: size))
        limit(RLIMIT_CORE, 0)
        let reply: [Data]
        do {
            reply = IsolatedReply.encode(try parse(path, listing: listing), listing: listing)
        } catch {
            reply = IsolatedReply.encode(
                error as? ArchiveError ?? .unreadable(path: path, reason: "\(error)"))
        }
        for part in reply {
            do { try FileHandle.standardOutput.write(contentsOf: part) } catch { exit(1) }
        }
        exit(0)
    }

    private static func limit(_ resource: __rlimit_resource, _ value: Int) {
        var limit = rlimit(rlim_cur: rlim_t(value), rlim_max: rlim_t(value))
        // Where a lower limit stands already, that one holds.
        _ = setrlimit(__rlimit_resource_t(resource.rawValue), &limit)
    }

    /// Reads weights of any HDF5 layout, in this process.
    private static func parse(_ path: String, listing: Bool) throws -> WeightFile {
        let file = try HDF5File(reading: path)
        if GraftLayout.recognises(file) {
            let archive = try GraftLayout.read(file, listing: listing, verifiesDigests: true)
            return listing ? archive.everything : archive.weights
        }
        if let weights = try KerasHDF5.read(file, listing: listing) { return weights }
        if listing { return try KerasHDF5.list(file) }
        throw ArchiveError.unsupported(
            path: path, feature: "an HDF5 file that is neither Graft's nor Keras's weights")
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

/// What the child sends: a magic, the length of a JSON header, the header, and the tensors' bytes one
/// after the other.
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

    var error: ArchiveError?
    var format = WeightFormat.kerasHDF5
    var metadata = WeightMetadata()
    var isListing = false
    var tensors: [Entry] = []

    static func encode(_ error: ArchiveError) -> [Data] {
        encode(IsolatedReply(error: error))
    }

    static func encode(_ file: WeightFile, listing: Bool) -> [Data] {
        let entries = file.tensors.map {
            Entry(
                name: $0.name, shape: $0.shape, elementType: $0.elementType,
                sourceElementType: $0.sourceElementType, role: $0.role, layout: $0.layout)
        }
        let reply = IsolatedReply(
            format: file.format, metadata: file.metadata, isListing: listing, tensors: entries)
        return encode(reply) + file.tensors.map(\.bytes)
    }

    private static func encode(_ reply: IsolatedReply) -> [Data] {
        // Encoding plain values cannot fail; an empty answer would be refused by the parent.
        let header = (try? JSONEncoder().encode(reply)) ?? Data()
        return [magic, withUnsafeBytes(of: UInt64(header.count).littleEndian) { Data($0) }, header]
    }

    /// Trusts the child no more than a file.
    static func decode(_ output: Data, path: String) throws -> WeightFile {
        var reader = ByteReader(output, path: path, format: "HDF5")
        guard output.count >= 16, try reader.data(8) == magic else {
            throw reader.damaged("reading it gave no answer")
        }
        guard
            let reply = try? JSONDecoder().decode(
                IsolatedReply.self, from: try reader.data(try reader.size()))
        else {
            throw reader.damaged("reading it gave a broken answer")
        }
        if let error = reply.error { throw error }
        let tensors = try reply.tensors.map { entry in
            let (size, overflow) = (StoredTensor.count(of: entry.shape) ?? -1).multipliedReportingOverflow(
                by: entry.elementType.byteCount)
            guard !overflow else { throw reader.damaged("\(entry.name) has the shape \(entry.shape)") }
            return StoredTensor(
                listed: entry.name, shape: entry.shape, elementType: entry.elementType,
                bytes: try reader.data(reply.isListing ? 0 : size),
                sourceElementType: entry.sourceElementType,
                role: entry.role, layout: entry.layout)
        }
        return WeightFile(format: reply.format, tensors: tensors, metadata: reply.metadata)
    }
}
