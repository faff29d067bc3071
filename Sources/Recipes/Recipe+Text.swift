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
            case .spans: .questions(input)
            case .nextTokens, .maskedTokens: .runningText(input)
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
            guard trunk.variants == nil || data.augmentation != Data.Augmentation() else {
                throw alike("an image", without: "data.augment", "remove it or give data.augment")
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
                "model.variant", architecture.variant, "its output learns from no labels",
                "give another variant, such as sequence-classification")
        }
        try check(labels, architecture)
        let length = data.text.length ?? min(Data.Text.usualLength(labels), tokens.positions)
        guard length <= tokens.positions else {
            throw conflict(
                "data.text.length", "\(length)", "\(architecture.name) takes at most \(tokens.positions) tokens",
                "give at most that")
        }
        guard trunk.variants == nil || labels == .maskedTokens || labels == .nextTokens && data.text.offsets == .random
        else {
            throw alike("a text", without: "running text that is cut or masked at random", "remove it")
        }
        let tokenizer = try tokenizer(file)
        if labels == .maskedTokens, tokenizer.maskToken == nil || length <= tokenizer.framed([]).count {
            throw conflict(
                "model.variant", architecture.variant,
                "the tokenizer has no [MASK], or 'data.text.length' leaves no token",
                "give the tokenizer that belongs to the weights, and a greater length")
        }
        guard tokenizer.vocabularyCount <= tokens.vocabulary else {
            throw DatasetError.tokenizerDoesNotFit(
                path: data.text.tokenizer ?? model.weights ?? "", tokens: tokenizer.vocabularyCount,
                network: architecture.name, vocabulary: tokens.vocabulary)
        }
        let special = tokenizer.framed([]).count
        guard labels == .nextTokens || length > special else {
            throw conflict(
                "data.text.length", "\(length)",
                "\(special) of them are special tokens around the text", "give more")
        }
        return .texts(
            TextInput(
                tokenizer: tokenizer, length: length, stride: data.text.stride, padding: tokens.padding ?? 0,
                labels: labels))
    }

    /// Refuses settings for another kind of text.
    private func check(_ labels: TextLabels, _ architecture: Architecture) throws {
        let running: [TextLabels] = [.nextTokens, .maskedTokens]
        let others: [(key: String, isGiven: Bool, suits: [TextLabels], kind: String)] = [
            ("data.text.held-out", data.text.heldOut != nil, running, "running text"),
            ("data.text.offsets", data.text.offsets != Data.Text().offsets, running, "running text"),
            ("data.text.stride", data.text.stride != nil, [.spans], "questions"),
            ("data.text.columns", data.text.columns != TextColumns(), [.texts], "texts with a label each"),
            ("data.classes", !data.classes.isEmpty, [.texts], "texts with a label each"),
            (
                "train.label-smoothing", phases.contains { $0.labelSmoothing > 0 },
                [.texts, .words, .nextTokens, .maskedTokens], "classes and tokens"
            ),
        ]
        for other in others where other.isGiven && !other.suits.contains(labels) {
            throw conflict(
                other.key, "given",
                "it is for \(other.kind), and \(architecture) learns from labels of \(labels.noun)", "remove it")
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

    /// What `trunk.variants` would keep is the same `sample`, K times.
    private func alike(_ sample: String, without source: String, _ remedy: String) -> RecipeError {
        conflict(
            "trunk.variants", "\(trunk.variants ?? 1)", "all variants of \(sample) would be the same without \(source)",
            remedy)
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
        case .spans: self = .spans
        case .nextTokens: self = .nextTokens
        case .maskedTokens: self = .maskedTokens
        case .embedding: return nil
        }
    }

    fileprivate var noun: String {
        switch self {
        case .texts: "texts"
        case .words: "words"
        case .spans: "questions, their answers"
        case .nextTokens: "tokens, which follow"
        case .maskedTokens: "tokens, which are masked"
        }
    }
}
