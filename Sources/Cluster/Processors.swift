import Foundation
import Glibc

/// What Linux says about the processors this process may use.
enum Processors {
    /// Numbers of the hardware threads this process may run on; never empty.
    static var allowed: [Int] {
        let list = allowed(process: "self")
        return list.isEmpty ? Array(0..<max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))) : list
    }

    /// The same for the process that started this one (`mpirun`, its daemon, `slurmstepd`): empty where
    /// it cannot be read.
    static var allowedForParent: [Int] { allowed(process: String(getppid())) }

    private static func allowed(process: String) -> [Int] {
        let name = "Cpus_allowed_list:"
        guard let status = text(of: "/proc/\(process)/status"),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix(name) })
        else { return [] }
        return parse(list: line.dropFirst(name.count))
    }

    /// Whether a launcher has taken processors away from a child, which it does to bind it.
    static func isSmaller(_ own: [Int], than parent: [Int]) -> Bool {
        own.count < parent.count && Set(own).isSubset(of: parent)
    }

    /// Cores behind hardware threads: two of one core count once.
    static func physicalCores(of threads: [Int]) -> Int {
        var cores: Set<String> = []
        for thread in threads {
            let topology = "/sys/devices/system/cpu/cpu\(thread)/topology/"
            guard let core = text(of: topology + "core_id"), let package = text(of: topology + "physical_package_id")
            else { return max(1, threads.count) }
            cores.insert(package + "/" + core)
        }
        return max(1, cores.count)
    }

    /// Whole processors of time that this process's control groups grant, where they limit it.
    static var quota: Int? {
        let groups = text(of: "/proc/self/cgroup") ?? ""
        guard let line = groups.split(separator: "\n").first(where: { $0.hasPrefix("0::") }) else { return nil }
        var path = "/sys/fs/cgroup" + line.dropFirst(3)
        var least: Int?
        while path.hasPrefix("/sys/fs/cgroup") {
            if let processors = text(of: path + "/cpu.max").flatMap(processors(quota:)) {
                least = min(least ?? .max, processors)
            }
            guard let slash = path.lastIndex(of: "/") else { break }
            path = String(path[..<slash])
        }
        return least
    }

    /// "200000 100000" is two processors, "max 100000" no limit.
    static func processors(quota text: String) -> Int? {
        let fields = text.split(whereSeparator: \.isWhitespace)
        guard fields.count == 2, let time = Double(fields[0]), let period = Double(fields[1]), period > 0 else {
            return nil
        }
        return max(1, Int((time / period).rounded(.up)))
    }

    /// "0-3,8" is 0, 1, 2, 3, 8.
    static func parse(list: Substring) -> [Int] {
        list.split(separator: ",").flatMap { part -> [Int] in
            let ends = part.split(separator: "-").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
            guard let first = ends.first, let last = ends.last, first <= last else { return [] }
            return Array(first...last)
        }
    }

    private static func text(of path: String) -> String? {
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
