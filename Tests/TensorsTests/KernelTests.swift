import Tensors
import XCTest

/// Loops in C against plain Swift.
final class KernelTests: XCTestCase {
    /// Every mask element is where the generator says, from any offset and of any length.
    func testDropoutIsThePlainGenerators() {
        let key = RandomKey(seed: 5, purpose: .dropout, path: "layer")
        let generator = PhiloxGenerator(key: key)
        for (offset, count, rate) in [(0, 200, Float(0.1)), (3, 61, 0.5), (64, 64, 0.9), (127, 2500, 0.25)] {
            let x = randomTensor([count], seed: 1)
            let expected = x.scalars.enumerated().map { i, value in
                generator.uniform(at: UInt64(offset + i)) < rate ? 0 : value * (1 / (1 - rate))
            }
            XCTAssertEqual(dropout(x, rate: rate, key: key, offset: offset).scalars, expected)
        }
    }

    func testMatrixProductsOfBothLibraries() {
        let present = GEMM.usesOneDNN
        defer { GEMM.usesOneDNN = present }
        for (m, n, k) in [(1, 1, 1), (5, 7, 3), (33, 17, 65), (4, 3, 0)] {
            for (transposeA, transposeB) in [(false, false), (true, false), (false, true), (true, true)] {
                let a = randomTensor(transposeA ? [k, m] : [m, k], seed: 2)
                let b = randomTensor(transposeB ? [n, k] : [k, n], seed: 3)
                let (x, y) = (a.scalars.map(Double.init), b.scalars.map(Double.init))
                let expected = (0..<m * n).map { place in
                    let (i, j) = (place / n, place % n)
                    return (0..<k).reduce(0.0) {
                        $0 + x[transposeA ? $1 * m + i : i * k + $1] * y[transposeB ? j * k + $1 : $1 * n + j]
                    }
                }
                for usesOneDNN in [false, present] {
                    GEMM.usesOneDNN = usesOneDNN
                    let product = matmul(a, b, transposeA: transposeA, transposeB: transposeB)
                    assertClose(product.scalars.map(Double.init), expected, 1e-6)
                }
            }
        }
    }

    func testColumnSums() {
        let x = randomTensor([300, 37], seed: 4)
        let values = x.scalars.map(Double.init)
        let expected = (0..<37).map { column in (0..<300).reduce(0.0) { $0 + values[$1 * 37 + column] } }
        assertClose(x.sum(axes: [0]).scalars.map(Double.init), expected, 1e-6)
    }

    func testExponentialsOverTheWholeRange() {
        let line = Tensor((0..<4001).map { Float($0) * 0.05 - 100 }, shape: [1, 4001])
        let (largest, values) = (Double(line.scalars[4000]), line.scalars.map(Double.init))
        let sum = values.reduce(0) { $0 + Foundation.exp($1 - largest) }
        for (found, x) in zip(softmax(line).scalars, values) {
            let expected = Foundation.exp(x - largest) / sum
            XCTAssertEqual(Double(found), expected, accuracy: 3e-7 * expected + 1e-37)
        }
        XCTAssertTrue(softmax(Tensor([0, .nan, 1], shape: [1, 3])).scalars.allSatisfy(\.isNaN))
    }

    // MARK: Casts

    private func bits(_ values: [UInt16], _ type: ElementType) -> [UInt32] {
        var result = [Float](repeating: 0, count: values.count)
        values.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress else { return }
            type.widen(start, into: &result, count: values.count)
        }
        return result.map(\.bitPattern)
    }

    func testEveryHalfIsWidenedExactly() {
        let all = (0...UInt16.max).map { $0 }
        for (half, found) in zip(all, bits(all, .float16)) {
            let expected = Float(Float16(bitPattern: half))
            if expected.isNaN {
                XCTAssertTrue(Float(bitPattern: found).isNaN)
            } else {
                XCTAssertEqual(found, expected.bitPattern)
            }
        }
        XCTAssertEqual(bits(all, .bfloat16), all.map { UInt32($0) << 16 })
    }

    func testNarrowingRoundsToTheNearest() {
        let words = (0..<200_000).map { PhiloxGenerator(key: RandomKey(seed: 6, purpose: .test)).word(at: UInt64($0)) }
        let special: [Float] = [
            0, -0, .infinity, -.infinity, 65_504, 65_519.9, 65_520, 6e-8, 2.98e-8, 2.99e-8, 6.1e-5, 1 + 0x1p-11,
        ]
        let values = (words.map { Float(bitPattern: $0) } + special).filter { !$0.isNaN }
        let halves = Tensor(values, shape: [values.count]).converted(to: .float16).converted(to: .float32).scalars
        for (value, found) in zip(values, halves) {
            XCTAssertEqual(found.bitPattern, Float(Float16(value)).bitPattern, "\(value)")
        }
        let brains = Tensor(values, shape: [values.count]).converted(to: .bfloat16).converted(to: .float32).scalars
        for (value, found) in zip(values, brains) {
            // To the nearest of the two neighbours, and to the one with an even last bit in the middle.
            let low = Float(bitPattern: value.bitPattern & 0xFFFF_0000)
            let (rest, odd) = (value.bitPattern & 0xFFFF, value.bitPattern >> 16 & 1)
            let up = rest > 0x8000 || rest == 0x8000 && odd == 1
            let expected = up ? Float(bitPattern: low.bitPattern &+ 0x1_0000) : low
            XCTAssertEqual(found.bitPattern, expected.bitPattern, "\(value)")
        }
        let nan = Tensor([.nan], shape: [1])
        for type in [ElementType.float16, .bfloat16] {
            XCTAssertTrue(nan.converted(to: type).converted(to: .float32).scalars[0].isNaN)
        }
    }

    func testOtherTypesAndUnalignedMemory() {
        let bytes: [UInt8] = [9] + [1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]
        var result: [Float] = [0, 0]
        bytes.withUnsafeBytes { buffer in
            guard let start = buffer.baseAddress else { return }
            ElementType.int32.widen(start + 1, into: &result, count: 2)
        }
        XCTAssertEqual(result, [1, -1])
        bytes.withUnsafeBytes { buffer in
            guard let start = buffer.baseAddress else { return }
            ElementType.int8.widen(start + 4, into: &result, count: 2)
        }
        XCTAssertEqual(result, [0, -1])
    }
}
