import Models
import Tensors

/// Softmax cross-entropy of a classifier: the global mean over samples.
///
///     loss = Σ over samples of [ (1 - s) · -log p(label) + s / C · Σ over classes of -log p(class) ] / samples
///
/// with the label smoothing s (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567), as PyTorch's
/// `CrossEntropyLoss` has it. Where the network has an auxiliary classifier, its loss is added with its weight.
public struct CrossEntropyObjective: Objective {
    /// In 0..<1.
    public let labelSmoothing: Double
    /// The stream whose `images` and `labels` are read.
    public let stream: String

    public init(labelSmoothing: Double = 0, stream: String = "train") {
        self.labelSmoothing = labelSmoothing
        self.stream = stream
    }

    public var name: String { "cross-entropy" }
    public var terms: [ObjectiveTerm] { [ObjectiveTerm(name: "cross-entropy")] }

    public func denominators(of streams: [String: [String: Tensor]]) throws -> [Double] {
        [Double(try field("labels", of: streams).shape[0])]
    }

    public func evaluate(
        _ streams: [String: [String: Tensor]], through forward: (Tensor) throws -> NetworkOutput
    ) throws -> ObjectiveValue {
        let labels = try field("labels", of: streams)
        let output = try forward(field("images", of: streams))
        let classes = output.logits.shape.last ?? 0
        for label in labels.indices where label < 0 || Int(label) >= classes {
            throw TrainingError.labelOutOfRange(label: Int(label), classes: classes)
        }
        let sum = output.crossEntropy(labels: labels, labelSmoothing: Float(labelSmoothing))
        return ObjectiveValue(terms: terms, sums: [sum], logits: output.logits.detached, labels: labels)
    }

    private func field(_ name: String, of streams: [String: [String: Tensor]]) throws -> Tensor {
        guard let tensor = streams[stream]?[name], !tensor.shape.isEmpty else {
            throw TrainingError.missingField(objective: self.name, stream: stream, field: name)
        }
        return tensor
    }
}
