import Archives
import Collectives
import Foundation
import Layers
import Models

/// What a run is made of, to be found unchanged when it is resumed.
public struct RunFingerprints: Codable, Equatable, Sendable {
    /// The recipe without its harmless keys.
    public var recipe: String
    /// Names, sizes and labels of the training and validation data.
    public var data: String
    /// The weights that the run started from.
    public var weights: String

    public init(recipe: String, data: String, weights: String) {
        self.recipe = recipe
        self.data = data
        self.weights = weights
    }
}

/// The state of a run at a step boundary, as it lies in a file: weights and buffers that any command
/// can use, optimizer state, progress, recipe, history, fingerprints.
public struct Checkpoint {
    public var archive: GraftArchive
    public var progress: RunProgress
    public var fingerprints: RunFingerprints
    public var optimizers: [OptimizerState]

    private enum Text {
        static let progress = "progress/state"
        static let fingerprints = "progress/fingerprints"
        static let optimizers = "progress/optimizers"
        static let recipe = "recipe"
        static let history = "history"
    }

    /// What of an optimizer is not tensors.
    private struct OptimizerHeader: Codable {
        var rule: OptimizerConfiguration.Rule
        var stepCount: Int
    }

    /// Copies everything; the network may go on learning.
    ///
    /// - Parameters:
    ///   - weights: parameters, buffers and metadata of the network.
    ///   - optimizers: one per turn of the phase under way.
    ///   - recipe: resolved, as YAML.
    public init(
        weights: GraftArchive, progress: RunProgress, fingerprints: RunFingerprints, optimizers: [OptimizerState],
        recipe: String
    ) throws {
        archive = weights
        self.progress = progress
        self.fingerprints = fingerprints
        self.optimizers = optimizers
        for (turn, state) in optimizers.enumerated() {
            for (name, entries) in Dictionary(grouping: state.entries, by: \.name) {
                archive[section: "optimizer/turn\(turn)/\(name)"] = entries.map {
                    StoredTensor(name: $0.path, shape: [$0.values.count], scalars: $0.values)
                }
            }
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        func json(_ value: some Encodable) throws -> String {
            String(decoding: try encoder.encode(value), as: UTF8.self)
        }
        archive.texts[Text.progress] = try json(progress)
        archive.texts[Text.fingerprints] = try json(fingerprints)
        archive.texts[Text.optimizers] = try json(
            optimizers.map { OptimizerHeader(rule: $0.rule, stepCount: $0.stepCount) })
        archive.texts[Text.history] = try json(progress.history)
        archive.texts[Text.recipe] = recipe
    }

    /// Reads a checkpoint file; its digest is checked first.
    ///
    /// - Throws: `ArchiveError`, or `CheckpointError.notACheckpoint` for a file of weights only.
    public init(reading path: String) throws {
        let archive = try GraftArchive.read(path)
        self.archive = archive
        let decoder = JSONDecoder()
        func value<Value: Decodable>(_ key: String, _ type: Value.Type) throws -> Value {
            guard let text = archive.texts[key], let value = try? decoder.decode(type, from: Data(text.utf8)) else {
                throw CheckpointError.notACheckpoint(path: path, missing: key)
            }
            return value
        }
        progress = try value(Text.progress, RunProgress.self)
        fingerprints = try value(Text.fingerprints, RunFingerprints.self)
        let headers = try value(Text.optimizers, [OptimizerHeader].self)
        optimizers = []
        for (turn, header) in headers.enumerated() {
            let prefix = "optimizer/turn\(turn)/"
            let entries = archive.sections.filter { $0.name.hasPrefix(prefix) }.flatMap { section in
                section.tensors.map {
                    OptimizerState.Entry(
                        name: String(section.name.dropFirst(prefix.count)), path: $0.name, values: $0.scalars)
                }
            }
            optimizers.append(OptimizerState(rule: header.rule, stepCount: header.stepCount, entries: entries))
        }
    }

    /// The recipe that the checkpoint was written under, as YAML.
    public var recipe: String { archive.texts[Text.recipe] ?? "" }

    /// Refuses a checkpoint of another run.
    ///
    /// - Throws: `CheckpointError.changed` naming what changed.
    public func check(_ present: RunFingerprints, path: String, recipeDifferences: [String]) throws {
        if fingerprints.recipe != present.recipe {
            throw CheckpointError.changed(
                path: path, what: "the recipe", details: recipeDifferences)
        }
        if fingerprints.data != present.data {
            throw CheckpointError.changed(path: path, what: "the data set", details: [])
        }
        if fingerprints.weights != present.weights {
            throw CheckpointError.changed(path: path, what: "the weight file", details: [])
        }
    }
}

/// What can be wrong with a checkpoint.
public enum CheckpointError: GraftError, Equatable {
    /// A Graft file without the named part.
    case notACheckpoint(path: String, missing: String)
    /// The run that wrote it had another recipe, data set or weight file.
    case changed(path: String, what: String, details: [String])
    /// Nothing to resume from.
    case noneValid(directory: String, damaged: [String])

    public var exitCode: ExitCode {
        if case .changed = self { return .usage }
        return .data
    }

    public var description: String {
        switch self {
        case .notACheckpoint(let path, let missing):
            return "\(path): holds weights but no '\(missing)', so training cannot resume from it; "
                + "name it as model.weights to start a new run from it"
        case .changed(let path, let what, let details):
            let list = details.isEmpty ? "" : " (\(details.joined(separator: "; ")))"
            return "\(path): \(what) changed since this checkpoint was written\(list); "
                + "undo the change to resume, or start a new run with another output"
        case .noneValid(let directory, let damaged):
            let list = damaged.isEmpty ? "" : "; damaged: " + damaged.joined(separator: ", ")
            return "\(directory): holds no valid checkpoint to resume from\(list)"
        }
    }
}
