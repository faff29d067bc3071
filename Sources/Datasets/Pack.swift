import Archives
import Foundation
import Models
import Tensors

/// How images are brought to one size before they are packed.
public struct PackOptions: Codable, Equatable, Sendable {
    public var width: Int
    public var height: Int
    /// 1 (grey) or 3.
    public var channels: Int
    /// Whether the short side is resized and the middle cut out; else the image is stretched.
    public var keepsProportions: Bool
    public var interpolation: Interpolation
    public var brokenFiles: BrokenFilePolicy

    public init(
        width: Int, height: Int, channels: Int = 3, keepsProportions: Bool = false,
        interpolation: Interpolation = .bilinear, brokenFiles: BrokenFilePolicy = .fail
    ) {
        self.width = width
        self.height = height
        self.channels = channels
        self.keepsProportions = keepsProportions
        self.interpolation = interpolation
        self.brokenFiles = brokenFiles
    }

    /// The same as transform steps.
    var transform: Transform {
        guard keepsProportions else {
            return Transform(channels: channels, steps: [.resize(width: width, height: height, interpolation)])
        }
        return Transform(
            channels: channels,
            steps: [
                .resizeToCover(width: width, height: height, interpolation),
                .centerCrop(width: width, height: height),
            ])
    }
}

/// What packing did.
public struct PackSummary: Codable, Equatable, Sendable {
    public var samples: Int
    public var classNames: [String]
    /// The messages of broken files that were left out.
    public var skipped: [String]
}

/// Writes a data set as one HDF5 file: `/images` (uint8, N×C×H×W), `/labels` (int32, N), and on the file the
/// attributes `class_names` (a JSON array) and `preprocessing` (JSON: how the images were brought to size).
///
/// Images are decoded in parallel and written a few at a time. The file appears under its name only when it is
/// complete and on disk. h5py and h5dump read it.
///
/// - Parameter progress: called now and then with the number of samples written.
/// - Throws: `DatasetError` for a broken image, `ArchiveError` where the file cannot be written.
@discardableResult
public func packImages(
    _ dataset: any Dataset, to path: String, _ options: PackOptions, progress: ((Int) -> Void)? = nil
) throws -> PackSummary {
    let transform = options.transform
    try transform.validate()
    var indices = Array(0..<dataset.count)
    var skipped: [String] = []
    if options.brokenFiles == .skip {
        // The number of images stands at the start of the file: broken ones must be known before.
        // The images are let go of at once: all of them would hardly fit in memory.
        let found = concurrently(indices) { _ = try dataset.image(at: $0) }
        var broken: Set<Int> = []
        for case (let index, .failure(let error as DatasetError)) in zip(indices, found) where error.isBrokenSample {
            skipped.append(error.description)
            broken.insert(index)
        }
        indices.removeAll(where: broken.contains)
        if indices.isEmpty { throw DatasetError.nothingSelected(source: dataset.source) }
    }
    try AtomicFile.replace(path) { temporary in
        let file = try HDF5File(creating: temporary)
        let shape = [options.channels, options.height, options.width]
        let images = try file.root.createDataset("images", shape: [indices.count] + shape, elementType: .uint8)
        let labels = try file.root.createDataset("labels", shape: [indices.count], elementType: .int32)
        try indices.map(dataset.label(at:)).withUnsafeBytes { try labels.write($0, as: .int32) }
        try writeAttributes(of: dataset, options, to: file)
        let step = 64
        for start in stride(from: 0, to: indices.count, by: step) {
            let part = Array(indices[start..<min(start + step, indices.count)])
            let planes = try concurrently(part) { try packed(dataset, $0, transform, shape) }.flatMap { try $0.get() }
            try planes.withUnsafeBytes {
                try images.write($0, as: .uint8, offset: [start, 0, 0, 0], extent: [part.count] + shape)
            }
            progress?(start + part.count)
        }
        try file.close()
    }
    return PackSummary(samples: indices.count, classNames: dataset.classNames, skipped: skipped)
}

/// Attributes hold 64 KB; longer lists of names become a data set.
private func writeAttributes(of dataset: any Dataset, _ options: PackOptions, to file: HDF5File) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let names = String(decoding: try encoder.encode(dataset.classNames), as: UTF8.self)
    if names.utf8.count < 60_000 {
        try file.root.setAttribute("class_names", names)
    } else {
        try file.root.createText("class_names", names)
    }
    try file.root.setAttribute("preprocessing", String(decoding: try encoder.encode(options), as: UTF8.self))
}

/// One image as C×H×W bytes.
private func packed(
    _ dataset: any Dataset, _ index: Int, _ transform: Transform, _ shape: [Int]
) throws -> [UInt8] {
    let name = dataset.name(at: index)
    var unused = PhiloxGenerator(key: RandomKey(seed: 0, purpose: .augmentation))
    var seconds = LoadingSeconds()
    let stored = try dataset.storedSample(at: index)
    if case .image(.values) = stored {
        throw DatasetError.damaged(path: name, reason: "float images cannot be packed as bytes")
    }
    guard case .pixels(let changed) = try transform.changed(stored, name: name, using: &unused, &seconds) else {
        return []  // Only float images come out as floats.
    }
    let size = changed.width * changed.height
    return [UInt8](unsafeUninitializedCapacity: changed.pixels.count) { out, filled in
        for channel in 0..<changed.channels {
            for i in 0..<size { out[channel &* size &+ i] = changed.pixels[i &* changed.channels &+ channel] }
        }
        filled = changed.pixels.count
    }
}

/// `body` of every item, on all cores, results in order.
private func concurrently<Item: Sendable, Value>(
    _ items: [Item], _ body: @Sendable (Item) throws -> Value
) -> [Result<Value, Error>] {
    let results = ConcurrentResults<Value>(count: items.count)
    DispatchQueue.concurrentPerform(iterations: items.count) { i in
        let result = Result { try body(items[i]) }
        results.lock.withLock { results.values[i] = result }
    }
    return results.values.compactMap { $0 }
}

private final class ConcurrentResults<Value>: @unchecked Sendable {
    let lock = NSLock()
    var values: [Result<Value, Error>?]
    init(count: Int) { values = Array(repeating: nil, count: count) }
}
