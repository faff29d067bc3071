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

    /// Builds the network that a file holds weights of, and loads them. Where nobody else holds the file, its tensors are
    /// let go of one by one: little more memory is taken than the larger of file and network needs.
    ///
    /// - Parameters:
    ///   - path: names the file in errors.
    ///   - classes: the number of outputs, by default that of the file; another one needs a new head.
    ///   - dropout: of a network over text, by default what the file says, else as published.
    ///   - seed: what a new head is drawn from.
    /// - Throws: `LoadError`, `ModelError`.
    public static func network(
        from file: consuming WeightFile, path: String, architecture: String? = nil, variant: String? = nil,
        classes: Int? = nil, dropout: Float? = nil, head: HeadPolicy = .keep, seed: UInt64 = 0
    ) throws -> (network: Network, report: LoadReport) {
        let weights = try RecognisedWeights(file, path: path, architecture: architecture, variant: variant)
        let network = try weights.architecture.with(classes: classes, dropout: dropout).network(seed: seed)
        return (network, try load(consume weights, into: network, head: head, path: path))
    }

    /// Loads a file into a network; nothing changes where it throws.
    ///
    /// - Throws: `LoadError.mismatch` with everything that does not fit.
    @discardableResult
    public static func load(
        _ file: consuming WeightFile, into network: Network, head: HeadPolicy = .keep, path: String
    ) throws -> LoadReport {
        try load(RecognisedWeights(file, as: network.architecture), into: network, head: head, path: path)
    }

    /// What would become of every tensor of a file, without loading them.
    ///
    /// - Parameters:
    ///   - file: its tensors may lack their values.
    ///   - path: where it was read from. Where a tensor must be the copy of another, the values are read from there.
    /// - Throws: `LoadError`, `ModelError`; `ArchiveError` where values have to be read.
    package static func match(_ file: WeightFile, path: String) throws -> LoadReport {
        let weights = try RecognisedWeights(file, path: path)
        let matching = Matching(weights, weights.architecture.network(), .keep)
        let isListed = file.tensors.contains { $0.bytes.isEmpty && $0.count > 0 }
        if matching.comparesValues, isListed { return try match(try WeightFile.read(path), path: path) }
        try matching.throwIfUnfit(path: path)
        return matching.report
    }

    private static func load(
        _ weights: consuming RecognisedWeights, into network: Network, head: HeadPolicy, path: String
    ) throws -> LoadReport {
        let (report, fitting) = try fitting(weights, network, head, path: path)
        var taken = consume fitting
        while let (path, tensor) = taken.popLast() {
            if let parameter = network.store[path] {
                parameter.fill(tensor.fill)
            } else {
                network.store[buffer: path]?.update(tensor.fill)
            }
        }
        return report
    }

    /// What will be loaded, where everything fits.
    private static func fitting(
        _ weights: consuming RecognisedWeights, _ network: Network, _ head: HeadPolicy, path: String
    ) throws -> (LoadReport, [(path: String, tensor: MappedTensor)]) {
        let matching = Matching(weights, network, head)
        try matching.throwIfUnfit(path: path)
        try matching.throwIfNotFinite(path: path)
        return (matching.report, matching.taken)
    }
}

/// Goes through network and file side by side and notes what fits.
struct Matching {
    private(set) var report: LoadReport
    /// What will be loaded, by path.
    private(set) var taken: [(path: String, tensor: MappedTensor)] = []
    /// Tensors of the file that the network has no place for and that may be there, by canonical path.
    private(set) var beside: [String] = []
    /// Whether the values of two tensors were compared.
    private(set) var comparesValues = false

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
        for parameter in network.store.parameters { match(parameter.path, shape: parameter.shape) }
        for buffer in network.store.buffers { match(buffer.path, shape: buffer.shape, isCounter: buffer.isCounter) }
        sortOutRest()
    }

    private mutating func match(_ path: String, shape: [Int], isCounter: Bool = false) {
        if head == .new, network.isHead(path) {
            note(path, nil, shape, .newlyInitialised, Self.newHead)
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
        // A convolution that covers its whole input, O×C×H×W, is a linear layer O×(C·H·W) behind a flattening.
        let flattened =
            tensor.shape.count == 4 && shape.count == 2 && tensor.shape[0] == shape[0]
            && tensor.shape[1...].reduce(1, *) == shape[1]
        guard tensor.shape == shape || flattened else {
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
    private mutating func sortOutRest() {
        let known = Set(network.store.parameters.map(\.path) + network.store.buffers.map(\.path))
        for (path, tensor) in weights.tensors.sorted(by: { $0.key < $1.key }) {
            let stored = tensor.stored
            if known.contains(path) {
                guard head == .new, network.isHead(path) else { continue }
                note(nil, stored.name, stored.shape, .refused, Self.newHead)
            } else if let reason = reasonToLeaveOut(path, tensor, known) {
                note(nil, stored.name, stored.shape, .refused, reason)
                if reason != Self.newHead { beside.append(path) }
            } else {
                reject(stored.name, stored.shape, path)
            }
        }
        for name in weights.unmapped { reject(name, [], name) }
    }

    private static let newHead = "head: new"

    /// Why the file may have a tensor that the network has no place for; nil where it may not.
    private mutating func reasonToLeaveOut(_ path: String, _ tensor: MappedTensor, _ known: Set<String>) -> String? {
        let (family, output) = (network.architecture.family, network.architecture.output)
        if let reason = family.reasonToLeaveOut(path) { return reason }
        if let original = family.original(of: path), let same = weights.tensors[original]?.stored {
            comparesValues = true
            if same.bytes == tensor.stored.bytes { return "the same as \(same.name)" }
        }
        if family.isOfHead(path), head == .new || output == .embedding {
            return head == .new ? Self.newHead : "this variant has no head"
        }
        let isCounter = path.hasSuffix(".num_batches_tracked") && known.contains(runningMean(beside: path))
        return isCounter ? "this variant does not count batches" : nil
    }

    /// A new head replaces old ones of other names too.
    private mutating func reject(_ name: String, _ shape: [Int], _ path: String) {
        let heads = [
            "fc", "linear", "classifier", "head", "dense", "predictions", "logits", "probs", "conv_preds",
        ]
        let first = path.lowercased().prefix { $0.isLetter || $0 == "_" }
        if head == .new, heads.contains(where: { first.hasPrefix($0) }) {
            note(nil, name, shape, .refused, Self.newHead)
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

    func throwIfNotFinite(path: String) throws {
        let names = taken.map(\.tensor.stored).filter { !$0.isFinite }.map(\.name)
        guard names.isEmpty else { throw LoadError.notFinite(path: path, names: names) }
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
