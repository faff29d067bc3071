/// What a storage holds. Operations compute in `float32`; `int32` carries indices, labels and tokens.
/// The others exist for files, decoded images and, later, narrower arithmetic.
public enum ElementType: String, Codable, Sendable, CaseIterable {
    case float32, int32, uint8, int8, bfloat16, float16, int64, float64, bool

    /// Bytes per element.
    public var byteCount: Int {
        switch self {
        case .uint8, .int8, .bool: 1
        case .bfloat16, .float16: 2
        case .float32, .int32: 4
        case .int64, .float64: 8
        }
    }
}
