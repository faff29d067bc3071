import Archives
import Collectives
import Datasets
import Foundation
import Layers
import Models
import Recipes
import Training

/// The part of a run that only rank 0 plays: reads recipe and weights, lists the data, checks everything
/// that can be checked before any image is decoded, keeps the run directory and its checkpoints.
///
/// It is a worker too: what all ranks do together is in `TrainingRun`.
final class Coordinator {
    let recipe: Recipe
    let plan: TransferPlan
    let network: Network
    let training: any Dataset
    let validation: (any Dataset)?
    /// What the network's outputs stand for.
    let classNames: [String]
    /// What samples are, and how they become what the network takes.
    let input: RecipeInput
    /// What became of every tensor of the weight file; nil without one.
    let loadReport: LoadReport?
    let fingerprints: RunFingerprints
    private let metadata: WeightMetadata
    private let options: RunOptions

    private(set) var directory: RunDirectory?
    private(set) var checkpoints: CheckpointStore?
    /// The checkpoint to go on from, and the damaged ones passed over.
    private(set) var resumed: Checkpoint?
    private(set) var notes: [String] = []

    /// Reads and checks everything; writes nothing.
    ///
    /// - Throws: errors of recipe, weights, data and plan, each naming file, key and remedy.
    init(_ options: RunOptions, worldSize: Int) throws {
        self.options = options
        var recipe = try Recipe.load(options.recipePath, overrides: options.overrides)
        if let output = options.output { recipe.run.output = output }
        self.recipe = recipe
        plan = recipe.plan()
        let file = try recipe.model.weights.map { try WeightFile.read($0) }
        let architecture = try Self.architecture(recipe, file)
        input = try recipe.input(for: architecture, weights: file)
        let samples = try recipe.data.openTraining(input.kind)
        (network, loadReport) = try Self.network(recipe, architecture, file, samples)
        classNames = try Self.classNames(recipe, file, samples, network.architecture)
        (training, validation) = try recipe.data.open(
            input.kind, classNames: classNames, weights: recipe.model.weights ?? "")
        var metadata = WeightMetadata()
        switch input {
        case .images(let preprocessing): metadata.preprocessing = preprocessing
        case .texts(let text):
            try metadata.note(
                text, recipe.data.text.columns,
                mayHaveNoAnswer: (training as? AnsweredQuestions)?.hasUnanswerable)
        }
        metadata.classNames = classNames.isEmpty ? nil : classNames
        // What Graft does not know of it, such as the tokens that begin and end a text, leaves with the trained weights.
        metadata.huggingFaceConfiguration = file?.metadata.huggingFaceConfiguration
        metadata.license = file?.metadata.license
        metadata.provenance =
            "recipe \(recipe.name), weights \(recipe.model.weights ?? "none"), data \(training.source)"
        self.metadata = metadata
        fingerprints = try Self.fingerprints(recipe, file, input, [training, validation].compactMap { $0 })
        try check(worldSize: worldSize)
    }

    /// What the recipe names or the weights are of; with the outputs of those, before the data is known.
    private static func architecture(_ recipe: Recipe, _ file: WeightFile?) throws -> Architecture {
        let model = recipe.model
        let dropout = model.dropout.map { Float($0) }
        guard let file, let path = model.weights else {
            return try Architecture(
                named: model.architectureName ?? "", variant: model.variant, sizes: model.sizes, dropout: dropout)
        }
        return try WeightLoader.architecture(
            of: file, path: path, architecture: model.architectureName, variant: model.variant
        ).with(dropout: dropout)
    }

    private static func network(
        _ recipe: Recipe, _ architecture: Architecture, _ file: WeightFile?, _ training: any Dataset
    ) throws -> (Network, LoadReport?) {
        let head = recipe.model.head
        let hasClasses = architecture.output == .classes || architecture.output == .tokenClasses
        let network = try architecture.with(
            classes: head == .new && hasClasses ? training.classNames.count : nil
        ).network(seed: UInt64(max(0, recipe.run.seed)))
        if head == .new, file != nil, !network.store.parameters.contains(where: { network.isHead($0.path) }) {
            throw RecipeError.conflict(
                place: "recipe", key: "model.head", value: "new",
                problem: "\(architecture) predicts tokens and has no classifier", remedy: "keep it")
        }
        guard let file, let path = recipe.model.weights else { return (network, nil) }
        return (network, try WeightLoader.load(file, into: network, head: head == .new ? .new : .keep, path: path))
    }

