import Cluster
import Collectives
import Foundation

/// Every collective, whole arrays against what they must be; run with small chunks too.
func checkCollectives(_ collectives: Collectives, _ arguments: [String]) throws -> ExitCode {
    for count in [0, 1, 2, 5, 7, 8, 64, 1000, 100_003] {
        try checkSums(collectives, count: count)
        try checkMessages(collectives, count: count)
    }
    try checkTwoCommunicators(collectives)
    try collectives.barrier()
    if collectives.rank == 0 { print("collectives agree on \(collectives.worldSize) ranks") }
    return .done
}

/// What rank `rank` contributes at `index`: small integers, whose sums are exact.
private func contribution(_ rank: Int, _ index: Int) -> Int { (index % 1013) * (rank + 1) + rank }

private func checkSums(_ collectives: Collectives, count: Int) throws {
    let rank = collectives.rank
    let sums = (0..<count).map { index in (0..<collectives.worldSize).reduce(0) { $0 + contribution($1, index) } }
    var floats = (0..<count).map { Float(contribution(rank, $0)) }
    try floats.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
    try expect(floats, equals: sums.map { Float($0) }, "sum of \(count) floats")

    var doubles = (0..<count).map { Double(contribution(rank, $0)) }
    try doubles.withUnsafeMutableBufferPointer { try collectives.allReduceSum($0) }
    try expect(doubles, equals: sums.map { Double($0) }, "sum of \(count) doubles")

    var overlapped = (0..<count).map { Float(contribution(rank, $0)) }
    try overlapped.withUnsafeMutableBufferPointer { values in
        let pending = try collectives.startAllReduceSum(values)
        while try !pending.test() { collectives.progress() }
        try pending.wait()
    }
    try expect(overlapped, equals: sums.map { Float($0) }, "overlapped sum of \(count) floats")
}

private func message(from rank: Int, count: Int) -> [UInt8] {
    // Lengths differ between ranks, and one rank has nothing to say.
    (0..<count * rank).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ rank) }
}

private func checkMessages(_ collectives: Collectives, count: Int) throws {
    let rank = collectives.rank
    let ranks = 0..<collectives.worldSize
    let all = ranks.map { message(from: $0, count: count) }
    for root in ranks {
        var bytes =
            rank == root ? message(from: root + 1, count: count) : [UInt8](repeating: 0, count: count * (root + 1))
        try bytes.withUnsafeMutableBytes { try collectives.broadcast($0, from: root) }
        try expect(bytes, equals: message(from: root + 1, count: count), "broadcast of \(count) from \(root)")
        let gathered = try collectives.gather(message(from: rank, count: count), at: root)
        try expect(gathered, equals: rank == root ? all : [], "gather of \(count) at \(root)")
    }
    try expect(
        collectives.allGather(message(from: rank, count: count)), equals: all, "all-gather of \(count)")

    // Around a ring: even ranks send first.
    let next = (rank + 1) % collectives.worldSize
    let previous = (rank + collectives.worldSize - 1) % collectives.worldSize
    let own = message(from: rank + 1, count: count)
    func send() throws { try own.withUnsafeBytes { try collectives.send($0, to: next, tag: 7) } }
    if rank % 2 == 0, collectives.worldSize > 1 { try send() }
    if rank % 2 == 1 || collectives.worldSize == 1 {
        if collectives.worldSize == 1 { try send() }
        try expect(
            collectives.receive(from: previous, tag: 7), equals: message(from: previous + 1, count: count), "receive")
        if collectives.worldSize > 1 { try send() }
    } else {
        try expect(
            collectives.receive(from: previous, tag: 7), equals: message(from: previous + 1, count: count), "receive")
    }
}

/// A small vector is summed while buckets are under way, at a different moment on each rank.
private func checkTwoCommunicators(_ collectives: Collectives) throws {
    let sumOfRanks = Float((0..<collectives.worldSize).reduce(0, +))
    var buckets = (0..<3).map { _ in [Float](repeating: Float(collectives.rank), count: 70_000) }
    var denominators = [Double(collectives.rank), 1]
    try denominators.withUnsafeMutableBufferPointer { denominators in
        var pending: [PendingReduction] = []
        for index in buckets.indices {
            if index == collectives.rank % 3 { try collectives.allReduceSum(denominators) }
            let memory = buckets[index].withUnsafeMutableBufferPointer { $0 }
            pending.append(try collectives.startAllReduceSum(memory))
            collectives.progress()
        }
        for reduction in pending { try reduction.wait() }
    }
    try expect(denominators, equals: [Double(sumOfRanks), Double(collectives.worldSize)], "denominators")
    for bucket in buckets {
        try expect(bucket, equals: [Float](repeating: sumOfRanks, count: 70_000), "bucket")
    }
}
