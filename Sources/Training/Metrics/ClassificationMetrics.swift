import Datasets
import Foundation
import Tensors

/// Top-1 and top-5 accuracy, mean loss and the confusion matrix of a classifier, as sums.
///
/// Sums of several batches or ranks add up with `merge`; counts are exact, whatever the order. Where tokens are
/// predicted, every token is a sample; of answers to questions, each of the two ends in each window of a passage.
public struct ClassificationMetrics: Codable, Equatable, Sendable {
    public let classes: Int
    public private(set) var samples = 0
    public private(set) var top1Count = 0
    public private(set) var top5Count = 0
    /// Sum over samples of the loss, in double.
    public private(set) var lossSum = 0.0
    /// Samples of true class r taken for class c, at r * classes + c; empty for more than `mostConfused` classes.
    public private(set) var confusion: [Int]
    /// Whether samples are tokens.
    public let areTokens: Bool
    /// Where the classes are tags of words, what became of the entities that they mark.
    public private(set) var entities: EntityCounts?
    /// Of answers to questions, what became of these.
    public private(set) var answers: AnswerCounts?
    private let tags: [String]?

    /// A larger vocabulary has no confusion matrix.
    public static let mostConfused = 4_096

    /// No samples yet.
    ///
    /// - Parameters:
    ///   - classes: 0 for spans, whose classes are the positions of a sample.
    ///   - tags: the names of the classes, where they are tags of words.
    ///   - areSpans: whether samples are the ends of answers.
    public init(classes: Int, areTokens: Bool = false, tags: [String]? = nil, areSpans: Bool = false) {
        self.tags = tags
        answers = areSpans ? AnswerCounts() : nil
        entities = tags.map { _ in EntityCounts() }
        self.classes = classes
        self.areTokens = areTokens
        confusion = [Int](repeating: 0, count: classes > Self.mostConfused ? 0 : classes * classes)
    }

    /// Counts a batch.
    ///
    /// A class is among the top k if fewer than k classes have a larger logit, or an equal one and a
    /// smaller number; a logit that is not a number is never right.
    ///
    /// - Parameters:
    ///   - logits: batch × classes, row-major; of spans 2·batch × positions.
    ///   - labels: one per row, each in 0..<classes; of tokens also `Batch.ignoredLabel`, which counts nothing.
    ///   - lossSum: sum of the losses of these samples.
    /// - Throws: `TrainingError.labelOutOfRange`; nothing has been counted then.
    public mutating func add(logits: UnsafeBufferPointer<Float>, labels: [Int32], lossSum: Double) throws {
        let classes = answers == nil ? classes : logits.count / max(1, labels.count)
        precondition(
            logits.count == labels.count * classes,
            "metrics: \(logits.count) logits for \(labels.count) samples of \(classes) classes")
        func counts(_ label: Int32) -> Bool { !areTokens || label != Batch.ignoredLabel }
        for label in labels where counts(label) && (label < 0 || Int(label) >= classes) {
            throw TrainingError.labelOutOfRange(label: Int(label), classes: classes)
        }
        for (row, label) in labels.enumerated() where counts(label) {
            add(UnsafeBufferPointer(rebasing: logits[row * classes..<(row + 1) * classes]), label: Int(label))
        }
        self.lossSum += lossSum
    }

    private mutating func add(_ logits: UnsafeBufferPointer<Float>, label: Int) {
        let ahead = Self.place(of: label, in: logits)
        var best = 0
        for (index, logit) in logits.enumerated() where logit > logits[best] || logits[best].isNaN { best = index }
        samples += 1
        if ahead < 1 { top1Count += 1 }
        if ahead < 5 { top5Count += 1 }
        if !confusion.isEmpty { confusion[label * classes + best] += 1 }
    }

    /// How many classes are ahead of `label` in one row of logits; no place at all where its logit is not a number.
    static func place(of label: Int, in logits: UnsafeBufferPointer<Float>) -> Int {
        let own = logits[label]
        guard !own.isNaN else { return .max }
        var ahead = 0
        for (index, logit) in logits.enumerated() where !(logit < own || (logit == own && index >= label)) {
            ahead += 1
        }
        return ahead
    }

