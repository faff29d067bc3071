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
///   - threads: that decode images or tokenise.
///   - isAskedToStop: whether to give up; asked on every rank between batches.
///   - forward: what the loader gives to logits as `OutputKind` has them, where that is not the network in evaluation.
/// - Returns: the sums over all ranks, the same on every rank.
/// - Throws: what data and network throw, and `TrainingError.notFiniteLoss`, on every rank.
public func evaluate(
    _ network: Network, on loader: any BatchSource, batch: Int, collectives: Collectives, threads: Int = 1,
    isAskedToStop: () -> Bool = { false }, forward: ((Batch, ForwardContext) throws -> Tensor)? = nil
) throws -> Evaluation {
    let architecture = network.architecture
    let areSpans = architecture.output == .spans
    var metrics = ClassificationMetrics(
        classes: areSpans ? 0 : architecture.classes, areTokens: architecture.labelsTokens,
        tags: architecture.output == .tokenClasses ? loader.dataset.classNames : nil, areSpans: areSpans)
    let batch = largestBatch(architecture, batch)
    var skipped: [String] = []
    var isStopped = false
    var failure: Error?
    let context = ForwardContext.compiledInference()
    let share = Sampler.slice(
        0..<loader.dataset.count, rank: collectives.rank, worldSize: collectives.worldSize)
    do {
        try withoutTape {
            let requests = stride(from: share.lowerBound, to: share.upperBound, by: batch).map { start in
                BatchRequest(
                    epoch: 0, step: start, indices: Array(start..<min(start + batch, share.upperBound)))
            }
            let prefetcher = Prefetcher(loader, requests: requests, threads: threads)
            defer { prefetcher.cancel() }
            while let samples = try prefetcher.next() {
                isStopped = isAskedToStop()
                if isStopped { break }
                skipped += samples.skipped
                guard samples.count > 0 else { continue }
                if !areSpans { try requireLabels(samples.labels.indices, metrics) }
                var logits = try forward.map { try $0(samples, context) } ?? network.logits(of: samples.fields, context)
                if areSpans {
                    logits = Network.spanLogits(logits, keyMask: network.keyMask(of: samples.input))
                    try metrics.countAnswers(logits, samples, of: loader.dataset)
                }
                let loss = crossEntropy(
                    logits, labels: samples.labels, ignoreIndex: metrics.areTokens ? Batch.ignoredLabel : nil)
                metrics.countEntities(logits, samples.labels)
                try logits.withScalars {
                    try metrics.add(logits: $0, labels: samples.labels.indices, lossSum: Double(loss.scalar))
                }
            }
        }
    } catch {
        failure = error
    }
    try collectives.agree(failure)
    let parts = try collectives.allGather(Evaluation(metrics: metrics, skipped: skipped, isStopped: isStopped))
    let whole = parts.dropFirst().reduce(into: parts[0]) { $0.merge($1) }
    if !whole.isStopped, !whole.metrics.lossSum.isFinite {
        try collectives.agree(
            TrainingError.notFiniteLoss(value: whole.metrics.summary.loss, source: loader.dataset.source))
    }
    return whole
}

/// What an evaluation came to.
public struct Evaluation: Codable {
    public var metrics: ClassificationMetrics
    /// What was wrong with broken files that were left out.
    public var skipped: [String]
    /// Whether it was given up before all samples were counted.
    public var isStopped: Bool

    public var summary: MetricsSummary { metrics.summary }

    mutating func merge(_ other: Evaluation) {
        metrics.merge(other.metrics)
        skipped += other.skipped
        isStopped = isStopped || other.isStopped
    }
}

extension Collectives {
    /// Every rank's value, in rank order, on every rank. Collective.
    public func allGather<Value: Codable>(_ value: Value) throws -> [Value] {
        let (encoder, decoder) = (JSONEncoder(), JSONDecoder())
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return try allGather([UInt8](encoder.encode(value))).map { try decoder.decode(Value.self, from: Data($0)) }
    }
}

/// - Throws: `TrainingError.labelOutOfRange` for a label that the network has no output for.
private func requireLabels(_ labels: [Int32], _ metrics: ClassificationMetrics) throws {
    for label in labels where label < 0 || Int(label) >= metrics.classes {
        if metrics.areTokens, label == Batch.ignoredLabel { continue }
        throw TrainingError.labelOutOfRange(label: Int(label), classes: metrics.classes)
    }
}

/// As many samples as go through the network together: no more than have logits of 256 MiB.
private func largestBatch(_ architecture: Architecture, _ batch: Int) -> Int {
    guard let tokens = architecture.tokens, architecture.labelsTokens else { return batch }
    return max(1, min(batch, (64 << 20) / max(1, tokens.positions * architecture.classes)))
}

extension Network {
    /// Logits of a batch: of its `images`, or of its `tokens` with their `segments`.
    ///
    /// - Throws: what the network throws, `TrainingError.missingField`.
    package func logits(of fields: [String: Tensor], _ context: ForwardContext) throws -> Tensor {
        try self(input(of: fields), context.reading(fields))
    }

    /// What goes in.
    func input(of fields: [String: Tensor]) throws -> Tensor {
        guard let input = fields.input else {
            throw TrainingError.missingField(
                objective: architecture.name, stream: "train", field: architecture.tokens == nil ? "images" : "tokens")
        }
        return input
    }
}

extension ForwardContext {
    /// The context for a batch with these fields.
    func reading(_ fields: [String: Tensor]) -> ForwardContext {
        var context = self
        context.segments = fields["segments"]
        return context
    }
}

extension Architecture {
    /// Whether tokens have labels, in place of samples.
    var labelsTokens: Bool { [.nextTokens, .tokenClasses, .maskedTokens].contains(output) }
}
