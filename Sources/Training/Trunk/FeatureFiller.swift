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
    /// The frozen trunk, a batch to its outputs.
    let trunk: () throws -> (Batch) throws -> Tensor

    /// Hears how many samples have been computed, and how many there are to compute.
    let report: (_ computed: Int, _ all: Int) -> Void

    /// Samples that go through the trunk together.
    private static let batch = 32

    /// Collective.
    ///
    /// - Throws: what data and network throw, on every rank.
    func fill() throws -> Outcome {
        let begin = Date()
        var outcome = Outcome()
        let missing = try examine(&outcome)
        let total = cache.parts.reduce(0) { $0 + cache.samples(of: $1).count }
        let absent = missing.reduce(0) { $0 + cache.samples(of: $1).count }
        outcome.reusedSamples = total - absent
        guard !missing.isEmpty else { return outcome }

        var own = Share()
        var failure: Error?
        let work = Work(self, missing)
        // Together, batch by batch: what goes wrong on one rank ends all of them soon.
        for _ in 0..<work.rounds {
            do {
                if isAskedToStop() { own.isStopped = true } else { own.samples += try work.advance() }
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
            if outcome.isStopped || outcome.unwritable != nil { break }
            report(outcome.computedSamples, absent)
        }
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

    /// The samples of a part in batches.
    private func requests(_ part: FeatureCache.Part) -> [BatchRequest] {
        let samples = cache.samples(of: part)
        return stride(from: samples.lowerBound, to: samples.upperBound, by: Self.batch).map { start in
            BatchRequest(
                epoch: part.variant, step: start, indices: Array(start..<min(start + Self.batch, samples.upperBound)))
        }
    }

    /// The files that fall to this rank, one batch after the other.
    private final class Work {
        private let filler: FeatureFiller
        /// The most batches that any rank has.
        let rounds: Int
        private var batches: [(part: FeatureCache.Part, request: BatchRequest)]
        private var next = 0
        private var reading: (prefetcher: Prefetcher, trunk: (Batch) throws -> Tensor)?
        /// The file under way.
        private var header: FeatureFile.Header?
        private var values: [Float] = []
        private var begin = Date()

        init(_ filler: FeatureFiller, _ missing: [FeatureCache.Part]) {
            self.filler = filler
            let size = filler.collectives.worldSize
            let shares = (0..<size).map { rank in
                missing[Sampler.slice(0..<missing.count, rank: rank, worldSize: size)].flatMap { part in
                    filler.requests(part).map { (part: part, request: $0) }
                }
            }
            rounds = shares.map(\.count).max() ?? 0
            batches = shares[filler.collectives.rank]
        }

        deinit { reading?.prefetcher.cancel() }

        /// Computes one batch, and writes the file that it completes.
        ///
        /// - Returns: how many samples are in a file now and were not before.
        func advance() throws -> Int {
            guard next < batches.count else { return 0 }
            let (part, request) = batches[next]
            let (prefetcher, trunk) = try open()
            guard let batch = try prefetcher.next() else { return 0 }
            next += 1
            if header == nil { startFile(part) }
            var broken = batch.skipped[...]
            for sample in request.indices where !batch.indices.contains(sample) {
                header?.broken[sample] = broken.popFirst()
            }
            if batch.count > 0 { keep(try withoutTape { try trunk(batch) }, batch) }
            let isComplete = next == batches.count || batches[next].part != part
            guard isComplete, var finished = header else { return 0 }
            finished.seconds = Date().timeIntervalSince(begin)
            try FeatureFile.write(finished, values, to: filler.cache.path(of: part))
            header = nil
            return finished.samples.count
        }

        private func open() throws -> (Prefetcher, (Batch) throws -> Tensor) {
            if let reading { return reading }
            let folder = filler.cache.folder
            do {
                try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            } catch {
                throw ArchiveError.writeFailed(path: folder, call: "mkdir", reason: error.localizedDescription)
            }
            AtomicFile.removeLeftovers(in: folder)
            let prefetcher = Prefetcher(filler.loader, requests: batches.map(\.request), threads: filler.threads)
            let opened = (prefetcher, try filler.trunk())
            reading = opened
            return opened
        }

        private func startFile(_ part: FeatureCache.Part) {
            let (cache, samples) = (filler.cache, filler.cache.samples(of: part))
            let isText = cache.longestText != nil
            begin = Date()
            header = FeatureFile.Header(
                key: cache.key, variant: part.variant, first: samples.lowerBound, end: samples.upperBound,
                shape: cache.shape, lengths: isText ? [] : nil)
            values = isText ? [] : [Float](repeating: 0, count: samples.count * cache.shape.reduce(1, *))
        }

        /// Puts the rows of `features` in the places of their samples; those of texts, of which none are broken, one
        /// behind the other without what fills them up.
        private func keep(_ features: Tensor, _ batch: Batch) {
            let (width, first) = (filler.cache.shape.reduce(1, *), header?.first ?? 0)
            features.withScalars { rows in
                guard header?.lengths == nil else {
                    for (row, length) in batch.lengths.enumerated() {
                        let place = row * features.shape[1] * width
                        values += rows[place..<place + length * width]
                    }
                    header?.lengths? += batch.lengths
                    return
                }
                values.withUnsafeMutableBufferPointer { values in
                    for (row, sample) in batch.indices.enumerated() {
                        let place = (sample - first) * width
                        _ = UnsafeMutableBufferPointer(rebasing: values[place..<place + width])
                            .update(fromContentsOf: rows[row * width..<(row + 1) * width])
                    }
                }
            }
        }
    }
}
