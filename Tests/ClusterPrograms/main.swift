import Cluster
import Collectives

// What ClusterTests start under launch/mpirun:
// graft-cluster-check NAME [--chunk ELEMENTS] [--patience SECONDS] [ARGUMENT…]
ThreadPlan.prepareProcess()
var arguments = Array(CommandLine.arguments.dropFirst())

/// Takes `name VALUE` out of the arguments.
func option(_ name: String) -> String? {
    guard let index = arguments.firstIndex(of: name), index + 1 < arguments.count else { return nil }
    defer { arguments.removeSubrange(index...index + 1) }
    return arguments[index + 1]
}

let chunk = option("--chunk").flatMap { Int($0) } ?? 1 << 28
let patience = option("--patience").flatMap { Double($0) } ?? 30
Cluster.run(chunk: chunk, patience: patience) { collectives in
    guard let name = arguments.first, let program = programs[name] else {
        throw CheckError(
            message: "no such program; there are: " + programs.keys.sorted().joined(separator: ", "),
            exitCode: .usage)
    }
    return try program(collectives, Array(arguments.dropFirst()))
}
