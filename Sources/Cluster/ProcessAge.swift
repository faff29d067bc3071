import Foundation
import Glibc

/// How long ago this process was started: before dynamic linking, and before `ThreadPlan` started the program anew.
enum ProcessAge {
    /// In seconds, to a hundredth; nil where the system does not say.
    static var seconds: Double? {
        guard let text = FileManager.default.contents(atPath: "/proc/self/stat") else { return nil }
        // The second field, in parentheses, may hold anything; the 22nd is the start in clock ticks since boot.
        let fields = String(decoding: text, as: UTF8.self).split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 19, let start = Double(fields[19]) else { return nil }
        var now = timespec()
        guard clock_gettime(CLOCK_BOOTTIME, &now) == 0 else { return nil }
        return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9 - start / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}
