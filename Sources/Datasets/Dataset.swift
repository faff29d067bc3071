import Archives
import Crypto
import Foundation

/// An image as a reader hands it over.
public enum SampleImage: Equatable, Sendable {
    /// 8-bit samples, H×W×C.
    case pixels(DecodedImage)
    /// Float values, C×H×W, taken as already normalised.
    case values(FloatImage)
}

/// A text that is to become tokens, and the one that goes with it in tasks over pairs.
public struct SampleText: Equatable, Sendable {
    public var text: String
    public var pair: String?

    public init(_ text: String, pair: String? = nil) {
        self.text = text
        self.pair = pair
    }
}

/// A question, and one window of the passage that its answer is looked for in.
public struct QuestionWindow: Equatable, Sendable {
    /// A stretch of the passage that answers the question.
    public struct Answer: Equatable, Sendable {
        public var text: String
        /// Where it begins, in Unicode scalars of the passage.
        public var start: Int

        public init(_ text: String, start: Int) {
            (self.text, self.start) = (text, start)
        }
    }

    /// Which question of the data it is: its windows have one number.
    public var number: Int
    public var question: String
    public var context: String
    /// Those that count as right, the one to learn first; empty where the passage has none.
    public var answers: [Answer]
    /// Which of `TextInput.windows` it is.
    public var window: Int

    public init(number: Int, question: String, context: String, answers: [Answer], window: Int) {
        (self.number, self.question, self.context) = (number, question, context)
        (self.answers, self.window) = (answers, window)
    }
}

/// A sample as it is stored: what a coordinator sends to a worker without a file system.
public enum StoredSample: Equatable, Sendable {
    /// The bytes of a JPEG or PNG file.
    case encoded([UInt8])
    case image(SampleImage)
    case text(SampleText)
    /// A text that is words already, with a label each.
    case words([String], labels: [Int32])
    case question(QuestionWindow)
    /// A stretch of running text in which tokens are to be predicted: from those before, or from those around them.
    case tokens([Int32])
}

/// Samples, reachable by number in any order and from any thread: images or texts with a label each; texts whose words have
/// labels, questions, or stretches of running text, which have none.
public protocol Dataset: AnyObject, Sendable {
    /// Where the samples come from, for messages and records.
    var source: String { get }
    /// The name of each label, in label order; empty where samples have none.
    var classNames: [String] { get }
    /// The label of each sample, 0..<classNames.count; zeros where samples have none.
    var labels: [Int32] { get }
    /// Whether the words of a sample have labels, and the sample none: `labels` are zeros then.
    var labelsAreOfWords: Bool { get }
    /// What errors call sample `index`: its file, or its place in a file.
    func name(at index: Int) -> String
    /// Sample `index` as stored, not yet decoded.
    /// - Throws: `DatasetError` naming the file.
    func storedSample(at index: Int) throws -> StoredSample
    /// Names, sizes and labels of all samples in one SHA-256 digest, in hexadecimal: cheap, for noticing
    /// between runs that the data changed. It does not read images.
    func fingerprint() throws -> String
}

extension Dataset {
    public var labelsAreOfWords: Bool { false }

    /// How many samples there are.
    public var count: Int { labels.count }

    /// The label of sample `index`.
    public func label(at index: Int) -> Int32 { labels[index] }

    /// The image of sample `index`, decoded.
    /// - Throws: `DatasetError` naming the file, also where the sample is a text.
    public func image(at index: Int) throws -> SampleImage {
        switch try storedSample(at: index) {
        case .encoded(let bytes): return .pixels(try ImageDecoder.decode(bytes, name: name(at: index)))
        case .image(let image): return image
        case .text, .words, .question, .tokens: throw DatasetError.notAnImage(path: name(at: index))
        }
    }

    /// How many samples each class has, in label order.
    public var classCounts: [Int] {
        var counts = [Int](repeating: 0, count: classNames.count)
        for label in labels where counts.indices.contains(Int(label)) { counts[Int(label)] += 1 }
        return counts
    }
}

/// Builds a fingerprint from parts; each is preceded by its length, so that no two lists look alike.
struct Fingerprint {
    private var digest = SHA256()

    mutating func add(_ text: String) {
        add(text.utf8.count)
        digest.update(data: Array(text.utf8))
    }

    mutating func add(_ number: Int) {
        withUnsafeBytes(of: UInt64(bitPattern: Int64(number)).littleEndian) { digest.update(bufferPointer: $0) }
    }

    mutating func add(_ numbers: [Int32]) {
        add(numbers.count)
        numbers.map(\.littleEndian).withUnsafeBytes { digest.update(bufferPointer: $0) }
    }

    mutating func add(bytes: [UInt8]) {
        add(bytes.count)
        digest.update(data: bytes)
    }

    func hexadecimal() -> String { digest.finalize().hexadecimal }
}
