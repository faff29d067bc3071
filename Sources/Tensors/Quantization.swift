import COneDNN

/// How values are stored in 8 bits: q = round(x / step), within 0…255 or, signed, −128…127.
public struct Quantization: Hashable, Sendable {
    /// What one unit stands for; positive.
    public let step: Float
    public let isSigned: Bool

    public init(step: Float, isSigned: Bool) {
        self.step = step
        self.isSigned = isSigned
    }

    var elementType: ElementType { isSigned ? .int8 : .uint8 }

    /// The step under which values lose least, measured by the square of what rounding and clipping take away; larger
    /// values than the step allows for are clipped.
    ///
    /// - Parameter values: a sample of what will be stored, signed where any of it is negative.
    public init(leastLossFor values: [Float]) {
        let largest = values.reduce(0) { max($0, abs($1)) }
        let signed = values.contains { $0 < 0 }
        isSigned = signed
        let levels: Float = signed ? 127 : 255
        guard largest > 0 else {
            step = 1
            return
        }
        func loss(_ step: Float) -> Double {
            values.reduce(0.0) { sum, x in
                let stored = min(max((x / step).rounded(.toNearestOrEven), signed ? -128 : 0), levels) * step
                return sum + Double((x - stored) * (x - stored))
            }
        }
        let candidates = stride(from: Float(1), through: 0.3, by: -0.05).map { largest * $0 / levels }
        let losses = candidates.map(loss)
        let best = losses.indices.min { losses[$0] < losses[$1] } ?? 0
        step = candidates[best]
    }
}

/// 8-bit arithmetic.
public enum EightBit {
    /// Whether the processor multiplies 8-bit integers exactly and fast: AVX-512 VNNI. Without it oneDNN's sums saturate.
    public static var isSupported: Bool {
        let wanted = dnnl_cpu_isa_avx512_core_vnni.rawValue
        return dnnl_get_effective_cpu_isa().rawValue & wanted == wanted
    }
}

extension Tensor {
    /// How this tensor is stored in 8 bits; nil for float32.
    public var quantization: Quantization? {
        storage.quantizationStep.map { Quantization(step: $0, isSigned: elementType == .int8) }
    }

    /// The same N×C×H×W values in 8 bits, channels last, off the tape.
    public func quantized(_ quantization: Quantization) -> Tensor {
        guard self.quantization != quantization else { return self }
        let values = dequantized
        let wanted = OpaqueLayout.channelsLast(shape, quantization.elementType)
        let stored = Storage(byteCount: wanted.byteCount, elementType: quantization.elementType)
        stored.quantizationStep = quantization.step
        OneDNN.reorder(values.storage, values.opaqueLayout, to: stored, wanted, scale: 1 / quantization.step)
        return Tensor(shape: shape, storage: stored, layout: wanted.layout(of: shape))
    }

    /// The same values as float32; itself if it already is.
    public var dequantized: Tensor {
        guard let quantization else { return self }
        let wanted = OpaqueLayout.channelsLast(shape, .float32)
        let values = Storage(byteCount: wanted.byteCount)
        OneDNN.reorder(storage, opaqueLayout, to: values, wanted, scale: quantization.step)
        return Tensor(shape: shape, storage: values, layout: wanted.layout(of: shape))
    }
}

extension OpaqueLayout {
    /// N×H×W×C in memory.
    static func channelsLast(_ shape: [Int], _ type: ElementType) -> OpaqueLayout {
        let (c, h, w) = (shape[1], shape[2], shape[3])
        return OpaqueLayout(OneDNN.descriptor(shape, strides: [c * h * w, 1, w * c, c], type))
    }
}
