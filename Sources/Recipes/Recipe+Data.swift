import Archives
import Datasets
import Foundation
import Models
import Training

extension Recipe.Data {
    /// The training images, selected and relabelled: of data that comes in parts, the training part.
    ///
    /// - Throws: `DatasetError` or `ArchiveError` naming the path, file or class.
    public func openTraining() throws -> any Dataset {
        try train.open("train", split: trainSplit, classes: classes.isEmpty ? nil : classes)
    }

    /// The validation images; nil where the recipe has none. Of data that comes in parts, the test part, or
    /// the training part where the recipe takes what training leaves of the same path.
    ///
    /// - Parameter classNames: the classes of the training images, so that labels mean the same.
    /// - Throws: `DatasetError` or `ArchiveError` naming the path, file or class; `RecipeError.conflict` where training
    ///   takes all images of the same part.
    public func openValidation(classNames: [String]? = nil) throws -> (any Dataset)? {
        guard let validation else { return nil }
        let isRest = validation.path == train.path && validation.selects && train.selects
        let split = validation.split ?? (isRest ? trainSplit : .test)
        if !train.selects {
            let sources = try [train.source(split: trainSplit), validation.source(split: split)]
            guard sources[0] != sources[1] else {
                throw RecipeError.conflict(
                    place: "recipe", key: "data.validation", value: validation.path,
                    problem: "data.train takes all images of \(sources[0])",
                    remedy: "give another path or split, or let data.train select, such as with first-per-class")
            }
        }
        return try validation.open(
            "validation", split: split, classes: classNames ?? (classes.isEmpty ? nil : classes))
    }

    private var trainSplit: DatasetSplit { train.split ?? .train }

    /// Opens training and validation images under the labels of a network.
    ///
    /// - Parameters:
    ///   - classNames: what the network's outputs stand for.
    ///   - weights: what to call the network's weights in errors.
    public func open(
        classNames: [String], weights: String
    ) throws -> (training: any Dataset, validation: (any Dataset)?) {
        let training = try openTraining()
        let validation = try openValidation(classNames: training.classNames)
        func relabelled(_ images: any Dataset) throws -> any Dataset {
            try images.relabelled(for: classNames, outputs: classNames.count, weights: weights)
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
    func open(_ key: String, split: DatasetSplit, classes: [String]?) throws -> any Dataset {
        let all = try openImageDataset(at: path, split: split)
        return try all.selecting(
            selection(classes: classes == all.classNames ? nil : classes), keys: "data.\(key).")
    }

    /// The file or folder that is opened, spelled in one way.
    func source(split: DatasetSplit) throws -> String {
        URL(fileURLWithPath: try imageSource(at: path, split: split)).standardizedFileURL.path
    }
}

extension Recipe.Model {
    /// The architecture's name with its width (`mobilenet_v1_0.25`); nil where the weight file is to say.
    public var architectureName: String? {
        guard let architecture, let width else { return architecture }
        return Architecture.name(architecture, width: width)
    }
}
