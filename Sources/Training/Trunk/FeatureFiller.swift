import Archives
import Collectives
import Datasets
import Foundation
import Models
import Tensors

/// Completes a feature cache before a phase: all ranks look which files are there and whole, and share the rest.
struct FeatureFiller {
    /// What it came to, on all ranks alike.
    struct Outcome {
        var reusedSamples = 0
        var computedSamples = 0
        var seconds = 0.0
        /// Messages about files that were damaged and have been computed anew.
        var damaged: [String] = []
        var isStopped = false
        /// Why the files could not be written.
        var unwritable: String?
    }

    let cache: FeatureCache
    let loader: BatchLoader
    let collectives: Collectives
    /// That decode images.
    let threads: Int
    let isAskedToStop: () -> Bool
    /// The frozen trunk, images N×C×H×W to its outputs.
    let trunk: () throws -> (Tensor) throws -> Tensor

    /// Samples that go through the trunk together.
    private static let batch = 32

    /// Collective.
    ///
    /// - Throws: what data and network throw, on every rank.
    func fill() throws -> Outcome {
        let begin = Date()
        var outcome = Outcome()
        var missing = try examine(&outcome)
        let total = cache.parts.reduce(0) { $0 + cache.samples(of: $1).count }
        let absent = missing.reduce(0) { $0 + cache.samples(of: $1).count }
        outcome.reusedSamples = total - absent
        guard !missing.isEmpty else { return outcome }

        missing = Array(
            missing[Sampler.slice(0..<missing.count, rank: collectives.rank, worldSize: collectives.worldSize)])
        var own = Share()
        var failure: Error?
        do {
            try compute(missing, &own)
        } catch let error as ArchiveError {
            if case .writeFailed = error { own.unwritable = error.description } else { failure = error }
        } catch {
            failure = error
        }
        try collectives.agree(failure)
        let shares = try collectives.allGather(own)
        outcome.computedSamples = shares.reduce(0) { $0 + $1.samples }
        outcome.isStopped = shares.contains { $0.isStopped }
        outcome.unwritable = shares.compactMap(\.unwritable).first
        outcome.seconds = Date().timeIntervalSince(begin)
        return outcome
    }

    /// What one rank has computed.
    private struct Share: Codable {
        var samples = 0
        var isStopped = false
        var unwritable: String?
    }

    /// What one rank has found.
    private struct Findings: Codable {
        var missing: [FeatureCache.Part] = []
        var damaged: [String] = []
    }

    /// The parts whose files are missing or damaged, in order. Each file is read by one rank.
    private func examine(_ outcome: inout Outcome) throws -> [FeatureCache.Part] {
        var own = Findings()
        for (number, part) in cache.parts.enumerated() where number % collectives.worldSize == collectives.rank {
            guard FileManager.default.fileExists(atPath: cache.path(of: part)) else {
                own.missing.append(part)
                continue
            }
            do {
                try cache.open(part).verify()
            } catch {
                own.missing.append(part)
                own.damaged.append("\(error)")
            }
        }
        let all = try collectives.allGather(own)
        outcome.damaged = all.flatMap(\.damaged)
        return all.flatMap(\.missing).sorted()
    }

    private func compute(_ parts: [FeatureCache.Part], _ own: inout Share) throws {
        guard !parts.isEmpty else { return }
        do {
            try FileManager.default.createDirectory(atPath: cache.folder, withIntermediateDirectories: true)
        } catch {
            throw ArchiveError.writeFailed(path: cache.folder, call: "mkdir", reason: error.localizedDescription)
        }
        AtomicFile.removeLeftovers(in: cache.folder)
        let trunk = try trunk()
        let requests = parts.flatMap { part in
            let samples = cache.samples(of: part)
            return stride(from: samples.lowerBound, to: samples.upperBound, by: Self.batch).map { start in
                BatchRequest(
                    epoch: part.variant, step: start,
                    indices: Array(start..<min(start + Self.batch, samples.upperBound)))
            }
        }
        let prefetcher = Prefetcher(loader, requests: requests, threads: threads)
        defer { prefetcher.cancel() }
        for part in parts {
            guard try compute(part, from: prefetcher, trunk) else {
                own.isStopped = true
                return
            }
            own.samples += cache.samples(of: part).count
        }
    }

    /// Computes and writes one file.
    ///
    /// - Returns: false where a signal asks to stop.
    private func compute(
        _ part: FeatureCache.Part, from prefetcher: Prefetcher, _ trunk: (Tensor) throws -> Tensor
    ) throws -> Bool {
        let (begin, samples, length) = (Date(), cache.samples(of: part), cache.shape.reduce(1, *))
        var header = FeatureFile.Header(
            key: cache.key, variant: part.variant, first: samples.lowerBound, end: samples.upperBound,
            shape: cache.shape)
        var values = [Float](repeating: 0, count: samples.count * length)
        var done = samples.lowerBound
        while done < samples.upperBound {
            if isAskedToStop() { return false }
            guard let batch = try prefetcher.next() else { return false }
            let asked = min(done + Self.batch, samples.upperBound)
            var broken = batch.skipped[...]
            for sample in done..<asked where !batch.indices.contains(sample) {
                header.broken[sample] = broken.popFirst()
            }
            if batch.count > 0 {
                try withoutTape { try keep(trunk(batch.images), batch.indices, from: samples, &values) }
            }
            done = asked
        }
        header.seconds = Date().timeIntervalSince(begin)
        try FeatureFile.write(header, values, to: cache.path(of: part))
        return true
    }

    /// Puts the rows of `features` in the places of their samples.
    private func keep(
        _ features: Tensor, _ indices: [Int], from samples: Range<Int>, _ values: inout [Float]
    ) throws {
        let length = cache.shape.reduce(1, *)
        features.withScalars { rows in
            for (row, sample) in indices.enumerated() {
                let place = (sample - samples.lowerBound) * length
                values.withUnsafeMutableBufferPointer {
                    _ = UnsafeMutableBufferPointer(rebasing: $0[place..<place + length])
                        .update(fromContentsOf: rows[row * length..<(row + 1) * length])
                }
            }
        }
    }
}
