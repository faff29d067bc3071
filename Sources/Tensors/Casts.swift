import CKernels

extension ElementType {
    /// Widens values of this type to float32: exactly, or rounded to the nearest for float64 and large whole numbers.
    ///
    /// - Parameters:
    ///   - bytes: little endian, `count` values, anywhere in memory.
    package func widen(_ bytes: UnsafeRawPointer, into target: UnsafeMutablePointer<Float>, count: Int) {
        // Loops over pointers of the type itself need memory that is aligned for it.
        guard UInt(bitPattern: bytes) % UInt(byteCount) == 0 else {
            let copy = UnsafeMutableRawPointer.allocate(byteCount: max(1, count * byteCount), alignment: 64)
            defer { copy.deallocate() }
            copy.copyMemory(from: bytes, byteCount: count * byteCount)
            return widen(copy, into: target, count: count)
        }
        func each<Value>(_ type: Value.Type, _ convert: (Value) -> Float) {
            let values = bytes.assumingMemoryBound(to: type)
            for i in 0..<count { target[i] = convert(values[i]) }
        }
        switch self {
        case .float32: target.update(from: bytes.assumingMemoryBound(to: Float.self), count: count)
        case .float64: graft_widen_float64(bytes.assumingMemoryBound(to: Double.self), target, count)
        case .float16: graft_widen_float16(bytes.assumingMemoryBound(to: UInt16.self), target, count)
        case .bfloat16: graft_widen_bfloat16(bytes.assumingMemoryBound(to: UInt16.self), target, count)
        case .uint8: graft_widen_uint8(bytes.assumingMemoryBound(to: UInt8.self), target, count)
        case .int8: graft_widen_int8(bytes.assumingMemoryBound(to: Int8.self), target, count)
        case .bool: each(UInt8.self) { $0 == 0 ? 0 : 1 }
        case .int32: each(Int32.self) { Float($0) }
        case .int64: each(Int64.self) { Float($0) }
        }
    }
}

extension Tensor {
    /// The same values in another element type, off the tape: float32 to and from bfloat16 and float16 (rounded to the
    /// nearest, ties to even), and from any type to float32.
    ///
    /// - Precondition: one of the two types is float32.
    public func converted(to type: ElementType) -> Tensor {
        guard type != elementType else { return detached }
        let rows = rowMajor
        let result = Tensor(uninitialized: shape, elementType: type)
        switch (elementType, type) {
        case (_, .float32): elementType.widen(rows.storage.pointer, into: result.storage.floats, count: count)
        case (.float32, .bfloat16):
            graft_narrow_bfloat16(
                rows.storage.floats, result.storage.pointer.assumingMemoryBound(to: UInt16.self), count)
        case (.float32, .float16):
            graft_narrow_float16(
                rows.storage.floats, result.storage.pointer.assumingMemoryBound(to: UInt16.self), count)
        default: preconditionFailure("converted: \(elementType) does not become \(type)")
        }
        withExtendedLifetime(rows) {}
        return result
    }
}
