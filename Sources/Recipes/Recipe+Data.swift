import Archives
import Datasets
import Foundation
import Models
import Training

extension Recipe.Data {
    /// What samples are, which follows from the network.
    public enum Kind: Sendable {
        case images
        /// Texts with labels.
        case texts
        /// Texts whose words have labels.
        case taggedWords
        /// Questions about passages, which are cut into windows of the input's length.
        case questions(TextInput)
        /// Running text, in blocks of the input's length.
        case runningText(TextInput)
    }

    /// The training samples, selected and relabelled: of data that comes in parts, the training part.
    ///
    /// - Throws: `DatasetError` or `ArchiveError` naming the path, file or class.
    public func openTraining(_ kind: Kind = .images) throws -> any Dataset {
        let classes = classes.isEmpty ? nil : classes
        guard case .runningText(let input) = kind else {
            return try train.open("train", kind, text, split: trainSplit, classes: classes)
        }
        return try RunningText(
            at: textSource(at: train.path, split: trainSplit), part: 0..<(1 - (text.heldOut ?? 0)), input,
            offsets: text.offsets
        ).selecting(train.selection(classes: classes), keys: "data.train.")
    }

    /// The validation samples; nil where the recipe has none. Of data that comes in parts, the test part, or
    /// the training part where the recipe takes what training leaves of the same path; of running text in order, each
    /// token once.
    ///
    /// - Parameter classNames: the classes of the training samples, so that labels mean the same.
    /// - Throws: `DatasetError` or `ArchiveError` naming the path, file or class; `RecipeError.conflict` where training
    ///   takes all samples of the same part.
    public func openValidation(_ kind: Kind = .images, classNames: [String]? = nil) throws -> (any Dataset)? {
        if case .runningText(let input) = kind, let heldOut = text.heldOut {
            return try RunningText(
                at: textSource(at: train.path, split: trainSplit), part: (1 - heldOut)..<1, input,
                offsets: .sequential)
        }
        guard let validation else { return nil }
        let isRest = validation.path == train.path && validation.selects && train.selects
        let split = validation.split ?? (isRest ? trainSplit : .test)
        if !train.selects {
            let sources = try [train.source(kind, split: trainSplit), validation.source(kind, split: split)]
            guard sources[0] != sources[1] else {
                throw RecipeError.conflict(
                    place: "recipe", key: "data.validation", value: validation.path,
                    problem: "data.train takes all \(kind.noun) of \(sources[0])",
                    remedy: "give another path or split, or let data.train select, such as with first-per-class")
            }
        }
        let classes = classes.isEmpty ? nil : classes
        switch kind {
        case .images:
            return try validation.open("validation", kind, text, split: split, classes: classNames ?? classes)
        case .questions:
            return try validation.open("validation", kind, text, split: split, classes: nil)
        case .texts, .taggedWords:
            // A few texts need not be of all classes.
            let texts = try validation.open("validation", kind, text, split: split, classes: classes)
            return try classNames.map {
                try texts.relabelled(for: $0, outputs: $0.count, weights: "data.train")
            } ?? texts
        case .runningText(let input):
            return try RunningText(
                at: textSource(at: validation.path, split: split), input, offsets: .sequential
            ).selecting(validation.selection(), keys: "data.validation.")
        }
    }

    private var trainSplit: DatasetSplit { train.split ?? .train }

    /// Opens training and validation samples under the labels of a network.
    ///
    /// - Parameters:
    ///   - classNames: what the network's outputs stand for.
    ///   - weights: what to call the network's weights in errors.
    public func open(
        _ kind: Kind = .images, classNames: [String], weights: String
    ) throws -> (training: any Dataset, validation: (any Dataset)?) {
        let training = try openTraining(kind)
        let validation = try openValidation(kind, classNames: training.classNames)
        func relabelled(_ samples: any Dataset) throws -> any Dataset {
            try samples.relabelled(for: classNames, outputs: classNames.count, weights: weights)
        }
        return (try relabelled(training), try validation.map(relabelled))
    }

