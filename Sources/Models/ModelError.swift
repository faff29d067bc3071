import Collectives

/// An architecture that cannot be built as asked.
public enum ModelError: GraftError, Equatable {
    case unknownArchitecture(name: String, nearest: [String])
    case unknownVariant(architecture: String, variant: String, known: [String])
    /// A name that says another variant than what is said beside it.
    case twoVariants(architecture: String, named: String, variant: String)
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

    /// A number of `sizes` that the family does not have.
    case unknownSize(architecture: String, key: String, known: [String])
    /// Labels that do not have the shape the network's output asks for.
    case wrongLabels(architecture: String, expected: [Int], actual: [Int])
    /// A label that no output stands for.
    case labelOutOfRange(architecture: String, label: Int, classes: Int)
    /// Labels for a network that gives embeddings.
    case learnsNoLabels(architecture: String)
    /// A `config.json` that is not JSON, or says nothing of the kind of network.
    case unreadableConfiguration(reason: String)
    /// A `config.json` that asks for what Graft does not compute.
    case unsupportedConfiguration(key: String, value: String, supported: [String])
    /// A network that Hugging Face has no `config.json` for.
    case hasNoConfiguration(architecture: String)
    /// Text asked of a network that does not predict the next token.
    case generatesNothing(architecture: String)
    /// Prompts that cannot be continued together.
    case wrongPrompts(reason: String)

    public var exitCode: ExitCode {
        switch self {
        case .wrongImages, .wrongTokens, .wrongLabels, .labelOutOfRange, .unreadableConfiguration,
            .unsupportedConfiguration, .wrongPrompts:
            .data
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
        case .twoVariants(let architecture, let named, let variant):
            return "architecture \(architecture): the name says variant \"\(named)\", the variant is \"\(variant)\"; "
                + "give one of them"
        case .invalidNumber(let architecture, let key, let value, let expected):
            return "architecture \(architecture): \(key) is \(value), expected \(expected)"
        case .wrongTokens(let architecture, let expected, let actual):
            return "\(architecture): takes tokens \(expected), not \(words(actual))"
        case .unknownSize(let architecture, let key, let known):
            let others = known.isEmpty ? "its name says all" : "it has \(known.joined(separator: ", "))"
            return "architecture \(architecture) has no size \"\(key)\"; \(others)"
        case .wrongLabels(let architecture, let expected, let actual):
            return "\(architecture): takes labels \(words(expected)), not \(words(actual))"
        case .labelOutOfRange(let architecture, let label, let classes):
            return "\(architecture): the label \(label) is not one of its \(classes) classes"
        case .learnsNoLabels(let architecture):
            return "\(architecture): gives embeddings, which learn from no labels; choose a variant with a head"
        case .unreadableConfiguration(let reason):
            return "config.json: \(reason)"
        case .unsupportedConfiguration(let key, let value, let supported):
            return "config.json: \(key) is \(value), which is not supported; supported: "
                + supported.joined(separator: ", ")
        case .hasNoConfiguration(let architecture):
            return "\(architecture): Hugging Face's transformers has no config.json for it"
        case .generatesNothing(let architecture):
            return "\(architecture): does not predict the next token; generation needs a language model such as gpt2"
        case .wrongPrompts(let reason):
            return "prompts: \(reason)"
        case .takesTokens(let architecture):
            return "\(architecture): takes tokens, not images; name a network over images"
        case .notCalibrated(let architecture):
            return "\(architecture): an int8 trunk must be calibrated with typical images before it is used"
        case .wrongImages(let architecture, let expected, let actual):
            return "\(architecture): takes images \(expected), not \(words(actual))"
        }
    }

    private func words(_ shape: [Int]) -> String { shape.map(String.init).joined(separator: "×") }
}
