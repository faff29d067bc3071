import Foundation

/// Samples on their way from the coordinator to a worker that has no file system of its own.
///
/// The encoder is a sequence of chunks of bounded size; sent in order and handed to `ReceivedSamples.append`, they
/// become a data set. Files travel as they are (JPEG stays JPEG). Integers and floats are little endian:
///
/// ```
/// "GRAFTSH1"  source  fingerprint  class count, class names…  label count, labels (int32)…  sample count
/// per sample: number (u64)  name  kind (u8: 0 file, 1 pixels, 2 floats, 3 text, 4 two texts, 5 tokens, 6 words,
///                                        7 question)
///             kind 0: byte count (u64), bytes;  1 and 2: width, height, channels (u32), values
///             kinds 3 and 4: texts;  5: token count (u64), tokens (int32)
///             kind 6: word count (u64), words; labels (int32)
///             kind 7: number, window (u64), question, context, answer count (u64), per answer start (u64), text
/// texts: byte count (u32), UTF-8
/// ```
public struct SampleShardEncoder {
    private let dataset: any Dataset
    private let indices: [Int]
    private let chunkBytes: Int
    private var position = 0
    private var pending: [UInt8] = []

    /// - Parameters:
    ///   - indices: the samples to send.
    ///   - chunkBytes: the most bytes per chunk.
    public init(_ dataset: any Dataset, indices: [Int], chunkBytes: Int = 8 << 20) throws {
        self.dataset = dataset
        self.indices = indices
        self.chunkBytes = max(chunkBytes, 1)
        pending = Array(ShardFormat.magic)
        pending.appendText(dataset.source)
        pending.appendText(try dataset.fingerprint())
        pending.appendInteger(UInt64(dataset.classNames.count))
        for name in dataset.classNames { pending.appendText(name) }
        pending.appendInteger(UInt64(dataset.count))
        for label in dataset.labels { pending.appendInteger(UInt32(bitPattern: label)) }
        pending.appendInteger(UInt64(indices.count))
    }

    /// The next chunk, nil after the last.
    /// - Throws: `DatasetError` naming a file that cannot be read.
    public mutating func next() throws -> [UInt8]? {
        while pending.count < chunkBytes && position < indices.count {
            try appendSample(indices[position])
            position += 1
        }
        if pending.isEmpty { return nil }
        let chunk = Array(pending.prefix(chunkBytes))
        pending.removeFirst(chunk.count)
        return chunk
    }

    private mutating func appendSample(_ index: Int) throws {
        pending.appendInteger(UInt64(index))
        pending.appendText(dataset.name(at: index))
        switch try dataset.storedSample(at: index) {
        case .encoded(let bytes):
            pending.append(0)
            pending.appendInteger(UInt64(bytes.count))
            pending += bytes
        case .image(.pixels(let image)):
            pending.append(1)
            for size in [image.width, image.height, image.channels] { pending.appendInteger(UInt32(size)) }
            pending += image.pixels
        case .image(.values(let image)):
            pending.append(2)
            for size in [image.width, image.height, image.channels] { pending.appendInteger(UInt32(size)) }
            for value in image.values { pending.appendInteger(value.bitPattern) }
        case .text(let sample):
            pending.append(sample.pair == nil ? 3 : 4)
            pending.appendText(sample.text)
            if let pair = sample.pair { pending.appendText(pair) }
        case .words(let words, let labels):
            pending.append(6)
            pending.appendInteger(UInt64(words.count))
            for word in words { pending.appendText(word) }
            for label in labels { pending.appendInteger(UInt32(bitPattern: label)) }
        case .question(let question):
            pending.append(7)
            for number in [question.number, question.window] { pending.appendInteger(UInt64(number)) }
            pending.appendText(question.question)
            pending.appendText(question.context)
            pending.appendInteger(UInt64(question.answers.count))
            for answer in question.answers {
                pending.appendInteger(UInt64(answer.start))
                pending.appendText(answer.text)
            }
        case .tokens(let tokens):
            pending.append(5)
            pending.appendInteger(UInt64(tokens.count))
            for token in tokens { pending.appendInteger(UInt32(bitPattern: token)) }
        }
    }
}

/// The samples a worker has been sent, under the numbers they have in the coordinator's data set.
///
/// Labels and class names are those of the whole data set; asking for a sample that was not
/// sent is an error. Several shards of one data set may come one after the other.
public final class ReceivedSamples: Dataset, @unchecked Sendable {
    private let lock = NSLock()
    // All below is guarded by `lock`.
    private var header = ShardHeader()
    private var samples: [Int: (name: String, sample: StoredSample)] = [:]
    private var pending: [UInt8] = []
    private var expected: UInt64?

