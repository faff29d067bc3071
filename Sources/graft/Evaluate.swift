import ArgumentParser
import Cluster
import Collectives
import Datasets
import Foundation
import Models
import Recipes
import Tensors
import Training

/// `graft evaluate`: accuracy and loss of weights on data.
struct Evaluate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure accuracy and loss of weights on labelled images or on texts.",
        discussion: """
            Every sample counts exactly once, at any number of ranks:

              graft evaluate --weights runs/a/weights.h5 --data photos/test
              graft evaluate --weights resnet20.th --data cifar10 --split test --json
              graft evaluate --weights w.h5 --data photos --split test --classes cat,dog
              launch/mpirun -np 2 graft evaluate --weights w.h5 --data photos.h5
              graft evaluate --weights runs/sst2/weights.h5 --data sst2/test.tsv

            The data is a folder of class folders, an IDX file (or a folder of them), or
            HDF5 as pack writes it; for a classifier of texts a table (.tsv, .csv, .jsonl)
            with a column of texts and one of labels; for tags of words CoNLL's columns;
            for question answering SQuAD's JSON; for a language model a text file.
            Preprocessing, tokenizer, columns and class names are those that the
            weights bring with them. Where they bring none, the preprocessing is that of
            the architecture's published weights, and classes are matched by position.

            top1 and top5 are the fractions of samples whose class is the first choice, or
            among the first five; loss is the mean cross-entropy. Of a language model the
            samples are tokens, and perplexity is e to the loss; of tags of words they are
            words, and F1 is that of the entities. Of question answering they are the ends
            of answers; exact match and F1 are those of the questions, as SQuAD's script
            counts them.
            """)

    @OptionGroup var weightOptions: WeightOptions

    @Option(help: "The labelled images, or the texts.", completion: .file())
    var data: String

    @Option(help: "Which part, where the data holds both: train or test.")
    var split: DatasetSplit?

    @Option(help: ArgumentHelp("Only these classes of the data.", valueName: "a,b,…"))
    var classes: String?

    @Option(help: ArgumentHelp("Only the first so many of each class, in name order.", valueName: "count"))
    var firstPerClass: Int?

    @Option(help: ArgumentHelp("Leave out the first so many of each class.", valueName: "count"))
    var skipPerClass: Int?

    @Option(help: ArgumentHelp("Of a table: the column of the texts.", valueName: "name or number"))
    var textColumn: String?

    @Option(help: ArgumentHelp("The column of second texts, where they come in pairs.", valueName: "name or number"))
    var pairColumn: String?

    @Option(help: ArgumentHelp("The column of the labels.", valueName: "name or number"))
    var labelColumn: String?

    @Option(help: "Samples per forward pass of each rank.")
    var batch = 50

    @Option(help: "Threads of each rank (default: its share of the cores).")
    var threads: Int?

    @Flag(help: "Also print the confusion matrix: a row per true class, a column per answer.")
    var confusion = false

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func validate() throws {
        if batch < 1 { throw ValidationError("--batch \(batch) is not possible; give 1 or more") }
        if let threads, threads < 1 { throw ValidationError("--threads \(threads) is not possible; give 1 or more") }
    }

    func run() throws {
        let plan = ThreadPlan.prepareProcess(requestedThreads: threads)
        Cluster.run { collectives in
            Threads.count = plan.threads
            let (trained, dataset) = try collectives.together { try open() }
            let loader = BatchLoader(dataset: dataset, input: trained.input.evaluation)
            let metrics = try evaluate(
                trained.network, on: loader, batch: batch, collectives: collectives, threads: plan.threads
            ).metrics
            if collectives.rank == 0 { try report(metrics, trained, dataset.classNames) }
            return .done
        }
    }

    private func open() throws -> (TrainedNetwork, any Dataset) {
        let trained = try TrainedNetwork(weightOptions)
        let names = classes?.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        let selection = Selection(
            classes: names, skipFirstPerClass: skipPerClass, firstPerClass: firstPerClass)
        guard trained.network.architecture.output != .embedding else {
            throw CommandError.cannotAnswer(
                path: trained.path, output: trained.network.architecture.output.rawValue,
                remedy: "evaluate measures what learns from labels")
        }
        return (trained, try trained.matching(open(trained, selection)))
    }

    private func open(_ trained: TrainedNetwork, _ selection: Selection) throws -> any Dataset {
        let all: any Dataset
        switch trained.input.kind {
        case .images: all = try openImageDataset(at: data, split: split)
        case .texts:
            let columns = TextColumns(
                text: textColumn ?? trained.columns.text, pair: pairColumn ?? trained.columns.pair,
                label: labelColumn ?? trained.columns.label)
            all = try LabelledTexts(at: textSource(at: data, split: split), columns: columns) { "--\($0)-column" }
        case .taggedWords: all = try TaggedSentences(at: textSource(at: data, split: split))
        case .questions(let input):
            let path = try textSource(at: data, split: split)
            return try AnsweredQuestions(at: path, input, selection: selection, keys: "--")
        case .runningText(let input):
            all = try RunningText(at: textSource(at: data, split: split), input, offsets: .sequential)
        }
        return try all.selecting(selection, keys: "--")
    }

    // MARK: The answer

    private struct Answer: Encodable {
        let top1: Double
        let top5: Double
        let loss: Double
        let samples: Int
        let perplexity: Double?
        let f1: Double?
        let exactMatch: Double?
        let questions: Int?
        let architecture: String
        let variant: String
        let classNames: [String]?
        let confusion: [[Int]]?
    }

    private func report(
        _ metrics: ClassificationMetrics, _ trained: TrainedNetwork, _ namesOfData: [String]
    ) throws {
        let classNames = (0..<metrics.classes).map { index in
            trained.classNames?[index] ?? (index < namesOfData.count ? namesOfData[index] : String(index))
        }
        let summary = metrics.summary
        let rows = stride(from: 0, to: metrics.confusion.count, by: max(1, metrics.classes)).map {
            Array(metrics.confusion[$0..<$0 + metrics.classes])
        }
        if json {
            return try Output.json(
                Answer(
                    top1: summary.top1, top5: summary.top5, loss: summary.loss, samples: summary.samples,
                    perplexity: summary.perplexity, f1: summary.f1, exactMatch: summary.exactMatch,
                    questions: summary.questions, architecture: trained.network.architecture.name,
                    variant: trained.network.architecture.variant, classNames: confusion ? classNames : nil,
                    confusion: confusion ? rows : nil))
        }
        print("\(trained.network.architecture) on \(data)")
        print("top-1    \(Output.percent(summary.top1))")
        print("top-5    \(Output.percent(summary.top5))")
        print(String(format: "loss     %.4f", summary.loss))
        if let exact = summary.exactMatch { print("exact    \(Output.percent(exact))") }
        if let f1 = summary.f1 { print("F1       \(Output.percent(f1))") }
        if let perplexity = summary.perplexity { print(String(format: "perplexity %.3f", perplexity)) }
        if let questions = summary.questions {
            print("questions \(Output.grouped(questions))")
        } else {
            let noun = summary.perplexity != nil ? "tokens  " : summary.f1 != nil ? "words   " : "samples "
            print("\(noun) \(Output.grouped(summary.samples))")
        }
        guard confusion else { return }
        let table = zip(classNames, rows).map { name, row in [name] + row.map(String.init) }
        print("confusion (rows: true class, columns: answers in the same order)")
        for line in Output.table(table) { print("  " + line) }
    }
}

extension DatasetSplit: ExpressibleByArgument {}

extension Collectives {
    /// What every rank does for itself and may fail at alone; where one fails, all throw its error. Collective.
    func together<Result>(_ body: () throws -> Result) throws -> Result {
        let result = Swift.Result { try body() }
        switch result {
        case .success(let value):
            try agree(nil)
            return value
        case .failure(let error):
            try agree(error)
            throw error
        }
    }
}
