import Foundation
import Tensors

/// A named array as a file holds it.
public struct StoredTensor: Equatable, Sendable {
    /// What a network does with it.
    public enum Role: String, Codable, Sendable {
        /// Learned by gradient.
        case parameter
        /// Kept up by the layer itself: running statistics and their counters.
        case buffer
    }

    /// The name in the file, unchanged (`conv1/kernel:0`, `module.layer1.0.conv1.weight`).
    public var name: String
    /// Sizes, outermost first; empty for a scalar.
    public var shape: [Int]
    /// What `bytes` hold.
    public var elementType: ElementType
    /// The values, little endian and row-major. `bytes.startIndex` is 0.
    public var bytes: Data
    /// What the values were before any widening.
    public var sourceElementType: ElementType
    public var role: Role
    /// The order of the dimensions where known, such as `OIHW` or `HWIO`.
    public var layout: String?

    /// How many values there are.
    public var count: Int { shape.reduce(1, *) }

    /// - Precondition: `bytes` are as many as the shape asks for.
    public init(
        name: String, shape: [Int], elementType: ElementType, bytes: Data,
        sourceElementType: ElementType? = nil,
        role: Role = .parameter, layout: String? = nil
    ) {
        precondition(
            bytes.count == shape.reduce(1, *) * elementType.byteCount,
            "StoredTensor \(name): \(bytes.count) bytes for \(elementType) of shape \(shape)")
        self.init(
            listed: name, shape: shape, elementType: elementType, bytes: bytes,
            sourceElementType: sourceElementType ?? elementType, role: role, layout: layout)
    }

    /// A tensor that may come without its bytes: what a listing of a file gives.
    init(
        listed name: String, shape: [Int], elementType: ElementType, bytes: Data,
        sourceElementType: ElementType,
        role: Role, layout: String?
    ) {
        self.name = name
        self.shape = shape
        self.elementType = elementType
        self.bytes = bytes.startIndex == 0 ? bytes : Data(bytes)
        self.sourceElementType = sourceElementType
        self.role = role
        self.layout = layout
    }

    /// A float32 array.
    ///
    /// - Precondition: `scalars` are as many as the shape asks for.
    public init(
        name: String, shape: [Int], scalars: [Float], sourceElementType: ElementType = .float32,
        role: Role = .parameter, layout: String? = nil
    ) {
        self.init(
            name: name, shape: shape, elementType: .float32, bytes: scalars.withUnsafeBytes { Data($0) },
            sourceElementType: sourceElementType, role: role, layout: layout)
    }

    /// The number of values of a shape; nil where a size is negative or the product of those that are not 0 does not
    /// fit: what follows may multiply any of them.
    static func count(of shape: [Int]) -> Int? {
        var count = 1
        for size in shape where size != 0 {
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            guard size > 0, !overflow else { return nil }
            count = product
        }
        return shape.contains(0) ? 0 : count
    }
}

extension StoredTensor {
    /// The values as `Float`, row-major: exact for float32, float16, bfloat16 and small integers, rounded
    /// for float64 and large ones.
    public var scalars: [Float] {
        [Float](unsafeUninitializedCapacity: count) { target, filled in
            widen(into: target)
            filled = count
        }
    }

    /// Puts the values, as `scalars` gives them, into memory for that many.
    func widen(into target: UnsafeMutableBufferPointer<Float>) {
        bytes.withUnsafeBytes { bytes in
            guard let source = bytes.baseAddress, let first = target.baseAddress else { return }
            elementType.widen(source, into: first, count: count)
        }
    }

    /// Whether no value is NaN or infinite, as float32.
    public var isFinite: Bool {
        switch elementType {
        case .float32: lacksExponent(0x7f80_0000 as UInt32)
        case .float16: lacksExponent(0x7c00 as UInt16)
        case .bfloat16: lacksExponent(0x7f80 as UInt16)
        case .float64:
            bytes.withUnsafeBytes { bytes in
                (0..<count).allSatisfy {
                    Float(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Double.self)).isFinite
                }
            }
        case .int64, .int32, .int8, .uint8, .bool: true
        }
    }

    /// Whether no value has all bits of the exponent set, as what is not a number has.
    private func lacksExponent<Bits: FixedWidthInteger>(_ exponent: Bits) -> Bool {
        bytes.withUnsafeBytes { bytes in
            // One branch at the end, not one per value.
            var worst: Bits = 0
            for i in 0..<count {
                let bits = bytes.loadUnaligned(fromByteOffset: i * MemoryLayout<Bits>.size, as: Bits.self)
                worst = max(worst, bits & exponent)
            }
            return worst != exponent
        }
    }

    /// The values as `Int64`; floating-point values are cut off towards zero, and 0 where they are not finite.
    public var integers: [Int64] {
        switch elementType {
        case .int64: return values(Int64.self) { $0 }
        case .int32: return values(Int32.self) { Int64($0) }
        default: return scalars.map { Int64(exactly: $0.rounded(.towardZero)) ?? 0 }
        }
    }

    /// The same values as float32; `sourceElementType` stays.
    public var widened: StoredTensor {
        guard elementType != .float32 else { return self }
        return StoredTensor(
            name: name, shape: shape, scalars: scalars, sourceElementType: sourceElementType, role: role,
            layout: layout)
    }

    /// The same tensor under another name.
    public func renamed(_ name: String) -> StoredTensor {
        var copy = self
        copy.name = name
        return copy
    }

    private func values<Value, Result>(_ type: Value.Type, _ convert: (Value) -> Result) -> [Result] {
        bytes.withUnsafeBytes { bytes in
            (0..<count).map {
                convert(bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Value>.stride, as: Value.self))
            }
        }
    }
}

extension StoredTensor.Role {
    /// What the name says where the format does not: running statistics of batch norm, in PyTorch's words
    /// and in Keras's, are buffers.
    static func expected(for name: String) -> StoredTensor.Role {
        let endings = [
            "running_mean", "running_var", "num_batches_tracked", "moving_mean", "moving_variance",
            "moving_mean:0", "moving_variance:0",
        ]
        let last = name.split { $0 == "." || $0 == "/" }.last.map(String.init) ?? name
        return endings.contains(last) ? .buffer : .parameter
    }
}
