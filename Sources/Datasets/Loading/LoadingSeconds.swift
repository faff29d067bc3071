import Foundation

/// Where the time of making samples goes, in seconds of the thread that makes them.
public struct LoadingSeconds: Codable, Equatable, Sendable {
    /// Reading files, or pixels out of one file.
    public var read = 0.0
    /// From JPEG or PNG to pixels, upright, in the network's number of channels.
    public var decode = 0.0
    /// Resizing, together with the crop before or after it.
    public var resize = 0.0
    /// The other steps: flips, crops, colours.
    public var augment = 0.0
    /// From 8-bit pixels to normalised values, channel by channel.
    public var normalize = 0.0

    public init() {}

    public var total: Double { read + decode + resize + augment + normalize }

    public mutating func add(_ other: LoadingSeconds) {
        read += other.read
        decode += other.decode
        resize += other.resize
        augment += other.augment
        normalize += other.normalize
    }

    mutating func measure<Result>(
        _ stage: WritableKeyPath<LoadingSeconds, Double>, _ body: () throws -> Result
    ) rethrows -> Result {
        let begin = DispatchTime.now().uptimeNanoseconds
        defer { self[keyPath: stage] += Double(DispatchTime.now().uptimeNanoseconds - begin) * 1e-9 }
        return try body()
    }
}
