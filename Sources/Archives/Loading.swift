import Foundation
import Layers
import Models
import Tensors

/// Puts the tensors of weight files into networks. Strict: what is missing, unexpected or of another
/// shape is an error that lists all of it; a new head is the one relaxation.
public enum WeightLoader {
    /// What weights a file holds, without building anything from it.
    ///
    /// - Parameters:
    ///   - path: names the file in errors.
    ///   - architecture: overrides what the file says or its names and shapes tell.
    /// - Throws: `LoadError.unrecognised`, `ModelError`.
    public static func architecture(
        of file: WeightFile, path: String, architecture: String? = nil, variant: String? = nil
    ) throws -> Architecture {
        try RecognisedWeights(file, path: path, architecture: architecture, variant: variant).architecture
    }

    /// Builds the network that a file holds weights of, and loads them.
    ///
    /// - Parameters:
    ///   - path: names the file in errors.
    ///   - classes: the number of outputs, by default that of the file; another one needs a new head.
    ///   - dropout: of a network over text, by default what the file says, else as published.
    ///   - seed: what a new head is drawn from.
    /// - Throws: `LoadError`, `ModelError`.
    public static func network(
        from file: WeightFile, path: String, architecture: String? = nil, variant: String? = nil,
        classes: Int? = nil, dropout: Float? = nil, head: HeadPolicy = .keep, seed: UInt64 = 0
    ) throws -> (network: Network, report: LoadReport) {
        let weights = try RecognisedWeights(file, path: path, architecture: architecture, variant: variant)
        let network = try weights.architecture.with(classes: classes, dropout: dropout).network(seed: seed)
        return (network, try load(weights, into: network, head: head, path: path))
    }

    /// Loads a file into a network; nothing changes where it throws.
    ///
    /// - Throws: `LoadError.mismatch` with everything that does not fit.
    @discardableResult
    public static func load(
        _ file: WeightFile, into network: Network, head: HeadPolicy = .keep, path: String
    ) throws -> LoadReport {
        try load(RecognisedWeights(file, as: network.architecture), into: network, head: head, path: path)
    }

    private static func load(
        _ weights: RecognisedWeights, into network: Network, head: HeadPolicy, path: String
    ) throws -> LoadReport {
        var matching = Matching(weights, network, head)
        for parameter in network.store.parameters { matching.match(parameter.path, shape: parameter.shape) }
        for buffer in network.store.buffers {
            matching.match(buffer.path, shape: buffer.shape, isCounter: buffer.isCounter)
        }
        matching.sortOutRest()
        try matching.throwIfUnfit(path: path)
        let notFinite = matching.taken.map(\.tensor.stored).filter { !$0.isFinite }.map(\.name)
        guard notFinite.isEmpty else { throw LoadError.notFinite(path: path, names: notFinite) }
        for (path, tensor) in matching.taken {
            if let parameter = network.store[path] {
                parameter.value = tensor.values(as: parameter.shape)
            } else if let buffer = network.store[buffer: path] {
                buffer.value = tensor.values(as: buffer.shape)
            }
        }
        return matching.report
    }
}

/// Goes through network and file side by side and notes what fits.
private struct Matching {
    private(set) var report: LoadReport
    /// What will be loaded, by path.
    private(set) var taken: [(path: String, tensor: MappedTensor)] = []

    private let weights: RecognisedWeights
    private let network: Network
    private let head: HeadPolicy
    private var missing: [String] = []
    private var unexpected: [String] = []
    private var misshapen: [LoadError.Misshapen] = []

    init(_ weights: RecognisedWeights, _ network: Network, _ head: HeadPolicy) {
        self.weights = weights
        self.network = network
        self.head = head
        report = LoadReport(architecture: network.architecture.name, variant: network.architecture.variant)
    }

