import Datasets
import Models
import Tensors

/// The images that an int8 trunk is calibrated with: the first of the training data in their order, so that every rank
/// and every run finds the same ranges.
struct Calibration {
    static let imageCount = 64
    private static let batch = 16

    private let batches: [Tensor]

    /// - Parameter sizesAgree: whether images may be stacked.
    /// - Throws: `DatasetError` for images that cannot be read.
    init(_ loader: BatchLoader, sizesAgree: Bool) throws {
        let count = min(Self.imageCount, loader.dataset.count)
        batches = try stride(from: 0, to: count, by: sizesAgree ? Self.batch : 1).compactMap { start in
            let indices = Array(start..<min(count, start + (sizesAgree ? Self.batch : 1)))
            let batch = try loader.load(BatchRequest(epoch: 0, step: 0, indices: indices))
            return batch.count > 0 ? batch.images : nil
        }
    }

    /// Calibrates the trunk, and compares what it gives for these images with float32.
    ///
    /// - Returns: the root of the summed squares of the differences, over that of float32's outputs.
    func calibrate(_ trunk: FrozenTrunk, of network: Network) throws -> Double {
        try trunk.calibrate(with: batches)
        let exact = try FrozenTrunk(network, stages: trunk.stages)
        var (difference, whole) = (0.0, 0.0)
        for batch in batches {
            for (found, expected) in zip(try trunk(batch).scalars, try exact(batch).scalars) {
                let distance = Double(found) - Double(expected)
                difference += distance * distance
                whole += Double(expected) * Double(expected)
            }
        }
        return whole > 0 ? (difference / whole).squareRoot() : 0
    }
}
