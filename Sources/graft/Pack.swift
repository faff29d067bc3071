import ArgumentParser
import Datasets
import Foundation

/// `graft pack`: a folder of images as one HDF5 file.
struct Pack: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pack labelled images into one HDF5 file.",
        discussion: """
            Decodes every image once and brings it to one size, so that training reads one
            file instead of thousands and decodes nothing:

              graft pack photos/train train.h5 --size 128
              graft pack photos train.h5 --split train --size 256 --keep-proportions

            The file holds /images (uint8, N×C×H×W) and /labels (int32, N), and the class
            names; h5py and h5dump read it. Networks are then given these pixels: pack at
            the size that training resizes to, or larger where training crops.
            """)

    @Argument(help: "A folder of class folders, or any other data set that train reads.", completion: .directory)
    var folder: String

    @Argument(help: "The HDF5 file to write.", completion: .file(extensions: ["h5"]))
    var output: String

    @Option(help: ArgumentHelp("Height and width of the packed images.", valueName: "pixels"))
    var size: Int

    @Option(help: "Which part, where the folder holds both: train or test.")
    var split: DatasetSplit?

    @Option(help: "How pixels between pixels are computed: nearest, bilinear or bicubic.")
    var interpolation: Interpolation = .bilinear

    @Flag(help: "Resize the shorter side and cut out the middle, instead of stretching.")
    var keepProportions = false

    @Flag(help: "Pack one channel instead of three.")
    var grey = false

    @Flag(help: "Leave out files that are no images, instead of stopping at the first.")
    var skipBroken = false

    @Flag(help: "Print JSON instead of text.")
    var json = false

    private struct Answer: Encodable {
        let output: String
        let samples: Int
        let shape: [Int]
        let classNames: [String]
        let skipped: [String]
    }

    func run() throws {
        let dataset = try openImageDataset(at: folder, split: split)
        let options = PackOptions(
            width: size, height: size, channels: grey ? 1 : 3, keepsProportions: keepProportions,
            interpolation: interpolation, brokenFiles: skipBroken ? .skip : .fail)
        let summary = try packImages(dataset, to: output, options)
        for message in summary.skipped { Output.note("graft: left out \(message)") }
        let shape = [summary.samples, options.channels, size, size]
        if json {
            return try Output.json(
                Answer(
                    output: output, samples: summary.samples, shape: shape, classNames: summary.classNames,
                    skipped: summary.skipped))
        }
        print(
            "\(output): \(Output.grouped(summary.samples)) images \(Output.shape(shape)) "
                + "of \(summary.classNames.count) classes")
    }
}

extension Interpolation: ExpressibleByArgument {}
