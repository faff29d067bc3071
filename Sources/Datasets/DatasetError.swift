import Collectives
import Foundation

/// What can be wrong with data from outside: facts here, the words in `description`.
public enum DatasetError: GraftError, Equatable {
    /// A file or folder that cannot be read or written; `reason` is the system's.
    case unreadable(path: String, reason: String)
    case unwritable(path: String, reason: String)
    /// A file that is none of the formats its reader knows.
    case notAnImage(path: String)
    case brokenImage(path: String, reason: String)
    case imageTooLarge(path: String, width: Int, height: Int)
    /// A dataset file (IDX, HDF5) whose contents contradict themselves or the format.
    case damaged(path: String, reason: String)
    case noDataset(path: String)
    /// A folder that holds a training and a test part, and no word on which is meant.
    case severalParts(path: String, parts: [String])
    case noClasses(path: String)
    case oneClassOnly(path: String, className: String)
    case emptyClass(path: String, className: String)
    /// A class of the data that the weights have no output for.
    case classNotInWeights(name: String, nearest: [String], source: String, weights: String)
    /// Outputs without names, and more classes in the data than there are.
    case tooManyClasses(source: String, classes: Int, weights: String, outputs: Int)
    case unknownClass(name: String, nearest: [String], source: String)
    case duplicateClass(name: String)
    case tooFewInClass(source: String, className: String, asked: Int, available: Int, key: String)
    case invalidSelection(key: String, value: String, rule: String)
    case nothingSelected(source: String)
    case invalidTransform(key: String, value: String, rule: String)
    case wrongImageSize(path: String, expected: [Int], actual: [Int])
    /// A step that does not exist for float images; `key` is what recipes call it.
    case notForFloats(path: String, key: String)
    /// Something in a line of a text file; `column` from 1.
    case badRow(path: String, line: Int, column: Int?, problem: String)
    /// A question that cannot be learned from as it is.
    case badQuestion(path: String, question: String, problem: String)
    /// A column that a table does not have; `key` is what recipes call it.
    case unknownColumn(path: String, key: String, name: String, nearest: [String], known: [String])
    /// A table that does not say which column is which: that of texts or labels is `missing` among those its header names.
    case columnsUnclear(path: String, columns: Int, names: [String], missing: String)
    /// A file of texts in which there are none.
    case noRows(path: String)
    /// A text of which nothing is left to predict or to predict from.
    case noTokens(path: String)
    case notAText(path: String)
    case noTexts(path: String)
    /// The vocabulary of a tokenizer does not fit the network's.
    case tokenizerDoesNotFit(path: String, tokens: Int, network: String, vocabulary: Int)
    case moreRanksThanSamples(ranks: Int, samples: Int)
    case invalidBatch(Int)
    /// A shard received from the coordinator that does not hold what was announced.
    case damagedShard(reason: String)
    case sampleNotHeld(index: Int)
    /// A folder without the files of a tokenizer.
    case noTokenizer(path: String)
    /// A tokenizer of a kind that Graft does not have; `key` is the path in its file.
    case unsupportedTokenizer(path: String, key: String, value: String, rule: String)
    /// A text that cannot be cut to `length` tokens as asked.
    case cannotTruncate(length: Int, reason: String)

    public var exitCode: ExitCode {
        switch self {
        case .unknownClass, .duplicateClass, .invalidSelection, .invalidTransform, .moreRanksThanSamples,
            .invalidBatch, .severalParts, .unknownColumn, .columnsUnclear, .cannotTruncate:
            return .usage
        case .damagedShard, .sampleNotHeld:
            return .cluster
        default:
            return .data
        }
    }

    /// Whether the error says that one sample is broken, which a recipe may ask to skip; missing
    /// rights, a lost disk and wrong settings are not of this kind.
    public var isBrokenSample: Bool {
        switch self {
        case .notAnImage, .brokenImage, .imageTooLarge: return true
        default: return false
        }
    }
}

