import Archives
import ArgumentParser
import Cluster
import Datasets
import Foundation
import Models
import Recipes
import Tensors

/// `graft bench io`: how fast files become batches.
struct BenchIO: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "io",
        abstract: "Time reading, decoding, resizing and augmenting of images.",
        discussion: """
            Loads batches as a training run does, with nothing that takes them: in random
            order, round and round, decoded, brought to size, normalised and stacked. A
            training step must take longer than this, or it waits for data.

              graft bench io --data photos/train --threads 1 --json
              graft bench io --data photos/train --augment --jitter --size 128

            Without --augment, as for evaluation: the short side to 8/7 of the size, then
            the middle. With it, a random resized crop and a flip; with --jitter the
            colours change too (brightness, contrast and saturation by 0.4, hue by 0.1).

            images_per_second_per_thread is what one core prepares. The seconds of read,
            decode, resize, augment and normalize are those of the loading threads; reading
            is from memory where the system has the files there already.
            """)

    @Option(help: "The images: a folder of class folders, IDX or HDF5.")
    var data: String

    @Option(help: "Which part, where the folder holds several: train or test.")
    var split: DatasetSplit?

    @Option(help: ArgumentHelp("Height and width of what comes out.", valueName: "pixels"))
    var size = 224

    @Flag(help: "Random resized crop and flip, as in training.")
    var augment = false

    @Flag(help: "Random colours too; needs --augment.")
    var jitter = false

    @Option(help: "Images per batch.")
    var batch = 32

    @Option(help: "Threads that load (default: one per core).")
    var threads: Int?

    @Option(help: "How long to load.")
    var seconds: Double = 5

    @Option(help: "How many images to load, however long it takes.")
    var images: Int?

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func validate() throws {
        // The short side is brought to 8/7 of the size first.
        let numbers = [
            ("--size", size, Preprocessing.longestSide * 7 / 8), ("--batch", batch, 100_000),
            ("--threads", threads ?? 1, 1_024), ("--images", images ?? 1, 1_000_000_000),
        ]
        for (name, number, most) in numbers where !(1...most).contains(number) {
            throw ValidationError("\(name) \(number) is not possible; give 1 to \(most)")
        }
        guard seconds > 0, seconds.isFinite else {
            throw ValidationError("--seconds \(seconds) is not possible; give a number above 0")
        }
        if jitter, !augment { throw ValidationError("--jitter is not possible alone; give --augment too") }
    }

    private struct Answer: Encodable {
        let data: String
        let size: Int
        let augment: Bool
        let jitter: Bool
        let batch: Int
        let threads: Int
        let images: Int
        let seconds: Double
        let imagesPerSecond: Double
        let imagesPerSecondPerThread: Double
        /// Of the whole process while it loaded; less than threads × seconds where others use the cores.
        let cpuSeconds: Double
        /// Summed over threads and images.
        let loadingSeconds: LoadingSeconds
    }

    func run() throws {
        let threads = threads ?? ThreadPlan.current().threads
        let dataset = try openImageDataset(at: data, split: split)
        let transform = try transform()
        try transform.validate()
        let loader = BatchLoader(dataset: dataset, transform: transform)
        // Files into memory, code into caches: as far as a run would have them after its first steps.
        _ = try loader.load(BatchRequest(epoch: 0, step: 0, indices: Array(0..<min(2 * batch, dataset.count))))
        let sampler = Sampler(count: dataset.count, shuffles: true)
        let requests = (0..<Int.max).lazy.flatMap { sampler.requests(epoch: $0, batch: batch) }
        let begin = DispatchTime.now().uptimeNanoseconds
        let processor = clock()
        let prefetcher = Prefetcher(loader, requests: requests, threads: threads)
        defer { prefetcher.cancel() }
        var (count, elapsed, loading) = (0, 0.0, LoadingSeconds())
        while images.map({ count < $0 }) ?? (elapsed < seconds), let loaded = try prefetcher.next() {
            count += loaded.count
            loading.add(loaded.loading)
            elapsed = Double(DispatchTime.now().uptimeNanoseconds - begin) * 1e-9
        }
        let rate = Double(count) / elapsed
        try report(
            Answer(
                data: dataset.source, size: size, augment: augment, jitter: jitter, batch: batch, threads: threads,
                images: count, seconds: elapsed, imagesPerSecond: rate,
                imagesPerSecondPerThread: rate / Double(threads),
                cpuSeconds: Double(clock() - processor) / Double(CLOCKS_PER_SEC), loadingSeconds: loading))
    }

    /// The transform of a recipe with these settings, and the published mean and deviation of ImageNet.
    private func transform() throws -> Transform {
        var recipe = Recipe.Data(train: .init(path: data))
        if augment {
            recipe.augmentation.randomResizedCrop = .init()
            recipe.augmentation.flip = true
        }
        if jitter {
            var colors = Recipe.Data.Jitter()
            (colors.brightness, colors.contrast, colors.saturation, colors.hue) = (0.4, 0.4, 0.4, 0.1)
            recipe.augmentation.jitter = colors
        }
        return recipe.trainingTransform(
            Preprocessing(
                resize: (size * 8 + 3) / 7, inputSize: size, mean: [0.485, 0.456, 0.406],
                standardDeviation: [0.229, 0.224, 0.225]))
    }

    private func report(_ answer: Answer) throws {
        if json { return try Output.json(answer) }
        let loading = answer.loadingSeconds
        let kind = augment ? (jitter ? "crop, flip, colours" : "crop, flip") : "resize, centre crop"
        print("\(answer.data): \(kind), \(size)×\(size), \(answer.threads) threads, \(answer.images) images")
        print(
            String(
                format: "images per second  %.0f, %.0f per thread", answer.imagesPerSecond,
                answer.imagesPerSecondPerThread))
        let stages = [
            ("read", loading.read), ("decode", loading.decode), ("resize", loading.resize),
            ("augment", loading.augment), ("normalize", loading.normalize),
        ]
        var rows = [["one image", "time", "share"]]
        for (name, seconds) in stages {
            rows.append([
                name, String(format: "%.3f ms", seconds / Double(max(answer.images, 1)) * 1e3),
                String(format: "%.0f %%", 100 * seconds / max(loading.total, 1e-9)),
            ])
        }
        for line in Output.table(rows) { print(line) }
    }
}
