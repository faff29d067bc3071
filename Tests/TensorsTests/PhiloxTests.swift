import Tensors
import XCTest

final class PhiloxTests: XCTestCase {
    /// The known answers that come with the paper's own code.
    func testKnownAnswers() {
        XCTAssertEqual(
            Philox.block(counter: .zero, key: .zero), SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
        XCTAssertEqual(
            Philox.block(counter: SIMD4(repeating: .max), key: SIMD2(repeating: .max)),
            SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
        XCTAssertEqual(
            Philox.block(
                counter: SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344),
                key: SIMD2(0xa409_3822, 0x299f_31d0)),
            SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    }

    func testRandomAccess() {
        let key = RandomKey(seed: 7, purpose: .test, path: "a.b", epoch: 1, position: 2)
        var generator = PhiloxGenerator(key: key)
        let first = (0..<10).map { _ in generator.next() }
        var late = PhiloxGenerator(key: key, startingAt: 6)
        XCTAssertEqual(late.next(), first[3])
        XCTAssertEqual(first[2], UInt64(generator.word(at: 4)) | UInt64(generator.word(at: 5)) << 32)
        let filled = Tensor.uniform([11], in: 0..<1, key: key).scalars
        XCTAssertEqual(filled, (0..<11).map { generator.uniform(at: $0) })
    }

    func testEveryPartOfAKeyCounts() {
        let key = RandomKey(seed: 7, purpose: .test, path: "a", epoch: 1, position: 2)
        let others = [
            RandomKey(seed: 8, purpose: .test, path: "a", epoch: 1, position: 2),
            RandomKey(seed: 7, purpose: .dropout, path: "a", epoch: 1, position: 2),
            RandomKey(seed: 7, purpose: .test, path: "b", epoch: 1, position: 2),
            RandomKey(seed: 7, purpose: .test, path: "a", epoch: 2, position: 1),
            RandomKey(seed: 7, purpose: .test, path: "a", epoch: 1, position: 3),
            key,
        ]
        XCTAssertEqual(Set(others.map { PhiloxGenerator(key: $0).word(at: 0) }).count, 6)
    }

    /// The same numbers on every machine and for ever (an independent program in Python made these): changing
    /// them changes everybody's results.
    func testNumbersStayTheSame() {
        var generator = PhiloxGenerator(key: RandomKey(seed: 1, purpose: .initialization, path: "fc.weight"))
        XCTAssertEqual(
            (0..<3).map { _ in generator.next() },
            [0xf33c_1408_0ad1_4bc2, 0xe226_dc47_59c9_3528, 0x4254_d50e_935b_199c])
    }

    func testDistributions() {
        let key = RandomKey(seed: 3, purpose: .test)
        let uniform = Tensor.uniform([100_000], in: -1..<3, key: key)
        XCTAssertTrue(uniform.scalars.allSatisfy { $0 >= -1 && $0 < 3 })
        XCTAssertEqual(uniform.mean().scalar, 1, accuracy: 0.02)
        XCTAssertEqual(uniform.variance().scalar, 16.0 / 12, accuracy: 0.02)
        let normal = Tensor.normal([100_001], mean: 2, standardDeviation: 3, key: key)
        XCTAssertEqual(normal.mean().scalar, 2, accuracy: 0.05)
        XCTAssertEqual(normal.variance().scalar, 9, accuracy: 0.15)
        let beyond = normal.scalars.filter { abs($0 - 2) > 6 }.count
        XCTAssertEqual(Double(beyond) / 100_001, 0.0455, accuracy: 0.003)
    }
}
