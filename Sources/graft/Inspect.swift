import Archives
import ArgumentParser
import Foundation
import Models
import Training

/// `graft inspect`: what is inside a weight file, a checkpoint or an HDF5 file.
struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what a weight file, a checkpoint or a data file holds.",
        discussion: """
            Tensors with shape, type and digest, metadata, and which network the names and
            shapes are of:

              graft inspect mobilenet_v1.h5
              graft inspect runs/a/checkpoints/best.h5 --json

            Graft HDF5 carries digests of every tensor and of the whole file; a file whose
            bytes are no longer those that were written is shown as far as possible, and
            the exit code is 3.
            """)

    @Argument(help: "The file.", completion: .file())
    var file: String

    @Flag(help: "Print JSON instead of text.")
    var json = false

    /// Which network the tensors are of.
    private struct Recognised: Encodable {
        var architecture: String
        var variant: String
        var classes: Int
        /// Paths in the network that the file has nothing for.
        var missing: [String] = []
        /// Tensors of the file that the network has no place for.
        var unexpected: [String] = []
        var wrongShape: [String] = []
        var isComplete: Bool { missing.isEmpty && unexpected.isEmpty && wrongShape.isEmpty }
    }

    /// A known network that has a place for many of the tensors.
    private struct Resembled: Encodable {
        let architecture: String
        let fitting: Int
        let count: Int
    }

    private struct Answer: Encodable {
        let inspection: Inspection
        let recognised: Recognised?
        /// The nearest known network, where none is recognised.
        let resembles: Resembled?
        let progress: RunProgress?

        private enum Keys: CodingKey { case recognised, resembles, progress }

        /// The keys of the inspection, and those found out here.
        func encode(to encoder: Encoder) throws {
            try inspection.encode(to: encoder)
            var container = encoder.container(keyedBy: Keys.self)
            try container.encodeIfPresent(recognised, forKey: .recognised)
            try container.encodeIfPresent(resembles, forKey: .resembles)
            try container.encodeIfPresent(progress, forKey: .progress)
        }
    }

    func run() throws {
        let inspection = try Inspection.inspect(file)
        let recognised = recognise(inspection)
        let answer = Answer(
            inspection: inspection, recognised: recognised,
            resembles: recognised == nil ? resemblance(inspection) : nil, progress: progress(inspection))
        json ? try Output.json(answer) : printText(answer)
        if inspection.digest == .invalid { throw ArchiveError.digestMismatch(path: file, name: nil) }
        for tensor in inspection.tensors where tensor.digest == .invalid {
            throw ArchiveError.digestMismatch(path: file, name: tensor.name)
        }
    }

    // MARK: Finding out

    private func recognise(_ inspection: Inspection) -> Recognised? {
        guard let weights = inspection.weights,
            let architecture = try? WeightLoader.architecture(of: weights, path: file)
        else { return nil }
        var found = Recognised(
            architecture: architecture.name, variant: architecture.variant, classes: architecture.classes)
        do {
            _ = try WeightLoader.match(weights, path: file)
        } catch LoadError.mismatch(_, _, let missing, let unexpected, let misshapen, _) {
            found.missing = missing
            found.unexpected = unexpected
            found.wrongShape = misshapen.map {
                "\($0.path) is \(Output.shape($0.actual)), expected \(Output.shape($0.expected))"
            }
        } catch {
            return nil
        }
        return found
    }

    private func resemblance(_ inspection: Inspection) -> Resembled? {
        guard let weights = inspection.weights, let found = WeightLoader.resemblance(of: weights) else { return nil }
        return Resembled(architecture: found.architecture.name, fitting: found.fitting, count: found.count)
    }

    /// Where the run stood that wrote a checkpoint.
    private func progress(_ inspection: Inspection) -> RunProgress? {
        inspection.texts["progress/state"].flatMap {
            try? JSONDecoder().decode(RunProgress.self, from: Data($0.utf8))
        }
    }

    // MARK: Text

    private func printText(_ answer: Answer) {
        let inspection = answer.inspection
        let digest = inspection.digest == .absent ? "no digests" : "digest \(inspection.digest.rawValue)"
        print("\(file): \(inspection.format.title), \(Output.grouped(inspection.fileSize)) bytes, \(digest)")
        var facts: [[String]] = []
        if let recognised = answer.recognised { facts.append(["architecture", words(recognised)]) }
        if let nearest = answer.resembles {
            facts.append([
                "architecture",
                "none that Graft knows; nearest is \(nearest.architecture): \(nearest.fitting) of its \(nearest.count) tensors "
                    + "are there (--architecture of other commands says what is missing)",
            ])
        }
        facts += metadata(inspection.metadata)
        if let progress = answer.progress { facts.append(["checkpoint", words(progress)]) }
        facts.append([
            "tensors", "\(inspection.tensors.count) with \(Output.grouped(inspection.valueCount)) values",
        ])
        for line in Output.table(facts) { print(line) }
        if let recognised = answer.recognised { printGaps(recognised) }
        let rows = inspection.tensors.map { tensor in
            [
                tensor.name, Output.shape(tensor.shape), type(tensor),
                tensor.section ?? (inspection.format == .hdf5 ? "" : tensor.role.rawValue),
                tensor.digest == .absent ? "" : tensor.digest.rawValue,
            ]
        }
        for line in Output.table(rows) { print("  " + line.trimmingCharacters(in: .whitespaces)) }
        for (name, text) in inspection.texts.sorted(by: { $0.key < $1.key }) {
            print("\(name):")
            for line in text.split(separator: "\n", omittingEmptySubsequences: false) { print("  " + line) }
        }
    }

    private func metadata(_ metadata: WeightMetadata) -> [[String]] {
        var facts: [[String]] = []
        if let preprocessing = metadata.preprocessing {
            facts.append(["preprocessing", words(preprocessing)])
        }
        if let names = metadata.classNames {
            let shown = names.prefix(20).joined(separator: ", ")
            facts.append(["classes", "\(names.count): \(shown)\(names.count > 20 ? ", …" : "")"])
        }
        if let provenance = metadata.provenance { facts.append(["provenance", provenance]) }
        if let license = metadata.license { facts.append(["licence", license]) }
        return facts
            + metadata.notes.sorted { $0.key < $1.key }.map { key, value in
                ["note", "\(key): \(Self.line(value))"]
            }
    }

    /// The beginning of a text, on one line.
    private static func line(_ text: String) -> String {
        let short = text.prefix(100)
        return short.split(whereSeparator: \.isNewline).joined(separator: " ")
            + (short.endIndex < text.endIndex ? "…" : "")
    }

    private func words(_ recognised: Recognised) -> String {
        "\(recognised.architecture) (\(recognised.variant)), \(recognised.classes) classes, "
            + (recognised.isComplete ? "complete" : "incomplete")
    }

    private func words(_ progress: RunProgress) -> String {
        var text = "phase \(progress.phase + 1), step \(progress.step) of it, step \(progress.totalSteps) of the run"
        if let best = progress.best {
            text += ", best top-1 \(Output.percent(best.top1)) at step \(progress.bestStep)"
        }
        return text
    }

    private func words(_ preprocessing: Preprocessing) -> String {
        let resize = preprocessing.resize.map { "shorter side to \($0), centre " } ?? ""
        return "\(resize)\(preprocessing.inputSize)×\(preprocessing.inputSize), "
            + "\(preprocessing.interpolation.rawValue), \(preprocessing.channelOrder.rawValue), "
            + "mean \(preprocessing.mean), standard deviation \(preprocessing.standardDeviation)"
    }

    private func printGaps(_ recognised: Recognised) {
        for path in recognised.missing { print("  missing: \(path)") }
        for name in recognised.unexpected { print("  unexpected: \(name)") }
        for text in recognised.wrongShape { print("  wrong shape: \(text)") }
    }

    private func type(_ tensor: Inspection.Tensor) -> String {
        tensor.sourceElementType == tensor.elementType
            ? tensor.elementType.rawValue : "\(tensor.elementType.rawValue) (from \(tensor.sourceElementType.rawValue))"
    }
}