    mutating func match(_ path: String, shape: [Int], isCounter: Bool = false) {
        if head == .new, network.isHead(path) {
            note(path, nil, shape, .newlyInitialised, "head: new")
            return
        }
        guard let tensor = weights.tensors[path] else {
            // PyTorch before 0.4.1 and Keras do not count batches.
            if isCounter {
                note(path, nil, shape, .newlyInitialised, "0, the file does not count batches")
            } else if head == .new, network.isNewWithHead(path) {
                note(path, nil, shape, .newlyInitialised, "head: new, and the file has none")
            } else {
                missing.append(path)
            }
            return
        }
        let flattened = tensor.shape.count == 4 && shape.count == 2 && tensor.shape[2...] == [1, 1]
        guard tensor.shape == shape || (flattened && Array(tensor.shape[..<2]) == shape) else {
            misshapen.append(.init(path: path, expected: shape, actual: tensor.shape))
            return
        }
        taken.append((path, tensor))
        let stored = tensor.stored
        let isAsStored = tensor.conversion == .none && stored.shape == shape
        let words = stored.shape.map(String.init).joined(separator: "×")
        note(path, stored.name, shape, isAsStored ? .loaded : .reshaped, isAsStored ? nil : "from \(words)")
    }

    /// What the file has and the network has not.
    mutating func sortOutRest() {
        let known = Set(network.store.parameters.map(\.path) + network.store.buffers.map(\.path))
        for (path, tensor) in weights.tensors.sorted(by: { $0.key < $1.key }) {
            let stored = tensor.stored
            if known.contains(path) {
                guard head == .new, network.isHead(path) else { continue }
                note(nil, stored.name, stored.shape, .refused, "head: new")
            } else if let reason = network.architecture.family.reasonToLeaveOut(path) {
                note(nil, stored.name, stored.shape, .refused, reason)
            } else if let original = network.architecture.family.original(of: path),
                let same = weights.tensors[original], same.stored.bytes == stored.bytes
            {
                note(nil, stored.name, stored.shape, .refused, "the same as \(same.stored.name)")
            } else if network.architecture.family.isOfHead(path),
                head == .new || network.architecture.output == .embedding
            {
                note(nil, stored.name, stored.shape, .refused, head == .new ? "head: new" : "this variant has no head")
            } else if path.hasSuffix(".num_batches_tracked"), known.contains(runningMean(beside: path)) {
                note(nil, stored.name, stored.shape, .refused, "this variant does not count batches")
            } else {
                reject(stored.name, stored.shape, path)
            }
        }
        for name in weights.unmapped { reject(name, [], name) }
    }

    /// A new head replaces old ones of other names too.
    private mutating func reject(_ name: String, _ shape: [Int], _ path: String) {
        let heads = [
            "fc", "linear", "classifier", "head", "dense", "predictions", "logits", "probs", "conv_preds",
        ]
        let first = path.lowercased().prefix { $0.isLetter || $0 == "_" }
        if head == .new, heads.contains(where: { first.hasPrefix($0) }) {
            note(nil, name, shape, .refused, "head: new")
        } else {
            unexpected.append(name)
        }
    }

    func throwIfUnfit(path: String) throws {
        guard !(missing.isEmpty && unexpected.isEmpty && misshapen.isEmpty) else { return }
        let onlyHead = unexpected.isEmpty && (missing + misshapen.map(\.path)).allSatisfy(network.isHead)
        throw LoadError.mismatch(
            path: path, architecture: "\(network.architecture)", missing: missing, unexpected: unexpected,
            misshapen: misshapen, onlyHead: onlyHead)
    }

    private func runningMean(beside path: String) -> String {
        String(path.dropLast("num_batches_tracked".count)) + "running_mean"
    }

    private mutating func note(
        _ path: String?, _ name: String?, _ shape: [Int], _ outcome: LoadReport.Outcome, _ note: String?
    ) {
        report.entries.append(.init(path: path, storedName: name, shape: shape, outcome: outcome, note: note))
    }
}
