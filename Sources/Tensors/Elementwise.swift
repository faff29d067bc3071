/// Temporary minimum: addition, multiplication. The full family follows.
extension Tensor {
    public static func + (a: Tensor, b: Tensor) -> Tensor {
        Elementwise.combine(a, b, +)
    }
}
enum Elementwise {
    static func combine(_ a: Tensor, _ b: Tensor, _ operation: (Float, Float) -> Float) -> Tensor {
        precondition(a.shape == b.shape)
        let (x, y) = (a.rowMajor, b.rowMajor)
        let result = Tensor(uninitialized: a.shape)
        for i in 0..<a.count { result.storage.floats[i] = operation(x.floats[i], y.floats[i]) }
        return result.recorded("add", from: [a, b]) { g in [g, g] }
    }
}
