import Foundation
import Tensors

extension StoredTensor {
    /// The tensor as what it was before it was widened to float32, where every value still is one of that type; else as
    /// it is.
    ///
    /// Weights that nobody changed thus leave in the type in which they came, bit by bit, and weights that were trained
    /// keep the digits that training gave them. float64 is not gone back to: what widening rounded is lost, and files
    /// that are only converted (`WeightLoader.canonical`) are never widened.
    public var narrowed: StoredTensor {
        guard elementType == .float32 else { return self }
        let narrow: (UInt32) -> UInt16?
        switch sourceElementType {
        case .bfloat16: narrow = { $0 & 0xffff == 0 ? UInt16($0 >> 16) : nil }
        case .float16: narrow = Self.half
        default: return self
        }
        var halves: [UInt16] = []
        halves.reserveCapacity(count)
        let fits = bytes.withUnsafeBytes { bytes in
            for index in 0..<count {
                guard let half = narrow(bytes.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self)) else {
                    return false
                }
                halves.append(half)
            }
            return true
        }
        guard fits else { return self }
        return StoredTensor(
            name: name, shape: shape, elementType: sourceElementType, bytes: halves.withUnsafeBytes { Data($0) },
            role: role, layout: layout)
    }

    /// The bits of a float32 as float16, nil where it is none.
    private static func half(_ bits: UInt32) -> UInt16? {
        let sign = UInt16(bits >> 16) & 0x8000
        let (exponent, fraction) = (Int(bits >> 23 & 0xff), bits & 0x7f_ffff)
        switch exponent - 127 {
        case -127:
            return fraction == 0 ? sign : nil
        case 128:  // Infinity, or not a number.
            return fraction & 0x1fff == 0 ? sign | 0x7c00 | UInt16(fraction >> 13) : nil
        case -14...15:
            return fraction & 0x1fff == 0 ? sign | UInt16(exponent - 112) << 10 | UInt16(fraction >> 13) : nil
        case -24 ..< -14:  // Too small for the exponents of float16: fewer digits.
            let shift = UInt32(-1 - (exponent - 127))
            let digits = fraction | 0x80_0000
            return digits & (1 << shift - 1) == 0 ? sign | UInt16(digits >> shift) : nil
        default:
            return nil
        }
    }
}
