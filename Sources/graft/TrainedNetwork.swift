import Archives
import ArgumentParser
import Collectives
import Datasets
import Foundation
import Models
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
}

/// A network with its weights, and what has to be known to use it.
struct TrainedNetwork {
    let network: Network
    /// One per output, where the file names them.
    let classNames: [String]?
    /// What the file says, or what the published weights of the architecture were trained on.
    let preprocessing: Preprocessing
    let path: String

    /// - Throws: `ArchiveError`, `LoadError`, `ModelError`, and `CommandError.classNamesDoNotFit`.
    init(_ options: WeightOptions) throws {
        try OpenBLAS.open()
        path = options.weights
        let file = try WeightFile.read(path, widening: true)
        network = try WeightLoader.network(
            from: file, path: path, architecture: options.architecture, variant: options.variant
        ).network
        preprocessing = try file.metadata.preprocessing ?? network.architecture.imagePreprocessing
        classNames = file.metadata.classNames
        if let classNames, classNames.count != network.architecture.classes {
            throw CommandError.classNamesDoNotFit(
                path: path, names: classNames.count, outputs: network.architecture.classes)
        }
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