    public init() {}

    public var source: String { lock.withLock { header.source } }
    public var classNames: [String] { lock.withLock { header.classNames } }
    public var labels: [Int32] { lock.withLock { header.labels } }
    public func fingerprint() -> String { lock.withLock { header.fingerprint } }

    /// The numbers of the samples that are here, ascending.
    public var held: [Int] { lock.withLock { samples.keys.sorted() } }

    public func label(at index: Int) -> Int32 { lock.withLock { header.labels[index] } }

    public func name(at index: Int) -> String {
        lock.withLock { samples[index]?.name ?? "\(header.source)[\(index)]" }
    }

    public func storedSample(at index: Int) throws -> StoredSample {
        guard let sample = lock.withLock({ samples[index] }) else {
            throw DatasetError.sampleNotHeld(index: index)
        }
        return sample.sample
    }

    /// Takes in the next chunk.
    /// - Throws: `DatasetError.damagedShard` where the chunks do not make sense.
    public func append(_ chunk: [UInt8]) throws {
        try lock.withLock {
            pending += chunk
            var reader = ShardReader(bytes: pending)
            if expected == nil {
                guard let new = try reader.readHeader() else { return }
                guard samples.isEmpty || new.header.fingerprint == header.fingerprint else {
                    throw DatasetError.damagedShard(reason: "two data sets in one")
                }
                (header, expected) = (new.header, new.sampleCount)
            }
            var start = reader.position
            while let left = expected, left > 0, let sample = try reader.readSample() {
                guard header.labels.indices.contains(sample.index) else {
                    throw DatasetError.damagedShard(reason: "sample \(sample.index) of \(header.labels.count)")
                }
                samples[sample.index] = (sample.name, sample.sample)
                expected = left - 1
                start = reader.position
            }
            pending.removeFirst(start)
            guard expected == 0 else { return }
            expected = nil
            if !pending.isEmpty { throw DatasetError.damagedShard(reason: "more bytes than announced") }
        }
    }

    /// To be called after the last chunk of a shard.
    /// - Throws: `DatasetError.damagedShard` where samples are missing.
    public func finish() throws {
        try lock.withLock {
            if let expected { throw DatasetError.damagedShard(reason: "\(expected) samples missing") }
            if !pending.isEmpty || header.labels.isEmpty {
                throw DatasetError.damagedShard(reason: "it ends too early")
            }
        }
    }

    /// Forgets samples, to make room for the next shard.
    public func removeAll(where isUnwanted: (Int) -> Bool = { _ in true }) {
        lock.withLock { samples = samples.filter { !isUnwanted($0.key) } }
    }
}

private enum ShardFormat {
    static let magic = "GRAFTSH1".utf8
}

private struct ShardHeader {
    var source = ""
    var fingerprint = ""
    var classNames: [String] = []
    var labels: [Int32] = []
}

/// Reads what is complete: nil where the bytes end first.
private struct ShardReader {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func readHeader() throws -> (header: ShardHeader, sampleCount: UInt64)? {
        let magic = bytes.prefix(ShardFormat.magic.count)
        guard ShardFormat.magic.starts(with: magic) else {
            throw DatasetError.damagedShard(reason: "it does not begin as one")
        }
        guard take(ShardFormat.magic.count) != nil, let source = try text(), let fingerprint = try text(),
            let classCount = integer(UInt64.self)
        else { return nil }
        guard classCount <= 1 << 24 else { throw DatasetError.damagedShard(reason: "\(classCount) classes") }
        var header = ShardHeader(source: source, fingerprint: fingerprint)
        for _ in 0..<classCount {
            guard let name = try text() else { return nil }
            header.classNames.append(name)
        }
        guard let count = integer(UInt64.self) else { return nil }
        guard count <= 1 << 40 else { throw DatasetError.damagedShard(reason: "\(count) labels") }
        guard let labels = integers(Int(count)) else { return nil }
        header.labels = labels
        let labelCount = max(1, header.classNames.count)
        guard labels.allSatisfy({ $0 >= 0 && $0 < labelCount }) else {
            throw DatasetError.damagedShard(reason: "labels beyond the classes")
        }
        guard let sampleCount = integer(UInt64.self) else { return nil }
        return (header, sampleCount)
    }

