import Archives
import Foundation
import Glibc

/// A copy of this process that read a file as `graft read-hdf5` does.
///
/// Not for anything but tests: of a process with several threads the copy has one, and whatever the others held stays
/// held.
struct ReadingCopy {
    /// What ended it; 0 where it ended by itself.
    let signal: Int32
    /// `read`, `refused`, `circles` for what does not end, or what became of it.
    let outcome: String
    let seconds: Double
    /// The most memory that it had, shared with the original included.
    let kilobytes: Int

    /// Microseconds of computing, of the seconds that `graft` allows.
    private static let patience = 250_000

    private typealias Fork = @convention(c) () -> pid_t

    /// - Throws: an error of the system's.
    init(of path: String) throws {
        guard let symbol = dlsym(nil, "fork") else { throw POSIXError(.ENOSYS) }
        let fork = unsafeBitCast(symbol, to: Fork.self)
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw POSIXError(.EMFILE) }
        // Or the copy would print it again.
        fflush(nil)
        let start = DispatchTime.now().uptimeNanoseconds
        let process = fork()
        if process == 0 {
            dup2(ends[1], 1)
            // libhdf5 goes round in circles in one of a hundred: seconds of it would be most of the time.
            var timer = itimerval(it_interval: timeval(), it_value: timeval(tv_sec: 0, tv_usec: Self.patience))
            setitimer(__itimer_which_t(ITIMER_PROF.rawValue), &timer, nil)
            IsolatedReader.childMain(path: path)
        }
        close(ends[1])
        defer { close(ends[0]) }
        guard process > 0 else { throw POSIXError(.EAGAIN) }
        let answer = FileHandle(fileDescriptor: ends[0], closeOnDealloc: false).readDataToEndOfFile()
        var (status, usage) = (Int32(0), rusage())
        while wait4(process, &status, 0, &usage) < 0, errno == EINTR {}
        seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
        kilobytes = usage.ru_maxrss
        signal = status & 0x7f
        if signal == SIGPROF {
            outcome = "circles"
        } else if signal != 0 {
            outcome = "signal \(signal)"
        } else if status != 0 {
            outcome = "status \(status >> 8)"
        } else {
            outcome = Self.isError(answer) ? "refused" : "read"
        }
    }

    /// Whether the answer's header, after a magic and a length of 8 bytes each, or its end says what is wrong.
    private static func isError(_ answer: Data) -> Bool {
        guard answer.count > 16 else { return true }
        let length = answer[8..<16].reversed().reduce(0) { $0 << 8 | Int($1) }
        let header = try? JSONSerialization.jsonObject(with: answer[16..<min(answer.count, 16 + length)])
        let values = answer.dropFirst(16 + length)
        return (header as? [String: Any]).map { $0["error"] != nil } ?? true
            || values.range(of: Data(repeating: 0xff, count: 8)) != nil
    }
}
