import Archives
import Tensors

/// Samples that go through the network together: named tensors with the samples along the first dimension.
public struct Batch: Sendable {
    /// `images` (N×C×H×W, float32) and `labels` (N, int32); other readers add their own.
    public var fields: [String: Tensor]
    /// How many samples; 0 where a small last batch leaves nothing for this rank.
    public let count: Int
    public let epoch: Int
    public let step: Int
    /// The position in the epoch of the first sample.
    public let position: Int
    /// The numbers in the data set of the samples that are here.
    public let indices: [Int]
    /// The messages of broken files that were left out.
    public let skipped: [String]
    /// What loading it cost the thread that did.
    public let loading: LoadingSeconds

    public init(
        fields: [String: Tensor], count: Int, epoch: Int = 0, step: Int = 0, position: Int = 0,
        indices: [Int] = [], skipped: [String] = [], loading: LoadingSeconds = LoadingSeconds()
    ) {
        self.fields = fields
        self.count = count
        self.epoch = epoch
        self.step = step
        self.position = position
        self.indices = indices
        self.skipped = skipped
        self.loading = loading
    }

    /// The field `name`, if there is one.
    public subscript(name: String) -> Tensor? { fields[name] }

    /// N×C×H×W, float32.
    /// - Precondition: the batch has images.
    public var images: Tensor { field("images") }

    /// N class labels, int32.
    /// - Precondition: the batch has labels.
    public var labels: Tensor { field("labels") }

    private func field(_ name: String) -> Tensor {
        guard let tensor = fields[name] else {
            preconditionFailure("Batch: no field '\(name)' among \(fields.keys.sorted())")
        }
        return tensor
    }
}

/// What to do with a file that cannot be decoded.
public enum BrokenFilePolicy: String, Codable, Sendable, CaseIterable {
    /// Stop with an error that names it.
    case fail = "error"
    /// Leave it out of its batch and say so in `Batch.skipped`.
    case skip
}

/// Where batches of a data set come from.
public protocol BatchSource: Sendable {
    var dataset: any ImageDataset { get }
    /// The batch that `request` describes; called from several threads.
    /// - Throws: `DatasetError` or `ArchiveError` naming a file.
    func load(_ request: BatchRequest) throws -> Batch
}

/// Turns requests into batches: decodes, transforms, stacks. Random steps of the transform draw from a stream
/// keyed by (seed, augmentation, epoch, sample), so that threads and ranks change nothing.
public struct BatchLoader: BatchSource {
    public let dataset: any ImageDataset
    public let transform: Transform
    public let seed: UInt64
    public let brokenFiles: BrokenFilePolicy

    public init(
        dataset: any ImageDataset, transform: Transform, seed: UInt64 = 0, brokenFiles: BrokenFilePolicy = .fail
    ) {
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.brokenFiles = brokenFiles
    }

    /// Sample `index` as the network sees it in `epoch`.
    public func sample(at index: Int, epoch: Int) throws -> FloatImage {
        var seconds = LoadingSeconds()
        switch try changedSample(at: index, epoch: epoch, &seconds) {
        case .pixels(let image): return transform.normalization(image)
        case .values(let image): return image
        }
    }

    /// The sample after all steps of the transform, not yet normalised where it has pixels.
    private func changedSample(at index: Int, epoch: Int, _ seconds: inout LoadingSeconds) throws -> SampleImage {
        var generator = PhiloxGenerator(
            key: RandomKey(seed: seed, purpose: .augmentation, epoch: epoch, position: index))
        let stored = try seconds.measure(\.read) { try dataset.storedImage(at: index) }
        return try transform.changed(stored, name: dataset.name(at: index), using: &generator, &seconds)
    }

    /// The batch that `request` describes.
    /// - Throws: `DatasetError` naming a file that is unreadable, broken (unless those are skipped) or
    ///   of another size than the first.
    public func load(_ request: BatchRequest) throws -> Batch {
        var samples: [SampleImage] = []
        var (indices, skipped): ([Int], [String]) = ([], [])
        var seconds = LoadingSeconds()
        for index in request.indices {
            do {
                samples.append(try changedSample(at: index, epoch: request.epoch, &seconds))
                indices.append(index)
            } catch let error as DatasetError where brokenFiles == .skip && error.isBrokenSample {
                skipped.append(error.description)
            }
        }
        let images = try seconds.measure(\.normalize) { try stack(samples, indices) }
        return Batch(
            fields: [
                "images": images,
                "labels": Tensor(indices: indices.map(dataset.label(at:)), shape: [indices.count]),
            ],
            count: indices.count, epoch: request.epoch, step: request.step, position: request.position,
            indices: indices, skipped: skipped, loading: seconds)
    }

    /// The samples normalised, one after the other: 8-bit pixels become floats where the network reads them.
    private func stack(_ samples: [SampleImage], _ indices: [Int]) throws -> Tensor {
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