    mutating func readSample() throws -> (index: Int, name: String, sample: StoredSample)? {
        guard let number = integer(UInt64.self), let name = try text(), let kind = integer(UInt8.self) else {
            return nil
        }
        let index = Int(clamping: number)
        if kind == 0 {
            guard let count = integer(UInt64.self) else { return nil }
            guard count <= 1 << 40 else { throw DatasetError.damagedShard(reason: "a file of \(count) bytes") }
            guard let file = take(Int(count)) else { return nil }
            return (index, name, .encoded(Array(file)))
        }
        if kind == 3 || kind == 4 {
            guard let first = try text() else { return nil }
            guard kind == 4 else { return (index, name, .text(SampleText(first))) }
            return try text().map { (index, name, .text(SampleText(first, pair: $0))) }
        }
        if kind == 5 {
            guard let count = integer(UInt64.self) else { return nil }
            guard count <= 1 << 32 else { throw DatasetError.damagedShard(reason: "\(count) tokens") }
            return integers(Int(count)).map { (index, name, .tokens($0)) }
        }
        if kind == 6 {
            guard let count = integer(UInt64.self) else { return nil }
            guard count <= 1 << 32 else { throw DatasetError.damagedShard(reason: "\(count) words") }
            var words: [String] = []
            for _ in 0..<count {
                guard let word = try text() else { return nil }
                words.append(word)
            }
            return integers(Int(count)).map { (index, name, .words(words, labels: $0)) }
        }
        if kind == 7 { return try question().map { (index, name, .question($0)) } }
        guard let width = integer(UInt32.self), let height = integer(UInt32.self),
            let channels = integer(UInt32.self)
        else { return nil }
        guard kind <= 2, channels == 1 || channels == 3, width <= 1 << 20, height <= 1 << 20 else {
            throw DatasetError.damagedShard(reason: "an image of \(width)×\(height)×\(channels), kind \(kind)")
        }
        let (w, h, c) = (Int(width), Int(height), Int(channels))
        guard let raw = take(w * h * c * (kind == 1 ? 1 : 4)) else { return nil }
        if kind == 1 {
            let image = DecodedImage(width: w, height: h, channels: c, pixels: Array(raw))
            return (index, name, .image(.pixels(image)))
        }
        let values = raw.withUnsafeBytes { bytes in
            (0..<(w * h * c)).map {
                let bits = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self))
                return Float(bitPattern: bits)
            }
        }
        return (index, name, .image(.values(FloatImage(width: w, height: h, channels: c, values: values))))
    }

    private mutating func question() throws -> QuestionWindow? {
        guard let number = integer(UInt64.self), let window = integer(UInt64.self), let question = try text(),
            let context = try text(), let count = integer(UInt64.self)
        else { return nil }
        guard count <= 1 << 20 else { throw DatasetError.damagedShard(reason: "\(count) answers") }
        var answers: [QuestionWindow.Answer] = []
        for _ in 0..<count {
            guard let start = integer(UInt64.self), let answer = try text() else { return nil }
            answers.append(QuestionWindow.Answer(answer, start: Int(clamping: start)))
        }
        return QuestionWindow(
            number: Int(clamping: number), question: question, context: context, answers: answers,
            window: Int(clamping: window))
    }

    private mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
        guard count <= bytes.count - position else { return nil }
        defer { position += count }
        return bytes[position..<(position + count)]
    }

    private mutating func integers(_ count: Int) -> [Int32]? {
        take(4 * count)?.withUnsafeBytes { bytes in
            (0..<count).map { Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self)) }
        }
    }

    private mutating func integer<Value: FixedWidthInteger>(_: Value.Type) -> Value? {
        guard let raw = take(MemoryLayout<Value>.size) else { return nil }
        return Value(littleEndian: raw.withUnsafeBytes { $0.loadUnaligned(as: Value.self) })
    }

    private mutating func text() throws -> String? {
        guard let count = integer(UInt32.self) else { return nil }
        guard count <= 1 << 28 else { throw DatasetError.damagedShard(reason: "a text of \(count) bytes") }
        return take(Int(count)).map { String(decoding: $0, as: UTF8.self) }
    }
}

extension Array where Element == UInt8 {
    fileprivate mutating func appendInteger<Value: FixedWidthInteger>(_ value: Value) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    fileprivate mutating func appendText(_ text: String) {
        appendInteger(UInt32(text.utf8.count))
        append(contentsOf: text.utf8)
    }
}
