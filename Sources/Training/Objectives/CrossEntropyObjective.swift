import Datasets
import Models
import Tensors

/// Softmax cross-entropy: of a classifier the global mean over samples, of what predicts tokens over tokens.
///
///     loss = Σ over labels of [ (1 - s) · -log p(label) + s / C · Σ over classes of -log p(class) ] / labels
///
/// with the label smoothing s (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567), as PyTorch's
/// `CrossEntropyLoss` has it. Labels N×T are those of tokens; `Batch.ignoredLabel` among them counts nothing. Where the network
/// has an auxiliary classifier, its loss is added with its weight.
public struct CrossEntropyObjective: Objective {
    /// In 0..<1.
    public let labelSmoothing: Double
    /// The stream whose `images` or `tokens`, and `labels`, are read.
    public let stream: String

    public init(labelSmoothing: Double = 0, stream: String = "train") {
        self.labelSmoothing = labelSmoothing
        self.stream = stream
    }

    public var name: String { "cross-entropy" }
    public var terms: [ObjectiveTerm] { [ObjectiveTerm(name: "cross-entropy")] }

    public func denominators(of streams: [String: [String: Tensor]]) throws -> [Double] {
        [Double(count(try labels(of: streams)))]
    }

    public func evaluate(
        _ streams: [String: [String: Tensor]], through forward: ForwardPass
    ) throws -> ObjectiveValue {
        let labels = try labels(of: streams)
        let fields = streams[stream] ?? [:]
        guard fields["features"] != nil || fields.input != nil else {
            throw TrainingError.missingField(objective: name, stream: stream, field: "images")
        }
        if fields["tokens"] != nil, labels.shape[0] == 0 {
            // A rank without texts; one without images must run, as batch norm may wait for it.
            return ObjectiveValue(terms: terms, sums: [.zeros([])], count: 0)
        }
        guard labels.rank == 1 else {
            let sum = try forward.crossEntropy(fields, labels, Float(labelSmoothing))
            return ObjectiveValue(terms: terms, sums: [sum], count: count(labels))
        }
        let output = try forward.output(fields)
        let classes = output.logits.shape.last ?? 0
        for label in labels.indices where label < 0 || Int(label) >= classes {
            throw TrainingError.labelOutOfRange(label: Int(label), classes: classes)
        }
        let sum = output.crossEntropy(labels: labels, labelSmoothing: Float(labelSmoothing))
        return ObjectiveValue(terms: terms, sums: [sum], logits: output.logits.detached, labels: labels)
    }

    /// Labels that count.
    private func count(_ labels: Tensor) -> Int {
        labels.rank == 1 ? labels.shape[0] : labels.indices.count { $0 != Batch.ignoredLabel }
    }

    private func labels(of streams: [String: [String: Tensor]]) throws -> Tensor {
        guard let tensor = streams[stream]?["labels"], !tensor.shape.isEmpty else {
            throw TrainingError.missingField(objective: self.name, stream: stream, field: "labels")
        }
        return tensor
    }
}
