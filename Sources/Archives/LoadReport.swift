import Collectives

/// What becomes of the classifier when weights are loaded.
public enum HeadPolicy: String, Codable, Sendable, CaseIterable {
    /// The file's classifier, which must fit.
    case keep
    /// A newly initialised one; that of the file is left out.
    case new
}

/// What became of every tensor of a file and of every parameter and buffer of the network.
public struct LoadReport: Codable, Equatable, Sendable {
    public enum Outcome: String, Codable, Sendable {
        /// Taken as it is.
        case loaded
        /// Taken with its dimensions in another order, or flattened.
        case reshaped
        /// Not in the file, or the head was to be new.
        case newlyInitialised
        /// In the file and not taken.
        case refused
    }

    public struct Entry: Codable, Equatable, Sendable {
        /// The path in the network; nil for a tensor that the network has no place for.
        public let path: String?
        /// The name in the file; nil for what the file does not have.
        public let storedName: String?
        /// As the network has it; as the file has it where the network has no place for it.
        public let shape: [Int]
        public let outcome: Outcome
        /// Why it was refused or reshaped.
        public let note: String?
    }

    public let architecture: String
    public let variant: String
    public internal(set) var entries: [Entry] = []

    /// How many entries ended in each way.
    public func count(_ outcome: Outcome) -> Int { entries.filter { $0.outcome == outcome }.count }
}

extension LoadReport: CustomStringConvertible {
    /// `resnet20 (option-a): 97 loaded, 0 reshaped, 19 newly initialised, 0 refused`.
    public var summary: String {
        "\(architecture) (\(variant)): \(count(.loaded)) loaded, \(count(.reshaped)) reshaped, "
            + "\(count(.newlyInitialised)) newly initialised, \(count(.refused)) refused"
    }

    /// The summary and a line for everything that was not simply loaded.
    public var description: String {
        let lines = entries.filter { $0.outcome != .loaded }.map { entry in
            "  \(entry.outcome.rawValue): \(entry.path ?? entry.storedName ?? "")"
                + (entry.note.map { " (\($0))" } ?? "")
        }
        return ([summary] + lines).joined(separator: "\n")
    }
}

/// Weights that do not fit a network.
public enum LoadError: GraftError, Equatable {
    /// A tensor of another shape than the network has; `actual` as the network would see it.
    public struct Misshapen: Equatable, Sendable {
        public let path: String
        public let expected: [Int]
        public let actual: [Int]
    }

    /// Names and shapes are those of no network that Graft knows.
    case unrecognised(path: String, names: [String])
    /// Everything that does not fit, by full path in the network; unexpected ones as the file names them.
    case mismatch(
        path: String, architecture: String, missing: [String], unexpected: [String], misshapen: [Misshapen],
        onlyHead: Bool)

    /// Weights that are not numbers: an earlier training diverged, or the file is damaged. `names` as the file has
    /// them.
    case notFinite(path: String, names: [String])

    public var exitCode: ExitCode { .data }

    public var description: String {
        switch self {
        case .notFinite(let path, let names):
            let shown = names.prefix(8).joined(separator: ", ") + (names.count > 8 ? ", …" : "")
            return "\(path): holds NaN or infinity in \(shown); take weights from before the training diverged"
        case .unrecognised(let path, let names):
            let examples = names.joined(separator: ", ")
            return "\(path): names and shapes of its tensors (\(examples), …) are those of no known network; "
                + "say which one with architecture"
        case .mismatch(let path, let architecture, let missing, let unexpected, let misshapen, let onlyHead):
            var lines = ["\(path): does not fit \(architecture)"]
            lines += missing.map { "  missing: \($0)" }
            lines += unexpected.map { "  unexpected: \($0)" }
            lines += misshapen.map {
                "  wrong shape: \($0.path) is \(words($0.actual)), expected \(words($0.expected))"
            }
            if onlyHead { lines.append("  only the classifier does not fit: head: new replaces it") }
            return lines.joined(separator: "\n")
        }
    }

    private func words(_ shape: [Int]) -> String {
        shape.isEmpty ? "a scalar" : shape.map(String.init).joined(separator: "×")
    }
}
