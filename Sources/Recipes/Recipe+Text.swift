import Archives
import Datasets
import Foundation
import Models

/// What the samples of a run are, and how they become what its network takes.
public enum RecipeInput: Sendable {
    case images(Preprocessing)
    case texts(TextInput)

    /// The shape of one sample: channels×height×width, or the most tokens.
    public var shape: [Int] {
        switch self {
        case .images(let preprocessing): [preprocessing.channels, preprocessing.inputSize, preprocessing.inputSize]
        case .texts(let input): [input.length]
        }
    }

    /// How texts become tokens; nil for images.
    public var text: TextInput? {
        if case .texts(let input) = self { input } else { nil }
    }

    /// What to open the recipe's data as.
    public var kind: Recipe.Data.Kind {
        switch self {
        case .images: .images
        case .texts(let input):
            switch input.labels {
            case .texts: .texts
            case .words: .taggedWords
            case .nextTokens: .runningText(input)
            }
        }
    }

    /// What happens to a training sample.
    public func training(_ data: Recipe.Data) -> SampleInput {
        switch self {
        case .images(let preprocessing): .images(data.trainingTransform(preprocessing))
        case .texts(let input): .texts(input)
        }
    }

    /// What happens to a sample in evaluation.
    public var evaluation: SampleInput {
        switch self {
        case .images(let preprocessing): .images(.evaluation(preprocessing))
        case .texts(let input): .texts(input)
        }
    }
}

extension Recipe {
    /// How the recipe's samples become what the network takes.
    ///
    /// - Parameters:
    ///   - architecture: of the network.
    ///   - file: the weights, as `WeightFile.read` gives them, where there are any.
    /// - Throws: `RecipeError` where a setting does not fit the network, or nothing says which tokenizer to take;
    ///   `DatasetError` for a tokenizer that cannot be read or does not fit.
    public func input(for architecture: Architecture, weights file: WeightFile?) throws -> RecipeInput {
        guard let tokens = architecture.tokens else {
            guard data.text == Data.Text() else {
                throw conflict("data.text", "given", "\(architecture.name) is a network over images", "remove it")
            }
            return .images(try data.preprocessing(file?.metadata.preprocessing ?? architecture.imagePreprocessing))
        }
        for (key, isGiven) in [
            ("data.image", data.image != Data.Image()), ("data.augment", data.augmentation != Data.Augmentation()),
        ] where isGiven {
            throw conflict(key, "given", "\(architecture.name) is a network over text", "remove it")
        }
        guard let labels = TextLabels(architecture.output) else {
            throw conflict(
                "model.variant", architecture.variant, "recipes train classifiers and language models only",
                "give another variant, such as sequence-classification")
        }
        try check(labels, architecture)
        let length = data.text.length ?? min(Data.Text.usualLength, tokens.positions)
        guard length <= tokens.positions else {
            throw conflict(
                "data.text.length", "\(length)", "\(architecture.name) takes at most \(tokens.positions) tokens",
                "give at most that")
        }
        let tokenizer = try tokenizer(file)
        guard tokenizer.vocabularyCount <= tokens.vocabulary else {
            throw DatasetError.tokenizerDoesNotFit(
                path: data.text.tokenizer ?? model.weights ?? "", tokens: tokenizer.vocabularyCount,
                network: architecture.name, vocabulary: tokens.vocabulary)
        }
        return .texts(
            TextInput(
                tokenizer: tokenizer, length: length, padding: tokens.padding ?? 0,
                labels: labels))
    }

    /// Refuses settings for another kind of text.
    private func check(_ labels: TextLabels, _ architecture: Architecture) throws {
        let others: [(key: String, isGiven: Bool, suits: TextLabels)] = [
            ("data.text.held-out", data.text.heldOut != nil, .nextTokens),
            ("data.text.offsets", data.text.offsets != Data.Text().offsets, .nextTokens),
            ("data.text.columns", data.text.columns != TextColumns(), .texts),
            ("data.classes", !data.classes.isEmpty, .texts),
        ]
        for other in others where other.isGiven && other.suits != labels {
            let kind = other.suits == .texts ? "texts with a label each" : "running text"
            throw conflict(
                other.key, "given", "it is for \(kind), and \(architecture) learns from labels of \(labels.noun)",
                "remove it")
        }
    }

    private func tokenizer(_ file: WeightFile?) throws -> Tokenizer {
        if let path = data.text.tokenizer { return try Tokenizer(named: path) }
        if let path = model.weights, let tokenizer = try file?.tokenizer(path: path) { return tokenizer }
        throw RecipeError.missingKey(
            place: "recipe", key: "data.text.tokenizer",
            remedy: (model.weights.map { "\($0) brings none; " } ?? "")
                + "give a tokenizer.json, a folder with vocab.txt or vocab.json and merges.txt, or bytes")
    }

    private func conflict(_ key: String, _ value: String, _ problem: String, _ remedy: String) -> RecipeError {
        .conflict(place: "recipe", key: key, value: value, problem: problem, remedy: remedy)
    }
}

extension TextLabels {
    /// What a network with such an output learns from; nil where recipes have nothing for it.
    public init?(_ output: OutputKind) {
        switch output {
        case .classes: self = .texts
        case .tokenClasses: self = .words
        case .nextTokens: self = .nextTokens
        case .spans, .maskedTokens, .embedding: return nil
        }
    }

    fileprivate var noun: String {
        switch self {
        case .texts: "texts"
        case .words: "words"
        case .nextTokens: "tokens, which follow"
        }
    }
}
