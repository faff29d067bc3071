import Foundation
import Layers
import Models
import Tensors

extension WeightFile {
    /// A network's parameters and buffers under their own paths, ready to be written.
    ///
    /// - Parameter metadata: architecture, variant, sizes, rates and preprocessing are filled in where they are nil.
    public init(_ network: Network, metadata: WeightMetadata = WeightMetadata()) {
        let metadata = metadata.filled(for: network.architecture)
        let parameters = network.store.parameters.map { parameter in
            StoredTensor(
                name: parameter.path, parameter.value, role: .parameter, layout: Self.layout(parameter.shape))
        }
        let buffers = network.store.buffers.map { buffer in
            guard buffer.isCounter else {
                return StoredTensor(name: buffer.path, buffer.value, role: .buffer)
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

extension StoredTensor {
    /// The values of a float32 tensor, copied once.
    fileprivate init(name: String, _ values: Tensor, role: Role, layout: String? = nil) {
        self.init(
            name: name, shape: values.shape, elementType: .float32, bytes: values.withScalars { Data(buffer: $0) },
            role: role, layout: layout)
    }
}

extension WeightMetadata {
    /// With what an architecture says where it is nil.
    func filled(for known: Architecture) -> WeightMetadata {
        var metadata = self
        metadata.architecture = architecture ?? known.name
        metadata.variant = variant ?? known.variant
        metadata.sizes = sizes ?? (known.sizes.isEmpty ? nil : known.sizes)
        metadata.dropout = dropout ?? known.dropout
        metadata.rates = rates ?? (known.rates.isEmpty ? nil : known.rates)
        metadata.preprocessing = preprocessing ?? known.preprocessing
        return metadata
    }
}

extension WeightFile {
    /// What is done to a picture before a network with these weights sees it: what the file says, else what the published
    /// weights of the architecture were trained with.
    ///
    /// - Throws: `ModelError.takesTokens` for a network over text.
    public func preprocessing(for architecture: Architecture) throws -> Preprocessing {
        try metadata.preprocessing ?? architecture.imagePreprocessing
    }
}