extension DatasetError {
    public var description: String {
        switch self {
        case .classNotInWeights(let name, let nearest, let source, let weights):
            let hint = nearest.first.map { " (did you mean '\($0)'?)" } ?? ""
            return "\(source): class '\(name)' is none of those of \(weights)\(hint); "
                + "take the classes it knows (--classes, data.classes), or train with model.head: new"
        case .tooManyClasses(let source, let classes, let weights, let outputs):
            return "\(source): has \(classes) classes, and \(weights) has outputs for \(outputs); "
                + "take fewer classes (--classes, data.classes), or train with model.head: new"
        case .unreadable(let path, let reason):
            return "\(path): cannot be read (\(reason))"
        case .unwritable(let path, let reason):
            return "\(path): cannot be written (\(reason))"
        case .notAnImage(let path):
            return "\(path): not a JPEG or PNG image; remove it, or \(Self.skipping)"
        case .brokenImage(let path, let reason):
            return "\(path): broken image (\(reason)); replace it, or \(Self.skipping)"
        case .imageTooLarge(let path, let width, let height):
            return "\(path): \(width)×\(height) pixels are more than the limit of "
                + "\(ImageDecoder.pixelLimit); shrink the image"
        case .damaged(let path, let reason):
            return "\(path): damaged or not in the expected format (\(reason))"
        case .noDataset(let path):
            return "\(path): no data set found; expected a folder of class folders with "
                + ".jpg, .jpeg or .png files, an IDX images file (plain or .gz) with its labels file "
                + "beside it, or an HDF5 file with /images and /labels"
        case .severalParts(let path, let parts):
            return "\(path): holds several parts (\(parts.joined(separator: ", "))); "
                + "choose one with --split train or --split test"
        case .noClasses(let path):
            return "\(path): no class folders; expected one folder per class, with its images inside"
        case .oneClassOnly(let path, let className):
            return "\(path): only one class ('\(className)'); classification needs at least two"
        case .emptyClass(let path, let className):
            return "\(path): class folder '\(className)' holds no .jpg, .jpeg or .png file; "
                + "add images or remove the folder"
        case .unknownClass(let name, let nearest, let source):
            return "\(source): no class '\(name)'" + (nearest.first.map { "; did you mean '\($0)'?" } ?? "")
        case .duplicateClass(let name):
            return "class '\(name)' is listed twice; list each class once"
        case .tooFewInClass(let source, let className, let asked, let available, let key):
            return "\(source): \(key): \(asked) samples asked of class '\(className)', which has \(available); "
                + "ask for fewer or leave the class out"
        case .invalidSelection(let key, let value, let rule), .invalidTransform(let key, let value, let rule):
            return "\(key): \(value) is not possible; \(rule)"
        case .nothingSelected(let source):
            return "\(source): the selection leaves no samples"
        case .wrongImageSize(let path, let expected, let actual):
            return "\(path): an image of channels×height×width \(text(actual)) where "
                + "\(text(expected)) is expected; add a resize or crop"
        case .notForFloats(let path, let key):
            return "\(path): float32 images are taken as already normalised, so that \(key) does not exist for "
                + "them; remove it, or give uint8 images"
        case .badRow(let path, let line, let column, let problem):
            return "\(path):\(line): " + (column.map { "column \($0): " } ?? "") + problem
        case .badQuestion(let path, let question, let problem):
            return "\(path): question '\(question)': \(problem)"
        case .unknownColumn(let path, let key, let name, let nearest, let known):
            let hint =
                nearest.first.map { "did you mean '\($0)'?" } ?? "it has \(known.joined(separator: ", "))"
            return "\(path): no column '\(name)' (\(key)); \(hint)"
        case .columnsUnclear(let path, 1, _, _):
            return "\(path): one column; expected a text and its label, divided by a tab, or by a comma in a .csv file"
        case .columnsUnclear(let path, _, let names, let missing) where !names.isEmpty:
            return
                "\(path): none of the columns \(names.joined(separator: ", ")) is known to hold the \(missing); say which "
                + "does with data.text.columns.\(missing) (--\(missing)-column)"
        case .columnsUnclear(let path, let columns, _, _):
            return "\(path): \(columns) columns and no header that names them: say which is which with "
                + "data.text.columns (--text-column, --label-column), by number from 1"
        case .noTokens(let path):
            return "\(path): a text without tokens, or with fewer than a network can learn from; remove it"
        case .noRows(let path):
            return "\(path): no samples in it; the file is empty, or has a header alone"
        case .noTexts(let path):
            return
                "\(path): no texts found; expected a .tsv, .csv, .jsonl, .json or .txt file, or a folder with train.tsv and "
                + "test.tsv or the like"
        case .notAText(let path):
            return "\(path): an image where a network over text wants a text; give other data or another network"
        case .tokenizerDoesNotFit(let path, let tokens, let network, let vocabulary):
            return "\(path): a tokenizer with tokens up to \(tokens - 1), and \(network) knows \(vocabulary) of them; "
                + "give the tokenizer that belongs to the weights (data.text.tokenizer, --tokenizer)"
        case .moreRanksThanSamples(let ranks, let samples):
            return "\(ranks) ranks but only \(samples) samples; start at most \(samples) ranks"
        case .invalidBatch(let batch):
            return "batch: \(batch) is not possible; give a positive number of samples"
        case .damagedShard(let reason):
            return "samples sent by the coordinator are damaged (\(reason))"
        case .sampleNotHeld(let index):
            return "sample \(index) was not sent to this rank"
        case .noTokenizer(let path):
            return "\(path): no tokenizer found; expected tokenizer.json, or vocab.txt, or vocab.json with merges.txt"
        case .unsupportedTokenizer(let path, let key, let value, let rule):
            return "\(path): \(key): \(value) is not supported; \(rule)"
        case .cannotTruncate(let length, let reason):
            return "maximum length: \(length) tokens are not possible; \(reason)"
        }
    }

    private static let skipping = "leave such files out: data.broken-files=skip, graft pack --skip-broken"

    /// What the system has just said about `path`.
    static func unreadable(_ path: String) -> DatasetError {
        .unreadable(path: path, reason: String(cString: strerror(errno)))
    }

    private func text(_ shape: [Int]) -> String { shape.map(String.init).joined(separator: "×") }
}