    /// What the images are turned into: what the weights were trained on, with the recipe's overrides.
    ///
    /// Where only the size is given, the part that the centre crop keeps stays the same.
    ///
    /// - Parameter weights: as `WeightFile.read` gives it, or an architecture.
    /// - Throws: `RecipeError.conflict` where an override does not go together with what the weights say.
    public func preprocessing(_ weights: Preprocessing) throws -> Preprocessing {
        func conflict(_ key: String, _ value: Any, _ problem: String, _ remedy: String) -> RecipeError {
            .conflict(place: "recipe", key: "data.image.\(key)", value: "\(value)", problem: problem, remedy: remedy)
        }
        var result = weights
        if let size = image.size {
            result.inputSize = size
            result.resize = weights.resize.map { ($0 * size + weights.inputSize / 2) / weights.inputSize }
        }
        if let resize = image.resize {
            guard resize >= result.inputSize else {
                throw conflict(
                    "resize", resize, "the crop of the weights is \(result.inputSize)",
                    "resize to at least that, or give data.image.size")
            }
            result.resize = resize
        }
        func perChannel(_ key: String, _ values: [Double]) throws -> [Float] {
            guard values.count == 1 || values.count == weights.channels else {
                throw conflict(key, values, "the weights take grey images", "give one number")
            }
            return (0..<weights.channels).map { Float(values[values.count == 1 ? 0 : $0]) }
        }
        if let mean = image.mean { result.mean = try perChannel("mean", mean) }
        if let deviation = image.standardDeviation {
            result.standardDeviation = try perChannel("standard-deviation", deviation)
        }
        return result
    }

    /// What happens to a training image.
    ///
    /// - Parameter preprocessing: from `preprocessing(_:)`.
    public func trainingTransform(_ preprocessing: Preprocessing) -> Transform {
        let size = preprocessing.inputSize
        var transform = Transform.evaluation(preprocessing)
        if let crop = augmentation.randomResizedCrop {
            transform.steps = [
                .randomResizedCrop(
                    width: size, height: size, minimumArea: crop.minimumArea, minimumAspect: crop.minimumAspect,
                    maximumAspect: crop.maximumAspect, preprocessing.interpolation)
            ]
        }
        if let padding = augmentation.cropPadding {
            transform.steps.append(.randomCrop(width: size, height: size, padding: padding))
        }
        if augmentation.flip { transform.steps.append(.randomFlip()) }
        if let jitter = augmentation.jitter {
            transform.steps.append(
                .colorJitter(
                    ColorJitter(
                        brightness: jitter.brightness, contrast: jitter.contrast, saturation: jitter.saturation,
                        hue: jitter.hue)))
        }
        return transform
    }
}

extension Recipe.Data.Source {
    /// The selection that these settings ask for.
    public func selection(classes: [String]? = nil) -> Selection {
        Selection(
            classes: classes, skipFirstPerClass: skipPerClass, firstPerClass: firstPerClass, perClass: perClass,
            fraction: fraction, seed: UInt64(seed))
    }

    /// - Parameter key: `train` or `validation`, for messages.
    func open(
        _ key: String, _ kind: Recipe.Data.Kind, _ text: Recipe.Data.Text, split: DatasetSplit, classes: [String]?
    ) throws -> any Dataset {
        let all: any Dataset
        switch kind {
        case .images: all = try openImageDataset(at: path, split: split)
        case .questions(let input):
            return try AnsweredQuestions(
                at: textSource(at: path, split: split), input, selection: selection(classes: classes),
                keys: "data.\(key).")
        case .taggedWords: all = try TaggedSentences(at: textSource(at: path, split: split))
        case .texts, .runningText:
            all = try LabelledTexts(at: textSource(at: path, split: split), columns: text.columns)
            if key == "train", all.classNames.count == 1 {
                throw DatasetError.oneClassOnly(path: all.source, className: all.classNames[0])
            }
        }
        return try all.selecting(
            selection(classes: classes == all.classNames ? nil : classes), keys: "data.\(key).")
    }

    /// The file or folder that is opened, spelled in one way.
    func source(_ kind: Recipe.Data.Kind, split: DatasetSplit) throws -> String {
        let path: String
        if case .images = kind {
            path = try imageSource(at: self.path, split: split)
        } else {
            path = try textSource(at: self.path, split: split)
        }
        return URL(fileURLWithPath: path).standardizedFileURL.path
    }
}

extension Recipe.Data.Kind {
    fileprivate var noun: String {
        if case .images = self { "images" } else { "texts" }
    }
}

extension Recipe.Model {
    /// The architecture's name with its width (`mobilenet_v1_0.25`); nil where the weight file is to say.
    public var architectureName: String? {
        guard let architecture, let width else { return architecture }
        return Architecture.name(architecture, width: width)
    }
}
