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
        preprocessing = file.metadata.preprocessing ?? network.architecture.preprocessing
        classNames = file.metadata.classNames
        if let classNames, classNames.count != network.architecture.classes {
            throw CommandError.classNamesDoNotFit(
                path: path, names: classNames.count, outputs: network.architecture.classes)
        }
    }

    /// What output `index` stands for.
    func className(_ index: Int) -> String { classNames?[index] ?? String(index) }

    /// The data with the network's labels: classes are matched by name where the weights name them, by
    /// position where not (or where the data has only numbers for names).
    ///
    /// - Throws: `CommandError` where the data has a class that the network has no output for.
    func matching(_ dataset: any ImageDataset) throws -> any ImageDataset {
        let outputs = network.architecture.classes
        let names = dataset.classNames
        guard let classNames, !areNumbers(names) else {
            guard names.count <= outputs else {
                throw CommandError.tooManyClasses(
                    data: dataset.source, classes: names.count, weights: path, outputs: outputs)
            }
            return dataset
        }
        if names == classNames { return dataset }
        let newLabels = try names.map { name in
            guard let label = classNames.firstIndex(of: name) else {
                throw CommandError.classNotInWeights(
                    name: name, nearest: nearestNames(to: name, among: classNames, limit: 1), data: dataset.source,
                    weights: path)
            }
            return Int32(label)
        }
        return RelabelledImages(dataset, classNames: classNames, newLabels: newLabels)
    }

    /// The names `0`, `1`, … of files that have labels only.
    private func areNumbers(_ names: [String]) -> Bool {
        names.enumerated().allSatisfy { $1 == String($0) }
    }
}

/// The samples of another data set under the labels of a network.
private final class RelabelledImages: ImageDataset, @unchecked Sendable {
    let classNames: [String]
    let labels: [Int32]
    private let base: any ImageDataset

    /// `newLabels` are by old label.
    init(_ base: any ImageDataset, classNames: [String], newLabels: [Int32]) {
        self.base = base
        self.classNames = classNames
        labels = base.labels.map { newLabels[Int($0)] }
    }

    var source: String { base.source }
    func name(at index: Int) -> String { base.name(at: index) }
    func storedImage(at index: Int) throws -> StoredImage { try base.storedImage(at: index) }
    func fingerprint() throws -> String { try base.fingerprint() }
}
