import Archives
import Datasets
import Foundation
import Models

extension Recipe.Data {
    /// The training images, selected and relabelled.
    public func openTraining() throws -> any ImageDataset { try open(train, split: .train) }

    /// The validation images; nil where the recipe has none. Labels are those of the training data.
    public func openValidation() throws -> (any ImageDataset)? { try validation.map { try open($0, split: .test) } }

    private func open(_ source: Source, split: DatasetSplit) throws -> any ImageDataset {
        let isSameFolder = validation?.path == train.path
        return try openImageDataset(at: source.path, split: isSameFolder && format == .folder ? nil : split)
            .selecting(source.selection(classes: classes))
    }

    /// What is done to images, from what the weights were trained with and what this recipe says.
    public func preprocessing(_ weights: Preprocessing) -> Preprocessing {
        var result = weights
        if let size = image.size {
            result.inputSize = size
            // The border that the weights' evaluation cuts off belongs to their size.
            result.resize = nil
        }
        if let resize = image.resize { result.resize = resize }
        if let mean = image.mean { result.mean = mean.map { Float($0) } }
        if let deviation = image.standardDeviation { result.standardDeviation = deviation.map { Float($0) } }
        return result
    }

    /// The transform of training images: the random steps asked for, then what evaluation does.
    public func trainingTransform(_ preprocessing: Preprocessing) -> Transform {
        let size = preprocessing.inputSize
        var steps: [TransformStep] = []
        if let crop = augmentation.randomResizedCrop {
            steps.append(
                .randomResizedCrop(
                    width: size, height: size, minimumArea: crop.minimumArea, minimumAspect: crop.minimumAspect,
                    maximumAspect: crop.maximumAspect, preprocessing.interpolation))
        }
        if let padding = augmentation.cropPadding {
            if steps.isEmpty { steps.append(.resize(width: size, height: size, preprocessing.interpolation)) }
            steps.append(.randomCrop(width: size, height: size, padding: padding))
        }
        if augmentation.flip { steps.append(.randomFlip()) }
        if let jitter = augmentation.jitter {
            steps.append(
                .colorJitter(
                    ColorJitter(
                        brightness: jitter.brightness, contrast: jitter.contrast, saturation: jitter.saturation,
                        hue: jitter.hue)))
        }
        return .training(preprocessing, steps: steps)
    }
}

extension Recipe.Data.Source {
    func selection(classes: [String]) -> Selection {
        Selection(
            classes: classes.isEmpty ? nil : classes, skipFirstPerClass: skipPerClass, firstPerClass: firstPerClass,
            perClass: perClass, fraction: fraction, seed: UInt64(max(0, seed)))
    }
}

extension Recipe.Model {
    /// The architecture's name with its width (`mobilenet_v1_0.25`); nil where the weight file is to say.
    public var architectureName: String? {
        guard let architecture, let width else { return architecture }
        return Architecture.name(architecture, width: width)
    }
}
