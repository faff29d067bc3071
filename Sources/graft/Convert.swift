import Archives
import ArgumentParser
import Foundation
import Models

/// `graft convert`: weights from one file format to another.
struct Convert: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Convert weights between file formats.",
        discussion: """
            Reads Graft HDF5, Keras HDF5, PyTorch archives (nothing in them is executed)
            and safetensors; the suffix of the output says what is written: .h5 for Graft
            HDF5, .safetensors.

              graft convert mobilenet_v1.h5 mobilenet_v1.graft.h5
              graft convert resnet20.th resnet20.safetensors
              graft convert weights.pth weights.h5 --architecture resnet50 --variant v1

            Weights of a network that Graft knows get its parameter names and layouts
            (O×I×H×W), and the file then says what it is: evaluate, predict and recipes
            need no --architecture. Every tensor is accounted for; one that is missing or
            does not fit is an error. A file without a classifier stays without. Tensors
            of networks that Graft does not know keep their names.
            """)

    @Argument(help: "The weights to read.", completion: .file())
    var input: String

    @Argument(help: "The file to write, ending in .h5 or .safetensors.", completion: .file())
    var output: String

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
        try file.write(to: output, as: format)
        if json {
            return try Output.json(
                Answer(output: output, format: format, tensors: file.tensors.count, report: report))
        }
        if let report { print(report) }
        print("\(output): \(format.title), \(file.tensors.count) tensors")
    }

    private func outputFormat() throws -> WeightFormat {
        let paths = [input, output].map { URL(fileURLWithPath: $0).resolvingSymlinksInPath().path }
        if paths[0] == paths[1] { throw CommandError.sameFile(path: output) }
        switch URL(fileURLWithPath: output).pathExtension.lowercased() {
        case "h5", "hdf5": return .graftHDF5
        case "safetensors": return .safetensors
        default: throw CommandError.unknownSuffix(path: output)
        }
    }

    /// The weights under canonical names, with what became of each; or as they are, where nobody knows them.
    private func converted() throws -> (WeightFile, LoadReport?) {
        var file = try WeightFile.read(input, widening: true)
        let name = URL(fileURLWithPath: input).lastPathComponent
        file.metadata.provenance = file.metadata.provenance ?? "converted from \(name)"
        do {
            return try canonical(file, head: .keep)
        } catch let error as LoadError where error.saysHeadIsMissing {
            let (headless, report) = try canonical(file, head: .new)
            // A classifier of which only a part is there is damaged, not absent.
            guard report.entries.allSatisfy({ $0.path != nil || $0.note != "head: new" }) else { throw error }
            Output.note("graft: \(input) has no classifier; neither has \(output)")
            return (headless, report)
        } catch LoadError.unrecognised where architecture == nil {
            Output.note("graft: \(input) is of no network that Graft knows; its tensors keep their names")
            return (file, nil)
        }
    }

    private func canonical(_ file: WeightFile, head: HeadPolicy) throws -> (WeightFile, LoadReport) {
        let (network, report) = try WeightLoader.network(
            from: file, path: input, architecture: architecture, variant: variant, head: head)
        var metadata = file.metadata
        (metadata.architecture, metadata.variant) = (network.architecture.name, network.architecture.variant)
        var result = WeightFile(network, metadata: metadata)
        if head == .new { result.tensors.removeAll { network.isHead($0.name) } }
        let stored = Dictionary(file.tensors.map { ($0.name, $0.sourceElementType) }, uniquingKeysWith: { a, _ in a })
        let sources = report.entries.compactMap { entry in
            entry.path.flatMap { path in entry.storedName.flatMap { stored[$0] }.map { (path, $0) } }
        }
        let sourceTypes = Dictionary(sources, uniquingKeysWith: { a, _ in a })
        for index in result.tensors.indices {
            if let source = sourceTypes[result.tensors[index].name] {
                result.tensors[index].sourceElementType = source
            }
        }
        return (result, report)
    }
}

extension LoadError {
    /// Whether nothing but the classifier is missing, and everything else fits.
    var saysHeadIsMissing: Bool {
        guard case .mismatch(_, _, _, _, let misshapen, onlyHead: true) = self else { return false }
        return misshapen.isEmpty
    }
}
