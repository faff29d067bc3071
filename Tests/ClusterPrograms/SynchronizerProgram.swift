import Cluster
import Collectives
import Foundation
import Tensors

private let counts = [3, 16, 40, 1, 257, 8, 100]

private func parameters() -> (tensors: [Tensor], planned: [PlannedParameter]) {
    let tensors = counts.map { Tensor.variable(.zeros([$0])) }
    let planned = tensors.enumerated().compactMap { index, tensor in
        tensor.variableID.map { PlannedParameter(variable: $0, count: counts[index], path: "layer\(index).weight") }
    }
    return (tensors, planned)
}

private func gradient(_ parameter: Int, pass: Int, rank: Int) -> [Float] {
    (0..<counts[parameter]).map { Float(($0 % 19) * (rank + 1) + 10 * pass + parameter) }
}

/// Gradients arrive in another order on each rank, some only on some ranks, in one and in three passes.
func checkSynchronizer(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    let (_, planned) = parameters()
    for bucketBytes in [1, 200, 1 << 20] {
        let plan = BucketPlan(
            trainable: planned, statisticsCount: 5, firstBucketBytes: bucketBytes, bucketBytes: bucketBytes)
        let synchronizer = GradientSynchronizer(plan: plan, collectives: collectives)
        for passes in [1, 3, 1] {
            try runStep(synchronizer, collectives, planned, passes: passes)
        }
    }
    try checkRefusals(collectives, planned)
    if collectives.rank == 0 { print("gradients agree on \(collectives.worldSize) ranks") }
    return .done
}

/// Parameter 3 has a gradient on rank 0 only, parameter 4 nowhere, parameter 5 in the first pass only.
private func contributes(_ parameter: Int, pass: Int, rank: Int) -> Bool {
    switch parameter {
    case 3: rank == 0
    case 4: false
    case 5: pass == 0
    default: true
    }
}

private func runStep(
    _ synchronizer: GradientSynchronizer, _ collectives: Collectives, _ planned: [PlannedParameter], passes: Int
) throws {
    let rank = collectives.rank
    synchronizer.beginStep(passes: passes)
    for pass in 0..<passes {
        if pass == passes - 1 {
            for index in 0..<5 { synchronizer.statistics[index] = Float(index + 2 * rank) }
        }
        let rotated = counts.indices.map { ($0 + 3 * rank + pass) % counts.count }
        for parameter in rank % 2 == 0 ? rotated : rotated.reversed()
        where contributes(parameter, pass: pass, rank: rank) {
            let values = gradient(parameter, pass: pass, rank: rank)
            try synchronizer.gradientReady(
                .dense(Tensor(values, shape: [values.count])), for: planned[parameter].variable)
        }
        if pass < passes - 1 { synchronizer.endPass() }
    }
    let sums = try synchronizer.finish()
    for (parameter, entry) in planned.enumerated() {
        var expected = [Float](repeating: 0, count: entry.count)
        for rank in 0..<collectives.worldSize {
            for pass in 0..<passes where contributes(parameter, pass: pass, rank: rank) {
                for (index, value) in gradient(parameter, pass: pass, rank: rank).enumerated() { expected[index] += value }
            }
        }
        try expect(sums[entry.variable].map { Array($0) }, equals: expected, "gradient of \(entry.path)")
    }
    let mean = Float(collectives.worldSize - 1)
    try expect(Array(synchronizer.statistics), equals: (0..<5).map { Float($0) + mean }, "statistics")
}

private func checkRefusals(_ collectives: Collectives, _ planned: [PlannedParameter]) throws {
    let plan = BucketPlan(trainable: planned, firstBucketBytes: 1, bucketBytes: 1)
    let synchronizer = GradientSynchronizer(plan: plan, collectives: collectives)
    synchronizer.beginStep()
    func refusal(_ body: () throws -> Void) -> ClusterError? {
        do { try body() } catch { return error as? ClusterError }
        return nil
    }
    let last = planned[counts.count - 1]
    let wrong = refusal {
        try synchronizer.gradientReady(.dense(.zeros([last.count + 1])), for: last.variable)
    }
    try expect(
        wrong, equals: .gradientSize(variable: last.path, expected: last.count, actual: last.count + 1), "size")
    try synchronizer.gradientReady(.dense(.zeros([last.count])), for: last.variable)
    let late = refusal { try synchronizer.gradientReady(.dense(.zeros([last.count])), for: last.variable) }
    try expect(late, equals: .lateGradient(variable: last.path), "late")
    _ = try synchronizer.finish()
}

/// `overlap MIB MILLISECONDS`: buckets of this many MiB in all, computing between them. Prints how long
/// the exchange takes alone and how much of it computing did not hide.
func measureOverlap(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    let elements = max(1, number(arguments, 0)) << 18
    let computing = Double(number(arguments, 1)) / 1000
    let pieces = 20
    let tensors = (0..<pieces).map { _ in Tensor.variable(.zeros([1])) }
    let planned = tensors.compactMap(\.variableID).map {
        PlannedParameter(variable: $0, count: elements / pieces, path: "weight")
    }
    let plan = BucketPlan(trainable: planned)
    let synchronizer = GradientSynchronizer(plan: plan, collectives: collectives)
    let gradient = Tensor.ones([elements / pieces])
    func step(computing: Double) throws -> Double {
        try collectives.barrier()
        synchronizer.beginStep()
        for entry in planned.reversed() {
            let end = seconds() + computing / Double(pieces)
            while seconds() < end { collectives.progress() }
            try synchronizer.gradientReady(.dense(gradient), for: entry.variable)
        }
        _ = try synchronizer.finish()
        return synchronizer.waitedSeconds
    }
    _ = try step(computing: 0)
    let begin = seconds()
    _ = try step(computing: 0)
    let alone = seconds() - begin
    let waited = try step(computing: computing)
    if collectives.rank == 0 {
        print(String(format: "alone %.1f ms, waited %.1f ms", alone * 1e3, waited * 1e3))
    }
    return .done
}

/// `allreduce MIB`: seconds of one sum, median of nine.
func measureAllReduce(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    var values = [Float](repeating: 1, count: max(1, number(arguments, 0)) << 18)
    var times: [Double] = []
    for _ in 0..<9 {
        try collectives.barrier()
        let begin = seconds()
        try values.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
        times.append(seconds() - begin)
    }
    if collectives.rank == 0 { print(String(format: "%.1f ms", times.sorted()[4] * 1e3)) }
    return .done
}

private func seconds() -> Double { Double(DispatchTime.now().uptimeNanoseconds) * 1e-9 }
