import Collectives

/// Arguments that do not go together, or a file that does not suit what it is given for. Facts here, the words
/// in `description`.
enum CommandError: GraftError, Equatable {
    case unknownCommand(name: String, nearest: [String], known: [String])
    /// A file to be written whose suffix names no format.
    case unknownSuffix(path: String)
    /// Weights whose list of class names is not as long as the network has outputs.
    case classNamesDoNotFit(path: String, names: Int, outputs: Int)
    /// An HDF5 data set that is not a batch of images for the network.
    case notImages(path: String, actual: String, expected: String)
    /// Weights of a network over text without a tokenizer.
    case noTokenizer(path: String)
    /// A network whose output the command has no words for.
    case cannotAnswer(path: String, output: String, remedy: String)
    /// A text with nothing to answer: without a mask, or without a passage.
    case nothingAsked(input: String, remedy: String)
    /// The same file to read and to write.
    case sameFile(path: String)

    /// What the process exits with after an error that nobody has foreseen.
    static let unexpected = ExitCode.data

    var exitCode: ExitCode {
        switch self {
        case .unknownCommand, .unknownSuffix, .sameFile, .cannotAnswer, .nothingAsked: return .usage
        case .classNamesDoNotFit, .notImages, .noTokenizer: return .data
        }
    }

    var description: String {
        switch self {
        case .unknownCommand(let name, let nearest, let known):
            let hint = nearest.first.map { "did you mean \($0)?" } ?? "there are \(known.joined(separator: ", "))"
            return "there is no command \"\(name)\"; \(hint)"
        case .unknownSuffix(let path):
            return
                "\(path): the suffix says what is written: .h5 for Graft HDF5, .weights.h5 for Keras 3, .safetensors; "
                + "or say it with --format"
        case .classNamesDoNotFit(let path, let names, let outputs):
            return "\(path): names \(names) classes for a network of \(outputs) outputs"
        case .notImages(let path, let actual, let expected):
            return "\(path): is \(actual), expected \(expected)"
        case .noTokenizer(let path):
            return "\(path): weights of a network over text that bring no tokenizer; name it with --tokenizer"
        case .cannotAnswer(let path, let output, let remedy):
            return "\(path): a network that gives \(output); \(remedy)"
        case .nothingAsked(let input, let remedy):
            return "'\(input)': asks nothing; \(remedy)"
        case .sameFile(let path):
            return "\(path): cannot be both read and written; give another output"
        }
    }
}
