import Crypto
import Foundation

extension WeightFile {
    /// SHA-256, in hexadecimal, over names, shapes, element types and bytes of all tensors in the file's order:
    /// metadata does not enter, another order or other names do.
    public var digest: String {
        var hash = SHA256()
        for tensor in tensors {
            hash.update(data: Data("\(tensor.name) \(tensor.shape) \(tensor.elementType.rawValue)\n".utf8))
            hash.update(data: tensor.bytes)
        }
        return hash.finalize().map { String(format: "%02x", $0) }.joined()
    }
}
