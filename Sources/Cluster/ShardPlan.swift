import Collectives
import Datasets
import Foundation

/// Sends samples from the coordinator to workers that have no file system in common with it.
///
/// Before every epoch each rank gets the samples that its slices of the global batches will hold in that
/// epoch, and forgets those of the epoch before: the order is the same as with a shared file system, and a rank
/// never holds more than its part.
final class ShardPlan {
    private let collectives: Collectives
    private let tag = 71

    init(_ collectives: Collectives) { self.collectives = collectives }

    /// Deals samples out. Collective; rank 0 keeps reading from its own data set.
    ///
    /// - Parameters:
    ///   - source: on rank 0, where samples come from.
    ///   - target: on other ranks, where they go.
    ///   - indices: the samples that a rank needs.
    func deal(
        from source: (any Dataset)?, to target: ReceivedSamples?, _ indices: (_ rank: Int) -> [Int]
    ) throws {
        if let source, collectives.rank == 0 {
            for rank in 1..<max(1, collectives.worldSize) {
                var encoder = try SampleShardEncoder(source, indices: indices(rank))
                while let chunk = try encoder.next() {
                    try chunk.withUnsafeBytes { try collectives.send($0, to: rank, tag: tag) }
                }
                // An empty message ends the sequence.
                try [UInt8]().withUnsafeBytes { try collectives.send($0, to: rank, tag: tag) }
            }
        } else if let target {
            target.removeAll()
            while case let chunk = try collectives.receive(from: 0, tag: tag), !chunk.isEmpty {
                try target.append(chunk)
            }
            try target.finish()
        }
    }
}