    /// What the outputs stand for: the classes of the data for a new head; for one that is kept, those that the file
    /// names, which the data may have only some of; nothing where tokens are predicted.
    private static func classNames(
        _ recipe: Recipe, _ file: WeightFile?, _ training: any Dataset, _ architecture: Architecture
    ) throws -> [String] {
        let (own, outputs) = (training.classNames, architecture.classes)
        guard architecture.output == .classes || architecture.output == .tokenClasses else { return [] }
        guard recipe.model.head == .keep, let file, let path = recipe.model.weights else { return own }
        if let names = file.metadata.classNames, names.count == outputs { return names }
        guard own.count == outputs else {
            throw RunError.classesWithoutNames(
                source: training.source, classes: own.count, weights: path, outputs: outputs)
        }
        return own
    }

    private static func fingerprints(
        _ recipe: Recipe, _ file: WeightFile?, _ input: RecipeInput, _ data: [any Dataset]
    ) throws -> RunFingerprints {
        var fingerprint = try data.map { try $0.fingerprint() }.joined()
        if case .texts(let text) = input { fingerprint += text.tokenizer.digest() }
        return RunFingerprints(recipe: recipe.fingerprint, data: fingerprint, weights: file?.digest ?? "none")
    }

    /// The shape of one sample as the network takes it.
    var shape: [Int] {
        guard case .images(let preprocessing) = input else { return input.shape }
        return [network.architecture.inputChannels, preprocessing.inputSize, preprocessing.inputSize]
    }

    private func check(worldSize: Int) throws {
        if let validation, validation.classNames != training.classNames {
            throw RunError.classesDiffer(
                training: training.classNames, validation: validation.classNames, source: validation.source)
        }
        _ = try network.shapes(for: [1] + shape)
        for phase in plan.phases {
            for turn in phase.turns {
                let resolved = try turn.trainable.resolve(for: network)
                try turn.optimizer.checkGroups(
                    learning: resolved.trainable, frozen: resolved.frozen, headPrefix: network.headPrefix)
            }
            _ = try trunkPlan(phase, worldSize: worldSize)
            for stream in phase.streams {
                try Sampler(count: training.count, shuffles: true).validate(batch: stream.batch, worldSize: worldSize)
            }
        }
    }

    /// How a phase will compute its frozen stages, as far as that can be told before the run.
    func trunkPlan(_ phase: Phase, worldSize: Int) throws -> TrunkPlan {
        var settings = recipe.trunkSettings
        settings.ranksShareFiles = recipe.data.sharding == .shared || worldSize == 1
        let before = plan.phases.prefix { $0.name != phase.name }
        let loader = BatchLoader(
            dataset: training, input: input.training(recipe.data), brokenFiles: recipe.data.brokenFiles)
        return try TrunkPlan(
            phase, network: network, settings: settings, data: ["train": loader],
            validation: validation.map { BatchLoader(dataset: $0, input: input.evaluation) },
            firstEpoch: before.reduce(0) { $0 + $1.epochs(samples: training.count) })
    }

    // MARK: The run directory

    /// Makes the run directory, or finds the checkpoint to go on from.
    func openDirectory() throws {
        let path = recipe.outputDirectory
        resumed = try findCheckpoint(in: "\(path)/checkpoints")
        let directory = try RunDirectory(path, continuing: continues(path))
        let checkpoints = CheckpointStore(directory: directory.checkpoints, generations: recipe.run.keep)
        if let resumed {
            for file in try checkpoints.setAside(after: resumed.progress.totalSteps) {
                notes.append("\(file.old) is after the step to resume from; it is now \(file.new)")
            }
        }
        try directory.write(recipe.yaml, to: "recipe.yaml")
        (self.directory, self.checkpoints) = (directory, checkpoints)
    }

