import Foundation

/// The formats Graft reads weights from.
public enum WeightFormat: String, Codable, Sendable, CaseIterable {
    case graftHDF5, kerasHDF5, pytorchZip, pytorchLegacy, safetensors

    /// The name for people.
    public var title: String {
        switch self {
        case .graftHDF5: "Graft HDF5"
        case .kerasHDF5: "Keras HDF5"
        case .pytorchZip: "PyTorch"
        case .pytorchLegacy: "PyTorch (before 1.6)"
        case .safetensors: "safetensors"
        }
    }
}

/// What a weight file holds: raw tensors under the names the file gives them.
public struct WeightFile: Equatable, Sendable {
    public var format: WeightFormat
    /// In the order of the file.
    public var tensors: [StoredTensor]
    public var metadata: WeightMetadata

    public init(format: WeightFormat, tensors: [StoredTensor], metadata: WeightMetadata = WeightMetadata()) {
        self.format = format
        self.tensors = tensors
        self.metadata = metadata
    }

    /// The tensor of that name.
    public subscript(name: String) -> StoredTensor? {
        tensors.first { $0.name == name }
    }
}
