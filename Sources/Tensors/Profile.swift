import Foundation

/// Where the time of a computation goes, by kind of operation: what `graft bench step --profile` prints.
///
/// Kernels report themselves through `measure`; what no kernel accounts for is the framework's own time.
public final class Profile {
    /// All calls of one kind of operation.
    public struct Entry: Encodable, Sendable {
        public let name: String
        public internal(set) var calls = 0
        public internal(set) var seconds = 0.0
        /// Bytes read and written, each array counted once per call.
        public internal(set) var bytes = 0
        /// Multiplications and additions as a direct computation counts them; 0 where bytes are what matters.
        public internal(set) var operations = 0
    }

    private var entries: [String: Entry] = [:]
    private nonisolated(unsafe) static var current: Profile?

    /// Profiles `body`, which computes on this thread.
    ///
    /// - Returns: what it did, the longest first.
    public static func of(_ body: () throws -> Void) rethrows -> [Entry] {
        let profile = Profile()
        current = profile
        defer { current = nil }
        try body()
        return profile.entries.values.sorted { ($0.seconds, $0.name) > ($1.seconds, $1.name) }
    }

    /// Runs one kernel, and notes it where a profile is being made.
    @inline(__always)
    public static func measure<Result>(
        _ name: StaticString, bytes: @autoclosure () -> Int, operations: @autoclosure () -> Int = 0,
        _ body: () throws -> Result
    ) rethrows -> Result {
        guard let current else { return try body() }
        let begin = DispatchTime.now().uptimeNanoseconds
        let result = try body()
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - begin) * 1e-9
        current.note("\(name)", seconds, bytes(), operations())
        return result
    }

    private func note(_ name: String, _ seconds: Double, _ bytes: Int, _ operations: Int) {
        var entry = entries[name] ?? Entry(name: name)
        entry.calls += 1
        entry.seconds += seconds
        entry.bytes += bytes
        entry.operations += operations
        entries[name] = entry
    }
}
