import Archives
import ArgumentParser
import Cluster
import Datasets
import Foundation
import Layers
import Models
import Recipes
import Tensors
import Training

/// `graft predict`: what a network says about images or texts.
struct Predict: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what images show, and what texts are, name or answer.",
        discussion: """
            The most probable classes of each input, with the preprocessing, the tokenizer
            and the class names that the weights bring with them:

              graft predict --weights runs/a/weights.h5 photo.jpg other.png
              graft predict --weights w.h5 photo.jpg --top 1 --json
              graft predict --weights w.h5 batch.h5:/images --logits logits.h5
              graft predict --weights runs/sst2/weights.h5 "a film to remember"
              graft predict --weights runs/sst2/weights.h5 --file reviews.txt --json
              graft predict --weights runs/squad/weights.h5 --context page.txt "Who?"
              graft predict --weights distilbert-base-uncased "Paris is a [MASK]."

            FILE.h5:/NAME is a float32 HDF5 data set N×C×H×W that is normalised already; it
            goes into the network as it is. --logits writes what comes out, N×classes in
            the order of the inputs, as the data set /logits of an HDF5 file. A tab
            divides the two texts of a pair. Of a network that tags words, the answer is
            the entities that a text names. One that answers questions looks in the text of
            --context, or in the second text of each pair. A masked language model says
            what stands at each [MASK]. A language model goes on with a text: see graft
            generate.
            """)

    @OptionGroup var weightOptions: WeightOptions

    @Argument(help: "JPEG or PNG files, or FILE.h5:/NAME; or texts.", completion: .file())
    var inputs: [String] = []

    @Option(help: "Texts, one a line.", completion: .file())
    var file: String?

    @Option(help: "Of question answering: a text file with the passage that the answers are in.", completion: .file())
    var context: String?

    @Option(help: ArgumentHelp("How many classes to print for each input.", valueName: "count"))
    var top = 5

    @Option(help: ArgumentHelp("Write the logits to this HDF5 file.", valueName: "out.h5"))
    var logits: String?

    @Option(help: "Threads (default: one per core).")
    var threads: Int?

    @Flag(help: "Print JSON instead of text.")
    var json = false

    /// Samples per forward pass.
    private static let batch = 32

    func validate() throws {
        if inputs.isEmpty, file == nil { throw ValidationError("Missing expected argument '<inputs> ...'") }
        if top < 1 { throw ValidationError("--top \(top) is not possible; give 1 or more") }
        if let threads, threads < 1 { throw ValidationError("--threads \(threads) is not possible; give 1 or more") }
    }

    func run() throws {
        let plan = ThreadPlan.prepareProcess(requestedThreads: threads)
        Threads.count = plan.threads
        let trained = try TrainedNetwork(weightOptions)
        guard context == nil || trained.network.architecture.output == .spans else {
            throw CommandError.cannotAnswer(
                path: trained.path, output: trained.network.architecture.output.rawValue,
                remedy: "--context is for question answering")
        }
        let isTold = ![.classes, .embedding].contains(trained.network.architecture.output)
        guard logits == nil || !isTold else {
            throw CommandError.cannotAnswer(
                path: trained.path, output: trained.network.architecture.output.rawValue,
                remedy: "--logits writes one row for each input")
        }
        switch (trained.network.architecture.output, trained.input) {
        case (.tokenClasses, _): return try TaggedAnswers(trained, inputs, file: file).print(json: json)
        case (.spans, .texts(let input)): return try printAnswers(trained, input)
        case (.maskedTokens, .texts(let input)):
            return try MaskedAnswers(trained, input, texts(), top: top).print(json: json)
        default: try requireClasses(trained)
        }
        var answers: [Answer] = []
        var rows: [Float] = []
        let context = ForwardContext.compiledInference()
        try withoutTape {
            try forEachBatch(trained) { names, fields in
                let output = try trained.network.logits(of: fields, context)
                rows += output.scalars
                guard trained.network.architecture.output == .classes else {
                    answers += names.map { Answer(input: $0, predictions: []) }
                    return
                }
                answers += zip(names, split(softmax(output).scalars, names.count)).map { name, probabilities in
                    answer(name, probabilities, trained)
                }
            }
        }
        if let logits { try write(rows, count: answers.count, to: logits, trained) }
        guard trained.network.architecture.output == .classes else { return }
        json ? try Output.json(answers) : printText(answers)
    }

    /// The inputs, and the lines of `file`.
    private func texts() throws -> [String] {
        let texts = try inputs + (file.map { try TextFile.lines($0) } ?? [])
        if let file, texts.isEmpty { throw DatasetError.noRows(path: file) }
        return texts
    }

    private func printAnswers(_ trained: TrainedNetwork, _ input: TextInput) throws {
        let passage = try context.map { try TextFile.read($0) }
        let questions = try texts().map { line -> (question: String, context: String) in
            if let passage { return (line, passage) }
            let halves = line.split(separator: "\t", maxSplits: 1).map(String.init)
            guard halves.count > 1 else {
                throw CommandError.nothingAsked(
                    input: line, remedy: "give --context FILE, or the passage behind the question and a tab")
            }
            return (halves[0], halves[1])
        }
        try QuestionAnswers(trained, input, questions).print(json: json)
    }

    private func requireClasses(_ trained: TrainedNetwork) throws {
        let output = trained.network.architecture.output
        switch output {
        case .classes: return
        case .embedding where logits != nil: return
        case .embedding:
            throw CommandError.cannotAnswer(
                path: trained.path, output: "a vector for each text", remedy: "write them with --logits FILE.h5")
        case .nextTokens:
            throw CommandError.cannotAnswer(
                path: trained.path, output: "the next token", remedy: "let it go on with graft generate")
        case .spans, .maskedTokens, .tokenClasses:
            throw CommandError.cannotAnswer(
                path: trained.path, output: output.rawValue, remedy: "predict answers for classifiers only")
        }
    }

    // MARK: Inputs

    /// Hands over all inputs as the fields of batches, with a name for each.
    private func forEachBatch(
        _ trained: TrainedNetwork, _ body: ([String], [String: Tensor]) throws -> Void
    ) throws {
        switch trained.input {
        case .texts(let input): try forEachBatch(of: input, body)
        case .images(let preprocessing):
            guard file == nil else {
                throw CommandError.cannotAnswer(
                    path: trained.path, output: "classes of images", remedy: "give image files in place of --file")
            }
            try forEachBatch(trained, preprocessing) { try body($0, ["images": $1]) }
        }
    }

    /// Texts as tokens, at most a batch at a time.
    private func forEachBatch(
        of input: TextInput, _ body: ([String], [String: Tensor]) throws -> Void
    ) throws {
        let texts = try texts()
        var cut = 0
        for start in stride(from: 0, to: texts.count, by: Self.batch) {
            let part = texts[start..<min(start + Self.batch, texts.count)]
            let sequences = try part.map { line in
                let halves = line.split(separator: "\t", maxSplits: 1, omittingEmptySubsequences: false).map(
                    String.init)
                let text = SampleText(halves.first ?? "", pair: halves.count > 1 ? halves[1] : nil)
                if try input.fullLength(text) > input.length { cut += 1 }
                return try input.sequence(text, name: "'\(line)'")
            }
            try body(Array(part), input.stack(sequences))
        }
        Self.note(cut: cut, of: texts.count, input)
    }

    /// Says that the answers are not about all of what was given.
    static func note(cut: Int, of count: Int, _ input: TextInput) {
        if cut == 0 { return }
        Output.note("graft: \(cut) of \(count) texts cut to \(input.length) tokens, special ones included")
    }

    /// Images N×C×H×W, at most a batch at a time.
    private func forEachBatch(
        _ trained: TrainedNetwork, _ preprocessing: Preprocessing, _ body: ([String], Tensor) throws -> Void
    ) throws {
        let transform = Transform.evaluation(preprocessing)
        var waiting: [(name: String, image: FloatImage)] = []
        func flush() throws {
            guard let first = waiting.first?.image else { return }
            let shape = [waiting.count, first.channels, first.height, first.width]
            try body(waiting.map(\.name), Tensor(waiting.flatMap(\.image.values), shape: shape))
            waiting = []
        }
        for input in inputs {
            if let stored = Self.dataset(in: input) {
                try flush()
                try forEachBatch(of: stored.name, in: stored.file, trained, body)
            } else {
                var unused = PhiloxGenerator(key: RandomKey(seed: 0, purpose: .augmentation))
                let file = try ImageDecoder.bytes(ofFileAt: input)
                waiting.append((input, try transform(.encoded(file), name: input, using: &unused)))
                if waiting.count == Self.batch { try flush() }
            }
        }
        try flush()
    }

    /// `FILE.h5:/NAME`, where there is no file of that whole name.
    private static func dataset(in input: String) -> (file: String, name: String)? {
        guard let colon = input.range(of: ":/", options: .backwards), colon.lowerBound > input.startIndex,
            !FileManager.default.fileExists(atPath: input)
        else { return nil }
        return (String(input[..<colon.lowerBound]), String(input[input.index(after: colon.lowerBound)...]))
    }

    private func forEachBatch(
        of name: String, in file: String, _ trained: TrainedNetwork, _ body: ([String], Tensor) throws -> Void
    ) throws {
        // The child process looks the file over first: libhdf5 does not survive every damaged one.
        try IsolatedReader.check(file)
        let images = try HDF5File(reading: file).root.dataset(String(name.drop { $0 == "/" }))
        let channels = trained.network.architecture.inputChannels
        guard images.elementType == .float32, images.shape.count == 4, images.shape[1] == channels,
            !images.shape.contains(0)
        else {
            let type = images.elementType?.rawValue ?? "text"
            throw CommandError.notImages(
                path: "\(file):\(name)", actual: "\(type) \(Output.shape(images.shape))",
                expected: "normalised images, float32 N×\(channels)×H×W")
        }
        let size = Array(images.shape.dropFirst())
        try ImageDecoder.checkSize(width: size[2], height: size[1], name: "\(file):\(name)")
        // Few large images at a time: as much memory as the largest picture may take.
        let batch = max(1, min(Self.batch, ImageDecoder.pixelLimit / (size[1] * size[2])))
        for start in stride(from: 0, to: images.shape[0], by: batch) {
            let count = min(batch, images.shape[0] - start)
            let values = try images.floats(offset: [start, 0, 0, 0], extent: [count] + size)
            try body((start..<start + count).map { "\(file):\(name)[\($0)]" }, Tensor(values, shape: [count] + size))
        }
    }

    // MARK: Answers

    private struct Answer: Encodable {
        struct Choice: Encodable {
            let name: String
            let index: Int
            let probability: Float
        }
        let input: String
        let predictions: [Choice]
    }

    private func split(_ values: [Float], _ count: Int) -> [ArraySlice<Float>] {
        let width = values.count / max(1, count)
        return (0..<count).map { values[$0 * width..<($0 + 1) * width] }
    }

    private func answer(_ input: String, _ probabilities: ArraySlice<Float>, _ trained: TrainedNetwork) -> Answer {
        let ranked = probabilities.enumerated().sorted { ($1.element, $0.offset) < ($0.element, $1.offset) }
        let choices = ranked.prefix(top).map {
            Answer.Choice(name: trained.className($0.offset), index: $0.offset, probability: $0.element)
        }
        return Answer(input: input, predictions: choices)
    }

    private func printText(_ answers: [Answer]) {
        for answer in answers {
            print(answer.input)
            let rows = answer.predictions.map { [Output.percent(Double($0.probability)), $0.name] }
            for line in Output.table(rows) { print("  " + line) }
        }
    }

    private func write(_ rows: [Float], count: Int, to path: String, _ trained: TrainedNetwork) throws {
        let shape = [count, rows.count / max(1, count)]
        try AtomicFile.replace(path) { temporary in
            let file = try HDF5File(creating: temporary)
            let dataset = try file.root.createDataset("logits", shape: shape, elementType: .float32)
            try rows.withUnsafeBytes { try dataset.write($0, as: .float32) }
            try file.close()
        }
        Output.note("graft: \(path): /logits \(Output.shape(shape))")
    }
}
