import Foundation
import Layers
import Models
import Tensors

extension WeightFile {
    /// A network's parameters and buffers under their own paths, ready to be written.
    ///
    /// - Parameter metadata: architecture, variant and preprocessing are filled in where they are nil.
    public init(_ network: Network, metadata: WeightMetadata = WeightMetadata()) {
        var metadata = metadata
        metadata.architecture = metadata.architecture ?? network.architecture.name
        metadata.variant = metadata.variant ?? network.architecture.variant
        metadata.preprocessing = metadata.preprocessing ?? network.architecture.preprocessing
        let parameters = network.store.parameters.map { parameter in
            StoredTensor(
                name: parameter.path, shape: parameter.shape, scalars: parameter.value.scalars,
                role: .parameter, layout: Self.layout(parameter.shape))
        }
        let buffers = network.store.buffers.map { buffer in
            guard buffer.isCounter else {
                return StoredTensor(
                    name: buffer.path, shape: buffer.shape, scalars: buffer.value.scalars, role: .buffer)
            }
            // The largest counter is 2^63 as a Float, one more than an Int64 holds.
            let counts = buffer.value.scalars.map {
                Int64(exactly: $0.rounded(.towardZero)) ?? ($0 < 0 ? .min : .max)
            }
            return StoredTensor(
                name: buffer.path, shape: buffer.shape, elementType: .int64,
                bytes: counts.withUnsafeBytes { Data($0) }, role: .buffer)
        }
        self.init(format: .graftHDF5, tensors: parameters + buffers, metadata: metadata)
    }

    private static func layout(_ shape: [Int]) -> String? {
        switch shape.count {
        case 4: "OIHW"
        case 2: "OI"
        default: nil
        }
    }
}

extension Architecture {
    /// What the published weights of this architecture were trained on; a weight file or a recipe may
    /// say otherwise. Grey input gets the mean of the three channels' numbers.
    public var preprocessing: Preprocessing {
        let preprocessing = colourPreprocessing
        guard inputChannels == 1 else { return preprocessing }
        func mean(_ values: [Float]) -> [Float] { [values.reduce(0, +) / Float(values.count)] }
        var grey = preprocessing
        grey.mean = mean(grey.mean)
        grey.standardDeviation = mean(grey.standardDeviation)
        grey.channelOrder = .grey
        return grey
    }

    private var colourPreprocessing: Preprocessing {
        let half: [Float] = [0.5, 0.5, 0.5]
        let raw = [Float](repeating: 1 / 255, count: 3)
        switch (name.prefix(while: { $0 != "_" }), variant) {
        case ("mobilenet", "keras"):  // x / 127.5 - 1
            return Preprocessing(inputSize: inputSize, mean: half, standardDeviation: half)
        case ("resnet8", _):  // raw 0…255
            return Preprocessing(inputSize: inputSize, mean: [0, 0, 0], standardDeviation: raw)
        case (_, "keras"):  // BGR less the mean of ImageNet, in units of pixels
            return Preprocessing(
                inputSize: inputSize, mean: [103.939 / 255, 116.779 / 255, 123.68 / 255],
                standardDeviation: raw, channelOrder: .bgr)
        default:
            return Preprocessing(
                resize: inputSize == 224 ? 256 : nil, inputSize: inputSize, mean: [0.485, 0.456, 0.406],
                standardDeviation: [0.229, 0.224, 0.225])
        }
    }
}
