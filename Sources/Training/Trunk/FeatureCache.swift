import Crypto
import Datasets
import Foundation
import Glibc
import Layers
import Models
import Tensors

/// The outputs of a frozen trunk for all samples of one data set, in files of some samples each, in a folder named by
/// a digest of everything that they follow from.
///
/// How samples are divided into files depends on the data alone: whatever the number of ranks, a later run finds what
/// an earlier one has left, and a killed job loses only the files it was at.
struct FeatureCache: Sendable {
    /// Part of the data set in one variant of its augmentation.
    struct Part: Codable, Hashable, Comparable {
        var variant: Int
        /// The number of the file in its variant.
        var number: Int

        static func < (a: Part, b: Part) -> Bool { (a.variant, a.number) < (b.variant, b.number) }
    }

    let folder: String
    let key: String
    /// Samples of the data set.
    let count: Int
    /// Of one sample, or of each of its tokens where `longestText` says how many there may be.
    let shape: [Int]
    let longestText: Int?
    let variants: [Int]

    /// - Parameter parent: holds one folder per key.
    init(in parent: String, key: String, count: Int, shape: [Int], longestText: Int?, variants: [Int]) {
        folder = "\(parent)/\(key.prefix(16))"
        (self.key, self.count, self.variants) = (key, count, variants)
        (self.shape, self.longestText) = (shape, longestText)
    }

    /// Small enough that a file fits in memory and that many ranks share the work; large enough that the trunk runs
    /// well and that there are hundreds of files, not thousands.
    var samplesPerFile: Int {
        let bytesPerSample = max(1, 4 * shape.reduce(1, *) * (longestText ?? 1))
        let fitting = max(64_000_000, bytesPerSample * count / 256) / bytesPerSample
        return max(1, min(max(16, (count + 31) / 32), fitting))
    }

    var parts: [Part] {
        let files = (count + samplesPerFile - 1) / samplesPerFile
        return variants.sorted().flatMap { variant in (0..<files).map { Part(variant: variant, number: $0) } }
    }

    func samples(of part: Part) -> Range<Int> {
        part.number * samplesPerFile..<min(count, (part.number + 1) * samplesPerFile)
    }

    func path(of part: Part) -> String { "\(folder)/variant\(part.variant)-\(part.number).features" }

    /// Opens a file of the cache, checked to be what its name says.
    ///
    /// - Throws: `ArchiveError` where it is not.
    func open(_ part: Part) throws -> FeatureFile {
        let file = try FeatureFile(path(of: part))
        let (header, samples) = (file.header, samples(of: part))
        guard header.key == key, header.variant == part.variant, header.samples == samples, header.shape == shape,
            (header.lengths == nil) == (longestText == nil)
        else {
            throw FeatureFile.damaged(file.path, "it belongs to another cache")
        }
        return file
    }

    /// A digest of everything that the outputs follow from: the values of the frozen stages, the architecture, where
    /// they are cut, the algorithms, what happens to images or texts, and the data. The data's own fingerprint may know names
    /// and sizes only, so a few samples enter as the network sees them.
    ///
    /// - Parameter calibrating: whose first images an int8 trunk is calibrated with.
    static func key(
        _ network: Network, _ plan: TrunkPlan, _ loader: BatchLoader, calibrating: BatchLoader?
    ) throws -> String {
        let stages = plan.stages
        var hash = SHA256()
        func add(_ text: String) { hash.update(data: Data("\(text.utf8.count) \(text)\n".utf8)) }
        func add(_ path: String, _ value: Tensor) {
            add("\(path) \(value.shape)")
            value.withScalars { hash.update(bufferPointer: UnsafeRawBufferPointer($0)) }
        }
        let (architecture, frozen) = (network.architecture, network.stages[..<stages])
        let sizes = architecture.sizes.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        add("2 \(architecture) \(architecture.inputChannels) \(sizes) \(frozen.map(\.name))")
        add("exact convolutions \(ConvolutionAlgorithms.areExact)")
        if plan.precision == .int8 {
            add("int8 \(Calibration.imageCount) \(try calibrating?.dataset.fingerprint() ?? "")")
        }
        for parameter in network.store.parameters where frozen.contains(where: { $0.owns(parameter.path) }) {
            add(parameter.path, parameter.value)
        }
        for buffer in network.store.buffers where frozen.contains(where: { $0.owns(buffer.path) }) && !buffer.isCounter
        {
            add(buffer.path, buffer.value)
        }
        add(try loader.dataset.fingerprint())
        let count = loader.dataset.count
        let some = Set((0..<8).map { $0 * (count - 1) / 7 }).sorted()
        switch loader.input {
        case .images(let transform):
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys]
            add(String(decoding: try encoder.encode(transform), as: UTF8.self))
            add("\(loader.brokenFiles.rawValue) \(loader.isRandom ? loader.seed : 0)")
            for index in some {
                do {
                    try loader.sample(at: index, epoch: 0, transform).values.withUnsafeBytes {
                        hash.update(bufferPointer: $0)
                    }
                } catch let error as DatasetError where loader.brokenFiles == .skip && error.isBrokenSample {
                    add(error.description)
                }
            }
        case .texts(let input):
            add("\(input.tokenizer.digest()) \(input.length) \(input.stride) \(input.padding) \(input.labels.rawValue)")
            add("\(loader.isRandom ? loader.seed : 0)")
            for index in some {
                add("\(try loader.load(BatchRequest(epoch: 0, step: 0, indices: [index])).input.indices)")
            }
        }
        return hash.finalize().hexadecimal
    }
}

