import Foundation
import Glibc

/// Runs a program and collects what it writes to its standard output, within limits.
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
            case .killed(let signal): "reading it crashed (signal \(signal))"
            case .exited(let status): "reading it failed (status \(status))"
            case .tooSlow(let seconds): "reading it took more than \(seconds) s"
            case .tooMuch(let bytes): "reading it gave more than \(bytes) bytes"
            }
        }
    }

    /// Runs `executable`; its input and its errors are `/dev/null`.
    ///
    /// - Throws: `Failure` where it cannot be started, crashes, fails, or exceeds a limit (then it is killed).
    static func run(
        _ executable: String, _ arguments: [String], environment: [String: String], seconds: Int,
        mostBytes: Int
    ) throws -> Data {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure.notStarted(reason: FileBytes.reason(errno)) }
        ends.forEach { _ = fcntl($0, F_SETFD, FD_CLOEXEC) }
        let process: pid_t
        do {
            defer { close(ends[1]) }
            process = try spawn(executable, arguments, environment, output: ends[1])
        } catch {
            close(ends[0])
            throw error
        }
        defer { close(ends[0]) }
        do {
            let output = try collect(ends[0], seconds: seconds, mostBytes: mostBytes)
            try wait(process)
            return output
        } catch {
            kill(process, SIGKILL)
            try? wait(process)
            throw error
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

    private static func collect(_ file: Int32, seconds: Int, mostBytes: Int) throws -> Data {
        let deadline = DispatchTime.now().uptimeNanoseconds + UInt64(seconds) * 1_000_000_000
        var output = Data()
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            let now = DispatchTime.now().uptimeNanoseconds
            guard now < deadline else { throw Failure.tooSlow(seconds: seconds) }
            var watched = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
            let milliseconds = min((deadline - now) / 1_000_000 + 1, 60_000)
            guard poll(&watched, 1, Int32(milliseconds)) > 0 else { continue }
            let count = Glibc.read(file, &buffer, buffer.count)
            if count == 0 { return output }
            if count < 0 {
                if errno == EINTR { continue }
                throw Failure.notStarted(reason: FileBytes.reason(errno))
            }
            guard output.count + count <= mostBytes else { throw Failure.tooMuch(bytes: mostBytes) }
            output.append(contentsOf: buffer[..<count])
        }
    }

    /// Waits for the end of the process and throws where that was not a clean exit.
    private static func wait(_ process: pid_t) throws {
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0 {
            guard errno == EINTR else { return }
        }
        let signal = status & 0x7f
        if signal != 0 { throw Failure.killed(signal: signal) }
        let code = status >> 8 & 0xff
        if code != 0 { throw Failure.exited(status: code) }
    }
}