    /// Counts the entities of a batch, where classes are tags.
    ///
    /// - Parameters:
    ///   - logits: N×T×classes.
    ///   - labels: N×T, `Batch.ignoredLabel` where no word begins.
    mutating func countEntities(_ logits: Tensor, _ labels: Tensor) {
        guard let tags, tags.count == classes, labels.rank == 2 else { return }
        let (length, all) = (labels.shape[1], labels.indices)
        logits.withScalars { logits in
            for sample in 0..<labels.shape[0] {
                var (said, meant): ([String], [String]) = ([], [])
                for place in sample * length..<(sample + 1) * length where tags.indices.contains(Int(all[place])) {
                    let row = logits[place * classes..<(place + 1) * classes]
                    let best = row.indices.max { row[$0] < row[$1] } ?? row.startIndex
                    said.append(tags[best - row.startIndex])
                    meant.append(tags[Int(all[place])])
                }
                entities?.add(said, meant)
            }
        }
    }

    /// Counts the answers to the questions of a batch, where samples are spans.
    ///
    /// - Parameter logits: N×2×T.
    /// - Throws: what the data set throws.
    mutating func countAnswers(_ logits: Tensor, _ batch: Batch, of dataset: any Dataset) throws {
        guard let places = batch["places"]?.indices else { return }
        let length = logits.shape[2]
        let windows = logits.withScalars { logits in
            batch.indices.indices.map { sample in
                WindowAnswer(
                    begin: logits[2 * sample * length..<(2 * sample + 1) * length],
                    end: logits[(2 * sample + 1) * length..<(2 * sample + 2) * length],
                    places: places[2 * sample * length..<(2 * sample + 2) * length])
            }
        }
        for (index, window) in zip(batch.indices, windows) {
            guard case .question(let question) = try dataset.storedSample(at: index) else { continue }
            answers?.add(window, to: question)
        }
    }

    /// Adds the sums of another part of the same evaluation.
    public mutating func merge(_ other: ClassificationMetrics) {
        precondition(classes == other.classes, "metrics: \(classes) classes and \(other.classes)")
        samples += other.samples
        top1Count += other.top1Count
        top5Count += other.top5Count
        lossSum += other.lossSum
        if let counts = other.entities { entities?.merge(counts) }
        if let counts = other.answers { answers?.merge(counts) }
        for index in confusion.indices { confusion[index] += other.confusion[index] }
    }

    /// What reports and `summary.json` show.
    public var summary: MetricsSummary {
        let count = Double(max(1, samples))
        let loss = lossSum / count
        return MetricsSummary(
            top1: Double(top1Count) / count, top5: Double(top5Count) / count, loss: loss, samples: samples,
            perplexity: areTokens && tags == nil ? exp(loss) : nil, f1: entities?.f1 ?? answers?.f1,
            exactMatch: answers?.exactMatch, questions: answers?.count)
    }
}

/// The figures of an evaluation under the names every report uses.
public struct MetricsSummary: Codable, Equatable, Sendable {
    /// Fraction of samples whose class is the first choice.
    public var top1: Double
    /// Fraction of samples whose class is among the first five choices.
    public var top5: Double
    /// Mean over samples.
    public var loss: Double
    public var samples: Int
    /// e to the loss, where tokens are predicted.
    public var perplexity: Double?
    /// Of entities, where the classes are tags of words; of answers to questions the mean.
    public var f1: Double?
    /// The fraction of questions that are answered word by word.
    public var exactMatch: Double?
    /// How many questions there are, of which samples are the ends in each window.
    public var questions: Int?

    public init(
        top1: Double, top5: Double, loss: Double, samples: Int, perplexity: Double? = nil, f1: Double? = nil,
        exactMatch: Double? = nil, questions: Int? = nil
    ) {
        self.top1 = top1
        self.top5 = top5
        self.loss = loss
        self.samples = samples
        self.perplexity = perplexity
        self.f1 = f1
        self.exactMatch = exactMatch
        self.questions = questions
    }

    /// Whether a network that does so is the better one: by accuracy, of entities and answers by F1, of a language model by the loss.
    public func isBetter(than other: MetricsSummary) -> Bool {
        if let f1, let its = other.f1 { return f1 > its }
        return perplexity == nil ? top1 > other.top1 : loss < other.loss
    }
}
