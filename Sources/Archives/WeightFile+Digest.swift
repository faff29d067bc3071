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
        return hash.finalize().hexadecimal
    }
}

extension Sequence<UInt8> {
    /// Two digits per byte, as digests are written.
    package var hexadecimal: String {
        let digits = Array("0123456789abcdef")
        return String(flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}
