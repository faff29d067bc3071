import Collectives
import Datasets
import Foundation
import Layers
import Models
import Tensors

/// Evaluates a network on every sample of a data set exactly once, at any number of ranks. Collective.
///
/// - Parameters:
///   - batch: samples per forward pass of one rank.
///   - threads: that decode images.
/// - Returns: the sums over all ranks, the same on every rank.
/// - Throws: what data and network throw, on every rank.
public func evaluate(
    _ network: Network, on loader: BatchLoader, batch: Int, collectives: Collectives, threads: Int = 1,
    progress: ((_ done: Int, _ total: Int) -> Void)? = nil
) throws -> ClassificationMetrics {
    var metrics = ClassificationMetrics(classes: network.architecture.classes)
    var failure: Error?
    let share = Sampler.slice(
        0..<loader.dataset.count, rank: collectives.rank, worldSize: collectives.worldSize)
    do {
        try withoutTape {
            let requests = stride(from: share.lowerBound, to: share.upperBound, by: batch).map { start in
                BatchRequest(
                    epoch: 0, step: start, indices: Array(start..<min(start + batch, share.upperBound)))
            }
            let prefetcher = Prefetcher(loader, requests: requests, threads: threads)
            while let samples = try prefetcher.next() {
                guard samples.count > 0 else { continue }
                try requireLabels(samples.labels.indices, classes: metrics.classes)
                let logits = try network(samples.images, .inference)
                let loss = crossEntropy(logits, labels: samples.labels)
                try logits.withScalars {
                    try metrics.add(logits: $0, labels: samples.labels.indices, lossSum: Double(loss.scalar))
                }
                progress?(metrics.samples, share.count)
            }
        }
    } catch {
        failure = error
    }
    try collectives.agree(failure)
    return try collectives.merged(metrics)
}

extension Collectives {
    /// The sum of every rank's metrics, in rank order, on every rank. Collective.
    func merged(_ metrics: ClassificationMetrics) throws -> ClassificationMetrics {
        guard worldSize > 1 else { return metrics }
        let parts: [ClassificationMetrics] = try allGather(metrics)
        return parts.dropFirst().reduce(into: parts[0]) { $0.merge($1) }
    }

    /// Every rank's value, in rank order, on every rank. Collective.
    public func allGather<Value: Codable>(_ value: Value) throws -> [Value] {
        try allGather([UInt8](JSONEncoder().encode(value))).map {
            try JSONDecoder().decode(Value.self, from: Data($0))
        }
    }
}

/// - Throws: `TrainingError.labelOutOfRange` for a label that the network has no output for.
private func requireLabels(_ labels: [Int32], classes: Int) throws {
    for label in labels where label < 0 || Int(label) >= classes {
        throw TrainingError.labelOutOfRange(label: Int(label), classes: classes)
    }
}
