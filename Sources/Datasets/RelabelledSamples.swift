import Collectives

extension Dataset {
    /// The same samples under the labels of a network: classes are matched by name. Where the network's outputs have
    /// no names, or the data's classes are only numbered and none of the network's names is a number, they are matched
    /// by position.
    ///
    /// - Parameters:
    ///   - classNames: one per output, where the weights name them.
    ///   - weights: what to call the weights in errors.
    /// - Throws: `DatasetError` where the data has a class that the network has no output for.
    public func relabelled(
        for classNames: [String]?, outputs: Int, weights: String
    ) throws -> any Dataset {
        let own = self.classNames
        if own.isEmpty { return self }
        guard let classNames, !(Self.areNumbers(own) && !classNames.contains { Int($0) != nil }) else {
            guard own.count <= outputs else {
                throw DatasetError.tooManyClasses(
                    source: source, classes: own.count, weights: weights, outputs: outputs)
            }
            return self
        }
        if own == classNames { return self }
        let labels = try own.map { name in
            guard let label = classNames.firstIndex(of: name) else {
                throw DatasetError.classNotInWeights(
                    name: name, nearest: nearestNames(to: name, among: classNames, limit: 1), source: source,
                    weights: weights)
            }
            return Int32(label)
        }
        return RelabelledSamples(self, classNames: classNames, newLabels: labels)
    }

    /// The names `0`, `1`, … of files that have labels only.
    private static func areNumbers(_ names: [String]) -> Bool {
        names.enumerated().allSatisfy { $1 == String($0) }
    }
}

private final class RelabelledSamples: Dataset, @unchecked Sendable {
    let classNames: [String]
    let labels: [Int32]
    private let base: any Dataset
    private let newLabels: [Int32]

    /// `newLabels` are by old label.
    init(_ base: any Dataset, classNames: [String], newLabels: [Int32]) {
        self.base = base
        self.classNames = classNames
        self.newLabels = newLabels
        labels = base.labelsAreOfWords ? base.labels : base.labels.map { newLabels[Int($0)] }
    }

    var source: String { base.source }
    var labelsAreOfWords: Bool { base.labelsAreOfWords }
    func name(at index: Int) -> String { base.name(at: index) }
    func fingerprint() throws -> String { try base.fingerprint() }

    func storedSample(at index: Int) throws -> StoredSample {
        let stored = try base.storedSample(at: index)
        guard case .words(let words, let labels) = stored else { return stored }
        return .words(words, labels: labels.map { newLabels[Int($0)] })
    }
}
