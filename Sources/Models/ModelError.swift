import Collectives

/// An architecture that cannot be built as asked.
public enum ModelError: GraftError, Equatable {
    case unknownArchitecture(name: String, nearest: [String])
    case unknownVariant(architecture: String, variant: String, known: [String])
    /// A number of classes, channels or a width that no network has.
    case invalidNumber(architecture: String, key: String, value: String, expected: String)
    /// Images that do not have the dimensions the network takes.
    case wrongImages(architecture: String, expected: String, actual: [Int])
    /// An int8 trunk that no typical inputs were shown to.
    case notCalibrated(architecture: String)

    /// Tokens that do not have the dimensions the network takes.
    case wrongTokens(architecture: String, expected: String, actual: [Int])

    /// A network over text where images are to go in.
    case takesTokens(architecture: String)

    public var exitCode: ExitCode {
        switch self {
        case .wrongImages, .wrongTokens: .data
        default: .usage
        }
    }

    public var description: String {
        switch self {
        case .unknownArchitecture(let name, let nearest):
            let hint =
                nearest.isEmpty
                ? "known are \(Architecture.knownNames.joined(separator: ", "))"
                : "did you mean \(nearest.joined(separator: ", "))?"
            return "architecture \"\(name)\" is not known; \(hint)"
        case .unknownVariant(let architecture, let variant, let known):
            return "architecture \(architecture) has no variant \"\(variant)\"; "
                + "it has \(known.joined(separator: ", "))"
        case .invalidNumber(let architecture, let key, let value, let expected):
            return "architecture \(architecture): \(key) is \(value), expected \(expected)"
        case .wrongTokens(let architecture, let expected, let actual):
            return "\(architecture): takes tokens \(expected), not "
                + actual.map(String.init).joined(separator: "×")
        case .takesTokens(let architecture):
            return "\(architecture): takes tokens, not images; name a network over images"
        case .notCalibrated(let architecture):
            return "\(architecture): an int8 trunk must be calibrated with typical images before it is used"
        case .wrongImages(let architecture, let expected, let actual):
            return "\(architecture): takes images \(expected), not "
                + actual.map(String.init).joined(separator: "×")
        }
    }
}
