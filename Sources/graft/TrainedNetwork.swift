import Archives
import ArgumentParser
import Collectives
import Datasets
import Foundation
import Models
import Recipes
import Tensors

/// Which weights a command uses, and what they are where the file does not say.
struct WeightOptions: ParsableArguments {
    @Option(
        help: "The weights: Graft or Keras HDF5, a PyTorch archive or safetensors, recognised by content.",
        completion: .file())
    var weights: String

    @Option(help: "What the weights are of, where neither the file nor its names and shapes tell: resnet50, …")
    var architecture: String?

    @Option(help: "The variant of the architecture, such as v1 or keras.")
    var variant: String?

    @Option(
        help: "Of a network over text: tokenizer.json or a folder with vocabulary files, where the weights bring none.",
        completion: .file())
    var tokenizer: String?
}

/// A network with its weights, and what has to be known to use it.
struct TrainedNetwork {
    let network: Network
    /// One per output, where the file names them.
    let classNames: [String]?
    /// What its input is made of: as the file says, or as the published weights of the architecture were trained.
    let input: RecipeInput
    /// Which columns of a table held text and label in training.
    let columns: TextColumns
    /// Whether some questions of the training data have no answer.
    let mayHaveNoAnswer: Bool
    let path: String

    /// - Throws: `ArchiveError`, `LoadError`, `ModelError`, `DatasetError` for a tokenizer, `CommandError`.
    init(_ options: WeightOptions) throws {
        try OpenBLAS.open()
        path = options.weights
        let weights = try WeightFile.read(path)
        // What is needed besides the values, which do not outlive the loading.
        let file = WeightFile(format: weights.format, tensors: [], metadata: weights.metadata)
        network = try WeightLoader.network(
            from: consume weights, path: path, architecture: options.architecture, variant: options.variant
        ).network
        input = try Self.input(of: network.architecture, file, options)
        columns = file.metadata.textSettings?.columns ?? TextColumns()
        mayHaveNoAnswer = file.metadata.textSettings?.mayHaveNoAnswer ?? false
        classNames = file.metadata.classNames
        if let classNames, classNames.count != network.architecture.classes {
            throw CommandError.classNamesDoNotFit(
                path: path, names: classNames.count, outputs: network.architecture.classes)
        }
    }

    /// The most tokens of a text where the weights do not say.
    private static let usualLength = 512

    private static func input(
        of architecture: Architecture, _ file: WeightFile, _ options: WeightOptions
    ) throws -> RecipeInput {
        guard let tokens = architecture.tokens else {
            return .images(try file.preprocessing(for: architecture))
        }
        guard
            let tokenizer = try options.tokenizer.map({ try Tokenizer(named: $0) })
                ?? file.tokenizer(path: options.weights)
        else { throw CommandError.noTokenizer(path: options.weights) }
        guard tokenizer.vocabularyCount <= tokens.vocabulary else {
            throw DatasetError.tokenizerDoesNotFit(
                path: options.tokenizer ?? options.weights, tokens: tokenizer.vocabularyCount,
                network: architecture.name, vocabulary: tokens.vocabulary)
        }
        let settings = file.metadata.textSettings
        return .texts(
            TextInput(
                tokenizer: tokenizer, length: min(tokens.positions, settings?.length ?? usualLength),
                stride: settings?.stride, padding: tokens.padding ?? 0,
                labels: TextLabels(architecture.output) ?? .texts))
    }

    /// What output `index` stands for.
    func className(_ index: Int) -> String { classNames?[index] ?? String(index) }

    /// The data with the network's labels.
    ///
    /// - Throws: `DatasetError` where the data has a class that the network has no output for.
    func matching(_ dataset: any Dataset) throws -> any Dataset {
        try dataset.relabelled(for: classNames, outputs: network.architecture.classes, weights: path)
    }
}
