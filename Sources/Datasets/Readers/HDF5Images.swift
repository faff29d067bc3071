import Archives
import Foundation
import Tensors

/// Images and labels in an HDF5 file: `/images` (uint8 or float32, N×C×H×W) and `/labels` (N integers).
///
/// Class names come from the attribute `class_names` of the file, if there is one: several texts, or one
/// text holding a JSON array (a data set `/class_names` of the same kind does as well). Samples are
/// read one by one; all HDF5 calls of the process take turns behind one lock. Float images are taken as
/// already normalised.
public final class HDF5Images: Dataset, @unchecked Sendable {
    public let source: String
    public let classNames: [String]
    public let labels: [Int32]
    /// Channels, height and width of every image.
    public let imageShape: [Int]
    private let images: HDF5Dataset
    private let byteCount: Int

    /// Opens the file and reads the labels.
    ///
    /// - Throws: `ArchiveError` or `DatasetError` naming the file where it is not HDF5, damaged, or where
    ///   the two data sets do not fit each other.
    public init(at path: String) throws {
        // libhdf5 itself crashes on some damaged files: let a child process look first.
        try IsolatedReader.check(path)
        let file = try HDF5File(reading: path)
        images = try file.root.dataset("images")
        let labelData = try file.root.dataset("labels")
        guard images.shape.count == 4, images.shape.allSatisfy({ $0 > 0 }),
            images.shape[1] == 1 || images.shape[1] == 3, images.shape[2] <= 1 << 16, images.shape[3] <= 1 << 16
        else {
            throw DatasetError.damaged(
                path: path, reason: "/images has the shape \(images.shape); expected N×C×H×W with C 1 or 3")
        }
        try ImageDecoder.checkSize(width: images.shape[3], height: images.shape[2], name: "\(path):/images")
        guard images.elementType == .uint8 || images.elementType == .float32 else {
            throw DatasetError.damaged(path: path, reason: "/images is neither uint8 nor float32")
        }
        switch labelData.elementType {
        case .uint8?, .int8?, .int32?, .int64?: break
        default: throw DatasetError.damaged(path: path, reason: "/labels are not integers")
        }
        guard labelData.count == images.shape[0] else {
            throw DatasetError.damaged(
                path: path, reason: "\(labelData.count) labels for \(images.shape[0]) images")
        }
        // `read` checks the claimed size against what is stored before it takes memory.
        let stored = try labelData.read(as: .int32)
        labels = stored.withUnsafeBytes { Array($0.bindMemory(to: Int32.self)) }
        source = path
        imageShape = Array(images.shape.dropFirst())
        byteCount = try FileBytes.size(path)
        guard let smallest = labels.min(), let largest = labels.max(), smallest >= 0, largest < 1 << 20 else {
            throw DatasetError.damaged(path: path, reason: "labels from \(labels.min() ?? 0) to \(labels.max() ?? 0)")
        }
        classNames = try Self.names(Self.storedNames(file.root), largestLabel: Int(largest), path: path)
        if smallest == largest {
            throw DatasetError.oneClassOnly(path: path, className: classNames[Int(largest)])
        }
    }

    /// One name per label: those stored, where there are enough, else the numbers.
    private static func names(_ stored: [String]?, largestLabel: Int, path: String) throws -> [String] {
        guard let stored else { return (0...largestLabel).map(String.init) }
        guard stored.count > largestLabel else {
            throw DatasetError.damaged(
                path: path, reason: "label \(largestLabel) where \(stored.count) class names are given")
        }
        var seen: Set<String> = []
        if let twice = stored.first(where: { !seen.insert($0).inserted }) {
            throw DatasetError.duplicateClass(name: twice)
        }
        return stored
    }

    public func name(at index: Int) -> String { "\(source):/images[\(index)]" }

    public func storedSample(at index: Int) throws -> StoredSample {
        let (channels, height, width) = (imageShape[0], imageShape[1], imageShape[2])
        let (offset, extent) = ([index, 0, 0, 0], [1] + imageShape)
        if images.elementType == .float32 {
            let values = try images.floats(offset: offset, extent: extent)
            return .image(.values(FloatImage(width: width, height: height, channels: channels, values: values)))
        }
        let planes = try images.bytes(offset: offset, extent: extent)
        let size = width * height
        let pixels = [UInt8](unsafeUninitializedCapacity: planes.count) { out, filled in
            for channel in 0..<channels {
                for i in 0..<size { out[i &* channels &+ channel] = planes[channel &* size &+ i] }
            }
            filled = planes.count
        }
        return .image(.pixels(DecodedImage(width: width, height: height, channels: channels, pixels: pixels)))
    }

    public func fingerprint() throws -> String {
        var fingerprint = Fingerprint()
        fingerprint.add(URL(fileURLWithPath: source).lastPathComponent)
        fingerprint.add(byteCount)
        for size in images.shape { fingerprint.add(size) }
        for name in classNames { fingerprint.add(name) }
        fingerprint.add(labels)
        return fingerprint.hexadecimal()
    }

    private static func storedNames(_ root: HDF5Group) throws -> [String]? {
        var texts = try root.attributeTexts("class_names")
        if texts == nil, root.kind(of: "class_names") == .dataset {
            texts = try root.dataset("class_names").texts()
        }
        if let texts, texts.count == 1,
            let list = try? JSONDecoder().decode([String].self, from: Data(texts[0].utf8))
        {
            return list
        }
        return texts
    }
}
