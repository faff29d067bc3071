import Archives
import Tensors

/// Samples that go through the network together: named tensors with the samples along the first dimension.
public struct Batch: Sendable {
    /// Of images `images` (N×C×H×W, float32) and `labels` (N, int32). Of texts `tokens` (N×T, int32), `labels` (N; of
    /// running text N×T, with `ignoredLabel` where nothing is to be predicted) and, where there are pairs, `segments` (N×T).
    /// `features` (N×…, float32) are what frozen layers make of these, where that is known.
    public var fields: [String: Tensor]
    /// How many samples; 0 where a small last batch leaves nothing for this rank.
    public let count: Int
    public var epoch: Int
    public let step: Int
    /// The position in the epoch of the first sample.
    public let position: Int
    /// The numbers in the data set of the samples that are here.
    public let indices: [Int]
    /// The messages of broken files that were left out.
    public let skipped: [String]
    /// Tokens of each text, without what fills it up; empty where samples are no texts.
    public let lengths: [Int]
    /// What loading it cost the thread that did.
    public let loading: LoadingSeconds

    public init(
        fields: [String: Tensor], count: Int, epoch: Int = 0, step: Int = 0, position: Int = 0,
        indices: [Int] = [], skipped: [String] = [], lengths: [Int] = [],
        loading: LoadingSeconds = LoadingSeconds()
    ) {
        self.fields = fields
        self.count = count
        self.epoch = epoch
        self.step = step
        self.position = position
        self.indices = indices
        self.skipped = skipped
        self.lengths = lengths
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

    /// What goes into the network: images, or tokens N×T.
    /// - Precondition: the batch has one of the two.
    public var input: Tensor { fields.input ?? field("tokens") }

    /// The label of positions that count nothing.
    public static let ignoredLabel: Int32 = -100

    /// The batch with its texts filled up to `length` tokens; one of images as it is.
    ///
    /// - Parameter padding: the token that fills up.
    public func padded(to length: Int, with padding: Int32) -> Batch {
        guard let tokens = fields["tokens"], tokens.shape[1] < length else { return self }
        var batch = self
        for (name, filler) in [("tokens", padding), ("segments", 0), ("labels", Self.ignoredLabel)] {
            guard let field = fields[name], field.shape == tokens.shape else { continue }
            batch.fields[name] = Tensor(rows: field.rows, length: length, filledWith: filler)
        }
        if let features = fields["features"], features.rank > 2, features.shape[1] == tokens.shape[1] {
            batch.fields["features"] = features.padded(to: length)
        }
        return batch
    }

    private func field(_ name: String) -> Tensor {
        guard let tensor = fields[name] else {
            preconditionFailure("Batch: no field '\(name)' among \(fields.keys.sorted())")
        }
        return tensor
    }
}

extension [String: Tensor] {
    /// What goes in at the first layer: `images`, or `tokens`.
    package var input: Tensor? { self["images"] ?? self["tokens"] }
}

extension Tensor {
    /// N×T×… float32 with zeros behind the T vectors of each row, up to `length` of them.
    fileprivate func padded(to length: Int) -> Tensor {
        let (width, filled) = (shape.dropFirst(2).reduce(1, *), shape[1])
        return Tensor(shape: [shape[0], length] + shape.dropFirst(2)) { target in
            target.update(repeating: 0)
            withScalars { values in
                for row in 0..<shape[0] {
                    let place = row * length * width
                    _ = UnsafeMutableBufferPointer(rebasing: target[place..<place + filled * width])
                        .update(fromContentsOf: values[row * filled * width..<(row + 1) * filled * width])
                }
            }
        }
    }

    /// Rows of indices of uneven length as one N×T tensor, T at least 1.
    ///
    /// - Parameter length: T; at least that of the longest row.
    init(rows: [[Int32]], length: Int, filledWith filler: Int32) {
        self.init(
            indices: rows.flatMap { $0 + [Int32](repeating: filler, count: length - $0.count) },
            shape: [rows.count, length])
    }

    /// The rows of indices N×T.
    fileprivate var rows: [[Int32]] {
        let (all, length) = (indices, shape[1])
        return (0..<shape[0]).map { Array(all[$0 * length..<($0 + 1) * length]) }
    }
}
