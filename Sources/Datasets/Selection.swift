import Collectives
import Foundation
import Tensors

/// Which samples of a data set to use. The parts apply in this order: classes, the first of each class left
/// out, so many per class. Everything random follows from `seed`.
public struct Selection: Codable, Equatable, Sendable {
    /// Only these classes, labelled 0, 1, … in this order; all in the data set's order where nil.
    public var classes: [String]?
    /// Leaves out the first so many of each class, in name order: what `firstPerClass` elsewhere takes.
    public var skipFirstPerClass: Int?
    /// The first so many of each class, in name order.
    public var firstPerClass: Int?
    /// So many of each class, drawn by `seed`; with the same seed, fewer are a subset of more.
    public var perClass: Int?
    /// This part of each class (above 0, up to 1; at least one sample), drawn by `seed`.
    public var fraction: Double?
    public var seed: UInt64

    public init(
        classes: [String]? = nil, skipFirstPerClass: Int? = nil, firstPerClass: Int? = nil,
        perClass: Int? = nil, fraction: Double? = nil, seed: UInt64 = 0
    ) {
        self.classes = classes
        self.skipFirstPerClass = skipFirstPerClass
        self.firstPerClass = firstPerClass
        self.perClass = perClass
        self.fraction = fraction
        self.seed = seed
    }

    /// - Parameter keys: what stands before the words that recipes and options have for the properties
    ///   (`per-class`) where they were given: `data.train.`, `--`.
    /// - Throws: `DatasetError.invalidSelection` for numbers and combinations that make no sense; needs no data.
    public func validate(keys: String = "") throws {
        let counts = [
            ("skip-per-class", skipFirstPerClass, 0), ("first-per-class", firstPerClass, 1), ("per-class", perClass, 1),
        ]
        for case (let key, let value?, let least) in counts where value < least {
            throw DatasetError.invalidSelection(key: keys + key, value: "\(value)", rule: "give \(least) or more")
        }
        if let fraction, !(fraction > 0 && fraction <= 1) {
            throw DatasetError.invalidSelection(
                key: keys + "fraction", value: "\(fraction)", rule: "give a number above 0 and up to 1")
        }
        let ways = [
            ("first-per-class", firstPerClass != nil), ("per-class", perClass != nil), ("fraction", fraction != nil),
        ]
        let given = ways.filter { $0.1 }.map { keys + $0.0 }
        if given.count > 1 {
            throw DatasetError.invalidSelection(
                key: given[1], value: "together with \(given[0])", rule: "give one of the two")
        }
        if let classes {
            if classes.count < 2 {
                throw DatasetError.invalidSelection(
                    key: keys + "classes", value: "\(classes)", rule: "name at least two classes")
            }
            var seen: Set<String> = []
            for name in classes where !seen.insert(name).inserted {
                throw DatasetError.duplicateClass(name: name)
            }
        }
    }

    /// The chosen samples of one class, ascending; `source` and `keys` are for messages.
    func choose(from members: [Int], className: String, source: String, keys: String) throws -> [Int] {
        func check(_ asked: Int, _ key: String, _ available: Int) throws {
            guard asked > available else { return }
            throw DatasetError.tooFewInClass(
                source: source, className: className, asked: asked, available: available, key: keys + key)
        }
        var members = members
        if let skip = skipFirstPerClass {
            try check(skip, "skip-per-class", members.count)
            members.removeFirst(skip)
        }
        if let first = firstPerClass {
            try check(first, "first-per-class", members.count)
            return Array(members[..<first])
        }
        guard perClass != nil || fraction != nil else { return members }
        let count = perClass ?? max(1, Int((Double(members.count) * (fraction ?? 1)).rounded()))
        try check(count, perClass == nil ? "fraction" : "per-class", members.count)
        let order = Permutation(
            count: members.count, key: RandomKey(seed: seed, purpose: .selection, path: className))
        return (0..<count).map { order[$0] }.sorted().map { members[$0] }
    }
}

extension Dataset {
    /// The samples that `selection` names, relabelled where it names classes. Samples without labels are of one class.
    ///
    /// - Parameter keys: as in `Selection.validate`.
    /// - Throws: `DatasetError` where a class is unknown (with the nearest name), has too few samples,
    ///   or where nothing is left.
    public func selecting(_ selection: Selection, keys: String = "") throws -> any Dataset {
        try selection.validate(keys: keys)
        if selection == Selection(seed: selection.seed) { return self }
        guard !classNames.isEmpty, !labelsAreOfWords else {
            if let classes = selection.classes, let first = classes.first {
                throw DatasetError.unknownClass(name: first, nearest: [], source: source)
            }
            let chosen = try selection.choose(from: Array(0..<count), className: "", source: source, keys: keys)
            return SelectedSamples(
                from: self, indices: chosen, classNames: classNames, labels: [Int32](repeating: 0, count: chosen.count))
        }
        let names = selection.classes ?? classNames
        var newLabels = [Int32](repeating: -1, count: classNames.count)
        for (label, name) in names.enumerated() {
            guard let old = classNames.firstIndex(of: name) else {
                throw DatasetError.unknownClass(
                    name: name, nearest: nearestNames(to: name, among: classNames, limit: 1), source: source)
            }
            newLabels[old] = Int32(label)
        }
        var members = [[Int]](repeating: [], count: classNames.count)
        for (index, label) in labels.enumerated() where newLabels[Int(label)] >= 0 {
            members[Int(label)].append(index)
        }
        var chosen: [Int] = []
        for (label, className) in classNames.enumerated() where newLabels[label] >= 0 {
            chosen += try selection.choose(from: members[label], className: className, source: source, keys: keys)
        }
        if chosen.isEmpty { throw DatasetError.nothingSelected(source: source) }
        chosen.sort()
        return SelectedSamples(
            from: self, indices: chosen, classNames: names, labels: chosen.map { newLabels[Int(labels[$0])] })
    }
}

/// Some samples of another data set, numbered and labelled anew.
final class SelectedSamples: Dataset, @unchecked Sendable {
    let base: any Dataset
    /// The number in `base` of each sample, ascending.
    let indices: [Int]
    let classNames: [String]
    let labels: [Int32]

    init(from base: any Dataset, indices: [Int], classNames: [String], labels: [Int32]) {
        self.base = base
        self.indices = indices
        self.classNames = classNames
        self.labels = labels
    }

    var source: String { base.source }
    var labelsAreOfWords: Bool { base.labelsAreOfWords }
    func name(at index: Int) -> String { base.name(at: indices[index]) }
    func storedSample(at index: Int) throws -> StoredSample { try base.storedSample(at: indices[index]) }

    func fingerprint() throws -> String {
        var fingerprint = Fingerprint()
        fingerprint.add(try base.fingerprint())
        for name in classNames { fingerprint.add(name) }
        for index in indices { fingerprint.add(index) }
        fingerprint.add(labels)
        return fingerprint.hexadecimal()
    }
}
