import Collectives

/// What can be wrong with a weight file, a checkpoint or an HDF5 data set. Every case names the file;
/// the process exits with 3.
public enum ArchiveError: GraftError, Codable, Equatable {
    /// There is no such file, or it cannot be read.
    case unreadable(path: String, reason: String)
    /// A folder where a file is meant.
    case isDirectory(path: String)
    /// A file of no bytes.
    case empty(path: String)
    /// The content begins like none of the formats that Graft reads.
    case notRecognised(path: String)
    /// The content is truncated, contradicts itself or goes out of bounds.
    case damaged(path: String, format: String, reason: String)
    /// A whole-file or per-tensor digest that is not that of the bytes; `name` is nil for the whole file.
    case digestMismatch(path: String, name: String?)
    /// A pickle that asks for something other than tensors and plain values.
    case refusedPickle(path: String, name: String)
    /// A model of Keras with a layer that is code; `kind` is what it is (`a Lambda`).
    case refusedLayer(path: String, layer: String, kind: String)
    /// Something the format allows and Graft does not read.
    case unsupported(path: String, feature: String)
    /// The file holds no tensors.
    case noTensors(path: String)
    /// An object that should be in an HDF5 file and is not.
    case missing(path: String, name: String)
    /// A tensor or data set of another shape, size or type than asked for.
    case mismatch(path: String, name: String, expected: String, actual: String)
    /// A call into the HDF5 library failed.
    case hdf5Failed(call: String, path: String, reason: String)
    /// Writing a file failed; nothing was left behind and an older file of that name is untouched.
    case writeFailed(path: String, call: String, reason: String)

    public var exitCode: ExitCode { .data }
}

extension ArchiveError {
    /// The message as it is printed.
    public var description: String {
        switch self {
        case .unreadable(let path, let reason):
            return "\(path): cannot be read: \(reason)"
        case .isDirectory(let path):
            return "\(path): is a folder; name a weight file"
        case .empty(let path):
            return "\(path): is empty"
        case .notRecognised(let path):
            return "\(path): is neither HDF5 (Graft or Keras), nor a PyTorch archive, nor safetensors"
        case .damaged(let path, let format, let reason):
            return "\(path): damaged \(format) file: \(reason)"
        case .digestMismatch(let path, nil):
            return
                "\(path): damaged Graft HDF5 file: its SHA-256 is not the one written in its first 512 bytes"
        case .digestMismatch(let path, let name?):
            return "\(path): damaged Graft HDF5 file: the SHA-256 of \(name) is not the one written beside it"
        case .refusedPickle(let path, let name):
            return "\(path): refused: the pickle asks for \(name), which is not a tensor or a plain value; "
                + "save the state_dict alone"
        case .refusedLayer(let path, let layer, let kind):
            return "\(path): refused: the layer \(layer) is \(kind), which is code that only Python can run; "
                + "save the weights alone (model.save_weights)"
        case .unsupported(let path, let feature):
            return "\(path): \(feature) is not supported"
        case .noTensors(let path):
            return "\(path): holds no tensors"
        case .missing(let path, let name):
            return "\(path): has no \(name)"
        case .mismatch(let path, let name, let expected, let actual):
            return "\(path): \(name) is \(actual), expected \(expected)"
        case .hdf5Failed(let call, let path, let reason):
            return "\(path): \(call) failed\(reason.isEmpty ? "" : ": \(reason)")"
        case .writeFailed(let path, let call, let reason):
            return "\(path): cannot be written: \(call): \(reason); nothing was left behind"
        }
    }
}