    /// Whether this run goes on with what is in the run directory: with the checkpoint it has found there, or, where
    /// a run was lost before its first one, with its recipe alone.
    private func continues(_ path: String) -> Bool {
        switch options.resume {
        case .no: return false
        case .auto:
            let isFinished = FileManager.default.fileExists(atPath: "\(path)/weights.h5")
            return resumed != nil || !isFinished && (try? Recipe.load("\(path)/recipe.yaml")) != nil
        case .checkpoint(let file):
            func resolved(_ path: String) -> String { URL(fileURLWithPath: path).resolvingSymlinksInPath().path }
            return resolved(file).hasPrefix(resolved("\(path)/checkpoints") + "/")
        }
    }

    private func findCheckpoint(in directory: String) throws -> Checkpoint? {
        let path: String
        switch options.resume {
        case .no: return nil
        case .checkpoint(let given): path = given
        case .auto:
            let (newest, damaged) = CheckpointStore.newestValid(in: directory)
            for file in damaged { notes.append("\(file) is damaged and was passed over") }
            guard let newest else {
                if !damaged.isEmpty { throw CheckpointError.noneValid(directory: directory, damaged: damaged) }
                return nil
            }
            path = newest
        }
        let checkpoint = try Checkpoint(reading: path)
        let before = try? Recipe(yaml: checkpoint.recipe, file: path)
        try checkpoint.check(
            fingerprints, path: path,
            recipeDifferences: before.map { recipe.differences(from: $0) }?.map {
                "\($0.key) was \($0.other), is \($0.value)"
            } ?? [])
        try WeightLoader.load(checkpoint.archive.weights, into: network, path: path)
        notes.append("resuming from \(path)")
        return checkpoint
    }

    /// What every rank must know.
    func description() throws -> RunDescription {
        let architecture = network.architecture
        return RunDescription(
            recipe: recipe.yaml, recipePath: options.recipePath,
            network: RunDescription.NetworkName(
                name: architecture.name, variant: architecture.variant, sizes: architecture.sizes,
                classes: architecture.classes, inputChannels: architecture.inputChannels,
                dropout: architecture.dropout, rates: architecture.rates),
            input: try RunDescription.Input(input), classNames: classNames, fingerprints: fingerprints,
            trainingFingerprint: try training.fingerprint(), validationFingerprint: try validation?.fingerprint(),
            progress: resumed?.progress ?? RunProgress(), optimizerSteps: resumed?.optimizers.map(\.stepCount) ?? [])
    }

    // MARK: Saving

    /// Copies the state and starts writing it.
    ///
    /// - Throws: `TrainingError.divergedWeights`: what is not a number must not become the newest checkpoint.
    func save(_ progress: RunProgress, _ optimizers: [OptimizerState], isBest: Bool) throws {
        let weights = weights()
        let broken = weights.weights.tensors.filter { !$0.isFinite }.map(\.name)
        guard broken.isEmpty else { throw TrainingError.divergedWeights(names: broken, step: progress.totalSteps) }
        let checkpoint = try Checkpoint(
            weights: weights, progress: progress, fingerprints: fingerprints, optimizers: optimizers,
            recipe: recipe.yaml)
        try checkpoints?.save(checkpoint.archive, step: progress.totalSteps, isBest: isBest)
    }

    /// The network as it is now, with what its users need to know.
    func weights() -> GraftArchive { GraftArchive(WeightFile(network, metadata: metadata)) }
}

/// What can be wrong between the parts of a run.
public enum RunError: GraftError, Equatable {
    case classesDiffer(training: [String], validation: [String], source: String)
    /// A head that is kept, whose outputs the file does not name, and another number of classes in the data.
    case classesWithoutNames(source: String, classes: Int, weights: String, outputs: Int)
    /// A rank sees other data than the coordinator.
    case dataDiffers(rank: Int, source: String)

    public var exitCode: ExitCode { .data }

    public var description: String {
        switch self {
        case .classesDiffer(let training, let validation, let source):
            return "\(source): the validation data has the classes \(validation.joined(separator: ", ")), the training "
                + "data \(training.joined(separator: ", ")); give data.classes or folders with the same classes"
        case .classesWithoutNames(let source, let classes, let weights, let outputs):
            return "\(source): has \(classes) classes, and \(weights) has \(outputs) outputs that it does not name, so "
                + "nothing says which is which; train with model.head: new"
        case .dataDiffers(let rank, let source):
            return "\(source): rank \(rank) sees other files than rank 0; use a shared file system, or "
                + "data.sharding: scatter"
        }
    }
}