extension FeatureCache {
    /// Bytes of its files that are there.
    var bytesThere: Int {
        parts.reduce(0) { sum, part in
            var status = stat()
            return sum + (stat(path(of: part), &status) == 0 ? Int(status.st_size) : 0)
        }
    }

    /// Bytes that can be written on the disk that `folder` is on or will be.
    static func freeBytes(at folder: String) -> Int {
        var url = URL(fileURLWithPath: folder).standardizedFileURL
        var status = statvfs()
        while statvfs(url.path, &status) != 0 {
            if url.path == "/" { return 0 }
            url = url.deletingLastPathComponent()
        }
        return Int(status.f_bavail) * Int(status.f_frsize)
    }
}

/// Batches of a data set whose samples have gone through the frozen trunk: their `features` are its outputs. Images
/// are not read again; texts are, as their tokens say what is padding and what is to be predicted.
struct FeatureSource: BatchSource {
    let loader: BatchLoader
    let cache: FeatureCache
    /// How many variants there are in the epochs of the run.
    let variantCount: Int
    let files: [FeatureCache.Part: FeatureFile]

    /// - Throws: `ArchiveError` where a file cannot be opened.
    init(_ loader: BatchLoader, _ cache: FeatureCache, variantCount: Int) throws {
        (self.loader, self.cache, self.variantCount) = (loader, cache, variantCount)
        Self.allowOpenFiles(cache.parts.count)
        files = try Dictionary(uniqueKeysWithValues: cache.parts.map { ($0, try cache.open($0)) })
    }

    /// Lets this process hold so many files open beside those it has, where the system allows it.
    private static func allowOpenFiles(_ count: Int) {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = min(limit.rlim_max, max(limit.rlim_cur, rlim_t(1_024 + 4 * count)))
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    var dataset: any Dataset { loader.dataset }

    func load(_ request: BatchRequest) throws -> Batch {
        if case .texts = loader.input { try loadTexts(request) } else { try loadImages(request) }
    }

    private func loadTexts(_ request: BatchRequest) throws -> Batch {
        // The text as it was cut and masked when its vectors were computed.
        var kept = request
        kept.epoch = request.epoch % variantCount
        var batch = try loader.load(kept)
        batch.epoch = request.epoch
        let width = cache.shape.reduce(1, *)
        let longest = cache.longestText == nil ? nil : batch.input.shape[1]
        batch.fields["features"] = try Tensor(
            shape: [batch.count] + (longest.map { [$0] } ?? []) + cache.shape
        ) { values in
            values.update(repeating: 0)
            for (row, index) in batch.indices.enumerated() {
                let file = try file(of: index, epoch: request.epoch)
                let rows = longest == nil ? 1 : batch.lengths[row]
                guard file.header.lengths.map({ $0[index - file.header.first] == rows }) ?? true else {
                    throw FeatureFile.damaged(file.path, "sample \(index) has \(rows) tokens now")
                }
                let place = row * (longest ?? 1) * width
                try file.read(
                    index, into: UnsafeMutableBufferPointer(rebasing: values[place..<place + rows * width]))
            }
        }
        return batch
    }

    private func loadImages(_ request: BatchRequest) throws -> Batch {
        var (rows, indices, skipped): ([FeatureFile], [Int], [String]) = ([], [], [])
        for index in request.indices {
            let file = try file(of: index, epoch: request.epoch)
            if let message = file.header.broken[index] {
                skipped.append(message)
            } else {
                rows.append(file)
                indices.append(index)
            }
        }
        let length = cache.shape.reduce(1, *)
        let features = try Tensor(shape: [indices.count] + cache.shape) { values in
            for (row, index) in indices.enumerated() {
                try rows[row].read(
                    index, into: UnsafeMutableBufferPointer(rebasing: values[row * length..<(row + 1) * length]))
            }
        }
        let labels = Tensor(indices: indices.map(dataset.label(at:)), shape: [indices.count])
        return Batch(
            fields: ["features": features, "labels": labels], count: indices.count, epoch: request.epoch,
            step: request.step, position: request.position, indices: indices, skipped: skipped)
    }

    private func file(of index: Int, epoch: Int) throws -> FeatureFile {
        let part = FeatureCache.Part(variant: epoch % variantCount, number: index / cache.samplesPerFile)
        guard let file = files[part] else { throw DatasetError.sampleNotHeld(index: index) }
        return file
    }

    /// Seconds that one rank takes to compute one sample, as measured when the files were written.
    var secondsPerSample: Double {
        let samples = files.values.reduce(0) { $0 + $1.header.samples.count }
        return files.values.reduce(0) { $0 + $1.header.seconds } / Double(max(1, samples))
    }
}
