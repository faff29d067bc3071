import Foundation
import Glibc

/// Runs a program and reads what it writes to its standard output, within limits.
enum ChildProcess {
    /// Why there is no output.
    enum Failure: Error, CustomStringConvertible {
        case notStarted(reason: String)
        case killed(signal: Int32)
        case exited(status: Int32)
        case tooSlow(seconds: Int)
        case tooMuch(bytes: Int)

        var description: String {
            switch self {
            case .notStarted(let reason): "it cannot be started: \(reason)"
            case .killed(SIGXCPU): "reading it comes to no end"
            case .killed(let signal): "reading it crashed (signal \(signal))"
            case .exited(let status): "reading it failed (status \(status))"
            case .tooSlow(let seconds): "reading it took more than \(seconds) s"
            case .tooMuch(let bytes): "reading it gave more than \(bytes) bytes"
            }
        }
    }

    /// Runs `executable`; its input and its errors are `/dev/null`. `body` reads its output, to the end of what it
    /// wants.
    ///
    /// - Throws: `Failure` where it cannot be started, crashes, fails, or exceeds a limit; else what `body` throws. The
    ///   program is then killed where it is still running.
    static func run<Result>(
        _ executable: String, _ arguments: [String], environment: [String: String], seconds: Int,
        mostBytes: Int, _ body: (inout Output) throws -> Result
    ) throws -> Result {
        let (process, file) = try start(executable, arguments, environment)
        defer { close(file) }
        var output = Output(file: file, seconds: seconds, mostBytes: mostBytes)
        do {
            let result = try body(&output)
            try output.expectEnd()
            try wait(process, until: output.deadline, seconds)
            return result
        } catch {
            // Output that ends too early ends with the program; what became of it says more.
            if !output.hasEnded { kill(process, SIGKILL) }
            let end = Swift.Result { try wait(process, until: output.deadline, seconds) }
            if output.hasEnded { try end.get() }
            throw error
        }
    }

    /// What a program writes, as it comes.
    struct Output {
        private let file: Int32
        fileprivate let deadline: UInt64
        private let seconds: Int
        private let mostBytes: Int
        private var left: Int
        /// Whether the program has closed its output.
        private(set) var hasEnded = false

        fileprivate init(file: Int32, seconds: Int, mostBytes: Int) {
            (self.file, self.seconds, self.mostBytes, left) = (file, seconds, mostBytes, mostBytes)
            deadline = DispatchTime.now().uptimeNanoseconds + UInt64(seconds) * 1_000_000_000
        }

        /// The next `count` bytes, with `startIndex` 0; fewer where the output ends before.
        mutating func read(_ count: Int) throws -> Data {
            var data = try room(for: count)
            let got = try data.withUnsafeMutableBytes { try read(into: $0) }
            return got == count ? data : data.prefix(got)
        }

        /// Memory for the next `count` bytes.
        ///
        /// - Throws: `Failure.tooMuch` where so many may not come.
        func room(for count: Int) throws -> Data {
            guard count >= 0, count <= left else { throw Failure.tooMuch(bytes: mostBytes) }
            return Data(room: count)
        }

        /// Fills memory with what comes next.
        ///
        /// - Returns: how many bytes; fewer where the output ends before.
        mutating func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
            guard target.count <= left else { throw Failure.tooMuch(bytes: mostBytes) }
            left -= target.count
            var done = 0
            while done < target.count {
                let got = try next(UnsafeMutableRawBufferPointer(rebasing: target[done...]))
                if got == 0 { break }
                done += got
            }
            return done
        }

        /// Waits until the program closes its output.
        ///
        /// - Throws: `Failure.tooMuch` where it writes more.
        fileprivate mutating func expectEnd() throws {
            var byte: UInt8 = 0
            let got = try withUnsafeMutableBytes(of: &byte) { try next($0) }
            guard got == 0 else { throw Failure.tooMuch(bytes: mostBytes) }
        }

        private mutating func next(_ target: UnsafeMutableRawBufferPointer) throws -> Int {
            while true {
                let now = DispatchTime.now().uptimeNanoseconds
                guard now < deadline else { throw Failure.tooSlow(seconds: seconds) }
                var watched = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
                let milliseconds = min((deadline - now) / 1_000_000 + 1, 60_000)
                guard poll(&watched, 1, Int32(milliseconds)) > 0 else { continue }
                let count = Glibc.read(file, target.baseAddress, min(target.count, 1 << 20))
                if count > 0 { return count }
                if count == 0 {
                    hasEnded = true
                    return 0
                }
                guard errno == EINTR else { throw Failure.notStarted(reason: FileBytes.reason(errno)) }
            }
        }
    }

    private static let starting = NSLock()

    /// Starts a program and returns where its output comes out.
    private static func start(
        _ executable: String, _ arguments: [String], _ environment: [String: String]
    ) throws -> (pid_t, output: Int32) {
        // One at a time: the other's program may not have an end of this pipe, or the output would not end.
        try starting.withLock {
            var ends: [Int32] = [-1, -1]
            guard pipe(&ends) == 0 else { throw Failure.notStarted(reason: FileBytes.reason(errno)) }
            ends.forEach { _ = fcntl($0, F_SETFD, FD_CLOEXEC) }
            defer { close(ends[1]) }
            do {
                return (try spawn(executable, arguments, environment, output: ends[1]), ends[0])
            } catch {
                close(ends[0])
                throw error
            }
        }
    }

    private static func spawn(
        _ executable: String, _ arguments: [String], _ environment: [String: String], output: Int32
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)

        var variables = ProcessInfo.processInfo.environment
        variables.merge(environment) { $1 }
        var process = pid_t()
        let status = withStrings([executable] + arguments) { argv in
            withStrings(variables.map { "\($0)=\($1)" }) { envp in
                posix_spawn(&process, executable, &actions, nil, argv, envp)
            }
        }
        guard status == 0 else { throw Failure.notStarted(reason: FileBytes.reason(status)) }
        return process
    }

    /// C strings, ended by a null pointer, for the time of a call.
    private static func withStrings<Result>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let copies = strings.map { strdup($0) }
        defer { copies.forEach { free($0) } }
        return body(copies + [nil])
    }

    /// Waits for the end of the process, which comes soon after that of its output, and throws where that was not a
    /// clean exit; one that goes on to the deadline is killed.
    private static func wait(_ process: pid_t, until deadline: UInt64, _ seconds: Int) throws {
        var status: Int32 = 0
        while true {
            let ended = waitpid(process, &status, WNOHANG)
            if ended == process { break }
            guard ended == 0 || errno == EINTR else { return }
            guard DispatchTime.now().uptimeNanoseconds < deadline else {
                kill(process, SIGKILL)
                while waitpid(process, &status, 0) < 0, errno == EINTR {}
                throw Failure.tooSlow(seconds: seconds)
            }
            usleep(200)
        }
        let signal = status & 0x7f
        if signal != 0 { throw Failure.killed(signal: signal) }
        let code = status >> 8 & 0xff
        if code != 0 { throw Failure.exited(status: code) }
    }
}
