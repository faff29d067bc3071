import Archives
import Tensors

/// What to do with a file that cannot be decoded.
public enum BrokenFilePolicy: String, Codable, Sendable, CaseIterable {
    /// Stop with an error that names it.
    case fail = "error"
    /// Leave it out of its batch and say so in `Batch.skipped`.
    case skip
}

/// Where batches of a data set come from.
public protocol BatchSource: Sendable {
    var dataset: any Dataset { get }
    /// The batch that `request` describes; called from several threads.
    /// - Throws: `DatasetError` or `ArchiveError` naming a file.
    func load(_ request: BatchRequest) throws -> Batch
}

/// How stored samples become what a network takes.
public enum SampleInput: Sendable {
    case images(Transform)
    case texts(TextInput)
}

/// Turns requests into batches: decodes, transforms and stacks images; tokenises texts and fills them up. What is random
/// draws from a stream keyed by (seed, augmentation, epoch, sample), so that threads and ranks change nothing.
public struct BatchLoader: BatchSource {
    public let dataset: any Dataset
    public let input: SampleInput
    public let seed: UInt64
    public let brokenFiles: BrokenFilePolicy

    public init(
        dataset: any Dataset, input: SampleInput, seed: UInt64 = 0, brokenFiles: BrokenFilePolicy = .fail
    ) {
        self.dataset = dataset
        self.input = input
        self.seed = seed
        self.brokenFiles = brokenFiles
    }

    public init(
        dataset: any Dataset, transform: Transform, seed: UInt64 = 0, brokenFiles: BrokenFilePolicy = .fail
    ) {
        self.init(dataset: dataset, input: .images(transform), seed: seed, brokenFiles: brokenFiles)
    }

    /// Whether a sample is different in every epoch: an augmented image, running text cut or masked elsewhere.
    public var isRandom: Bool {
        switch input {
        case .images(let transform): transform.isRandom
        case .texts(let input):
            switch input.labels {
            case .maskedTokens: true
            case .nextTokens: (dataset as? RunningText)?.offsets != .sequential
            case .texts, .words, .spans: false
            }
        }
    }

    /// Tokens of all texts together, as they go into the network; 0 where samples are no texts.
    /// - Throws: as `load`.
    public func tokenCount() throws -> Int {
        guard case .texts = input else { return 0 }
        return try stride(from: 0, to: dataset.count, by: 256).reduce(0) { sum, start in
            let indices = Array(start..<min(start + 256, dataset.count))
            return sum + (try load(BatchRequest(epoch: 0, step: 0, indices: indices)).lengths.reduce(0, +))
        }
    }

    /// The batch that `request` describes.
    /// - Throws: `DatasetError` naming a file that is unreadable, broken (unless those are skipped) or
    ///   of another size than the first.
    public func load(_ request: BatchRequest) throws -> Batch {
        switch input {
        case .images(let transform): try loadImages(request, transform)
        case .texts(let input): try loadTexts(request, input)
        }
    }

    /// What random steps draw from for sample `index` in `epoch`.
    private func generator(_ index: Int, epoch: Int) -> PhiloxGenerator {
        PhiloxGenerator(key: RandomKey(seed: seed, purpose: .augmentation, epoch: epoch, position: index))
    }

    private func loadTexts(_ request: BatchRequest, _ input: TextInput) throws -> Batch {
        var seconds = LoadingSeconds()
        var sequences: [TokenSequence] = []
        for index in request.indices {
            let stored = try seconds.measure(\.read) { try dataset.storedSample(at: index) }
            var generator = generator(index, epoch: request.epoch)
            sequences.append(
                try seconds.measure(\.decode) {
                    try input.sequence(
                        stored, label: dataset.label(at: index), name: dataset.name(at: index), using: &generator)
                })
        }
        return Batch(
            fields: input.stack(sequences), count: sequences.count, epoch: request.epoch, step: request.step,
            position: request.position, indices: request.indices, lengths: sequences.map(\.tokens.count),
            loading: seconds)
    }
}

// MARK: - Images

extension BatchLoader {
    /// Image `index` as the network sees it in `epoch`.
    public func sample(at index: Int, epoch: Int, _ transform: Transform) throws -> FloatImage {
        var seconds = LoadingSeconds()
        switch try changedSample(at: index, epoch: epoch, transform, &seconds) {
        case .pixels(let image): return transform.normalization(image)
        case .values(let image): return image
        }
    }

    /// The sample after all steps of the transform, not yet normalised where it has pixels.
    private func changedSample(
        at index: Int, epoch: Int, _ transform: Transform, _ seconds: inout LoadingSeconds
    ) throws -> SampleImage {
        var generator = generator(index, epoch: epoch)
        let stored = try seconds.measure(\.read) { try dataset.storedSample(at: index) }
        return try transform.changed(stored, name: dataset.name(at: index), using: &generator, &seconds)
    }

    private func loadImages(_ request: BatchRequest, _ transform: Transform) throws -> Batch {
        var samples: [SampleImage] = []
        var (indices, skipped): ([Int], [String]) = ([], [])
        var seconds = LoadingSeconds()
        for index in request.indices {
            do {
                samples.append(try changedSample(at: index, epoch: request.epoch, transform, &seconds))
                indices.append(index)
            } catch let error as DatasetError where brokenFiles == .skip && error.isBrokenSample {
                skipped.append(error.description)
            }
        }
        let images = try seconds.measure(\.normalize) { try stack(samples, indices, transform) }
        return Batch(
            fields: [
                "images": images,
                "labels": Tensor(indices: indices.map(dataset.label(at:)), shape: [indices.count]),
            ],
            count: indices.count, epoch: request.epoch, step: request.step, position: request.position,
            indices: indices, skipped: skipped, loading: seconds)
    }

    /// The samples normalised, one after the other: 8-bit pixels become floats where the network reads them.
    private func stack(_ samples: [SampleImage], _ indices: [Int], _ transform: Transform) throws -> Tensor {
        guard let first = samples.first else {
            let size = transform.outputSize ?? (0, 0)
            return Tensor([], shape: [0, transform.channels, size.1, size.0])
        }
        let shape = first.shape
        for (sample, index) in zip(samples, indices) where sample.shape != shape {
            throw DatasetError.wrongImageSize(path: dataset.name(at: index), expected: shape, actual: sample.shape)
        }
        return Tensor(shape: [samples.count] + shape) { target in
            guard var to = target.baseAddress else { return }
            for sample in samples {
                switch sample {
                case .pixels(let image): transform.normalization.fill(to, from: image)
                case .values(let image): to.update(from: image.values, count: image.values.count)
                }
                to += shape.reduce(1, *)
            }
        }
    }
}

extension SampleImage {
    /// Channels, height, width.
    fileprivate var shape: [Int] {
        switch self {
        case .pixels(let image): [image.channels, image.height, image.width]
        case .values(let image): [image.channels, image.height, image.width]
        }
    }
}
