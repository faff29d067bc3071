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
                for (index, value) in gradient(parameter, pass: pass, rank: rank).enumerated() {
                    expected[index] += value
                }
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

/// The exchange of 64 MiB in 20 buckets while convolutions are computed, and nothing else: without the hook it
/// stands still, with the hook it ends. By counts, not by the clock: a busy machine only makes it slower.
func checkOverlap(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    guard let mpi = collectives as? MPICollectives else { throw CheckError(message: "needs several ranks") }
    let elements = (64 << 18) / 20
    let tensors = (0..<20).map { _ in Tensor.variable(.zeros([1])) }
    let planned = tensors.compactMap(\.variableID).map {
        PlannedParameter(variable: $0, count: elements, path: "weight")
    }
    let plan = BucketPlan(trainable: planned, firstBucketBytes: 4 * elements, bucketBytes: 4 * elements)
    let synchronizer = GradientSynchronizer(plan: plan, collectives: mpi)
    let images = Tensor.ones([2, 8, 32, 32])
    let weight = Tensor.ones([8, 8, 3, 3])
    try mpi.barrier()
    synchronizer.beginStep()
    for entry in planned.reversed() {
        try synchronizer.gradientReady(.dense(.ones([elements])), for: entry.variable)
    }

    let started = mpi.reductionsUnderWay
    guard started > 0 else { throw CheckError(message: "no reduction is left to overlap with") }
    for _ in 0..<100 { _ = convolution2D(images, weight: weight) }
    try expect(mpi.reductionsUnderWay, equals: started, "reductions under way without the hook")

    ComputationHook.set { mpi.progress() }
    defer { ComputationHook.set(nil) }
    let patience = seconds() + 40
    while mpi.reductionsUnderWay > 0, seconds() < patience { _ = convolution2D(images, weight: weight) }
    try expect(mpi.reductionsUnderWay, equals: 0, "reductions under way with the hook")
    let sums = try synchronizer.finish()
    let ranks = Float(mpi.worldSize)
    for entry in planned {
        guard let sum = sums[entry.variable], sum.allSatisfy({ $0 == ranks }) else {
            throw CheckError(message: "a sum is not \(ranks)", exitCode: .numerical)
        }
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
