import Archives
import ArgumentParser
import Foundation
import Models
import Tensors

/// `graft convert`: weights from one file format to another.
struct Convert: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Convert weights between file formats.",
        discussion: """
            Reads Graft HDF5, Keras's HDF5 and .keras, PyTorch archives (nothing in them is
            executed), safetensors and Hugging Face folders. The suffix of the output says
            what is written: .h5 for Graft HDF5, .weights.h5 for Keras 3, .safetensors; a
            folder that is there or a slash at the end for Hugging Face. --format says it
            otherwise.

              graft convert mobilenet_v1.h5 mobilenet_v1.graft.h5
              graft convert resnet20.th resnet20.safetensors
              graft convert weights.pth weights.h5 --architecture resnet50 --variant v1
              graft convert runs/a/weights.h5 mine.h5 --format keras

            Weights of a network that Graft knows get its parameter names and layouts
            (O×I×H×W), or Keras's, and Graft's file then says what it is: evaluate, predict
            and recipes need no --architecture. Every tensor is accounted for; one that is
            missing or does not fit is an error. Values and element types stay what they
            are, bit by bit. A file without a classifier stays without. Tensors of networks
            that Graft does not know keep their names.
            """)

    /// What is written, in the words of the command line.
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case graft, safetensors, huggingface, keras, keras3

        var format: WeightFormat {
            switch self {
            case .graft: .graftHDF5
            case .safetensors: .safetensors
            case .huggingface: .huggingFace
            case .keras: .kerasHDF5
            case .keras3: .kerasWeights
            }
        }
    }

    @Argument(help: "The weights to read: a file, or a Hugging Face folder.", completion: .file())
    var input: String

    @Argument(help: "The file or folder to write.", completion: .file())
    var output: String

    @Option(help: "What to write, where the suffix does not say it.")
    var format: Format?

    @Option(help: "What the weights are of, where neither the file nor its names and shapes tell.")
    var architecture: String?

    @Option(help: "The variant of the architecture, such as v1 or keras.")
    var variant: String?

    @Flag(help: "Print the report as JSON.")
    var json = false

    private struct Answer: Encodable {
        let output: String
        let format: WeightFormat
        let tensors: Int
        let report: LoadReport?
    }

    func run() throws {
        let format = try outputFormat()
        let (file, report) = try converted()
        let (count, metadata) = (file.tensors.count, file.metadata)
        if format == .huggingFace {
            try file.writeHuggingFace(to: output, tokenizerFolder: inputFolder)
        } else {
            try (consume file).write(to: output, as: format)
        }
        if format == .kerasHDF5 || format == .kerasWeights { noteLostPreprocessing(metadata) }
        if json {
            return try Output.json(Answer(output: output, format: format, tensors: count, report: report))
        }
        if let report { print(report) }
        print("\(output): \(format.title), \(count) tensors")
    }

    /// Keras's files hold arrays alone, and whoever reads them takes them for the network of Keras.
    private func noteLostPreprocessing(_ metadata: WeightMetadata) {
        guard let name = metadata.architecture, let preprocessing = metadata.preprocessing,
            let own = try? Architecture(named: name, variant: "keras").preprocessing, preprocessing != own
        else { return }
        Output.note(
            "graft: \(output) does not say how images are prepared for these weights, and not as for Keras's \(name): "
                + "mean \(preprocessing.mean), standard deviation \(preprocessing.standardDeviation), "
                + "\(preprocessing.channelOrder.rawValue)")
    }

    private func outputFormat() throws -> WeightFormat {
        let paths = [input, output].map { URL(fileURLWithPath: $0).resolvingSymlinksInPath().path }
        if paths[0] == paths[1] { throw CommandError.sameFile(path: output) }
        if let format { return format.format }
        if output.hasSuffix("/") || isFolder(output) { return .huggingFace }
        if output.lowercased().hasSuffix(".weights.h5") { return .kerasWeights }
        switch URL(fileURLWithPath: output).pathExtension.lowercased() {
        case "h5", "hdf5": return .graftHDF5
        case "safetensors": return .safetensors
        default: throw CommandError.unknownSuffix(path: output)
        }
    }

    /// The folder that the weights come from with what belongs to them, if they do.
    private var inputFolder: String? {
        if isFolder(input) { return input }
        return input.hasSuffix(".json") ? URL(fileURLWithPath: input).deletingLastPathComponent().path : nil
    }

    private func isFolder(_ path: String) -> Bool {
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
    }

    /// The weights under canonical names, with what became of each; or as they are, where nobody knows them.
    private func converted() throws -> (WeightFile, LoadReport?) {
        var file = try WeightFile.read(input)
        let name = URL(fileURLWithPath: input).lastPathComponent
        file.metadata.provenance = file.metadata.provenance ?? "converted from \(name)"
        do {
            let report = try makeCanonical(&file, head: .keep)
            return (file, report)
        } catch let error as LoadError where error.saysHeadIsMissing {
            let report = try makeCanonical(&file, head: .new)
            // A classifier of which only a part is there is damaged, not absent.
            guard report.entries.allSatisfy({ $0.path != nil || $0.note != "head: new" }) else { throw error }
            Output.note("graft: \(input) has no classifier; neither has \(output)")
            return (file, report)
        } catch LoadError.unrecognised where architecture == nil {
            Output.note("graft: \(input) is of no network that Graft knows; its tensors keep their names")
            return (file, nil)
        }
    }

    private func makeCanonical(_ file: inout WeightFile, head: HeadPolicy) throws -> LoadReport {
        try WeightLoader.makeCanonical(&file, path: input, architecture: architecture, variant: variant, head: head)
    }
}

extension LoadError {
    /// Whether nothing but the classifier is missing, and everything else fits.
    var saysHeadIsMissing: Bool {
        guard case .mismatch(_, _, _, _, let misshapen, onlyHead: true) = self else { return false }
        return misshapen.isEmpty
    }
}
