import Foundation
import Layers
import Models
import Tensors
import XCTest

/// What Reference/make_reference.py computed with PyTorch, in float64.
struct ReferenceNumbers: Decodable {
    struct Training: Decodable {
        let loss: Float
        /// By path: largest magnitude, sum, five entries evenly spaced.
        let gradients: [String: [Float]]
        /// By path: the first three entries after one pass.
        let statistics: [String: [Float]]
    }

    let published: [String: [Float]]
    /// By architecture, then by input size.
    let logits: [String: [String: [Float]]]
    let training: [String: [String: Training]]
    let curve: [Float]
    let counts: [String: Int]

    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Reference")

    static func read() throws -> ReferenceNumbers {
        try JSONDecoder().decode(Self.self, from: Data(contentsOf: folder.appendingPathComponent("reference.json")))
    }

    /// The photographs scaled by repeating and skipping pixels: N×3×size×size, values 0…255.
    static func photographs(size: Int) throws -> Tensor {
        let bytes = [UInt8](try Data(contentsOf: folder.appendingPathComponent("photographs.bin")))
        XCTAssertEqual(bytes.count, 5 * 100 * 100 * 3)
        return Tensor(shape: [5, 3, size, size]) { target in
            var i = 0
            for n in 0..<5 {
                for c in 0..<3 {
                    for y in 0..<size {
                        for x in 0..<size {
                            target[i] = Float(bytes[((n * 100 + y * 100 / size) * 100 + x * 100 / size) * 3 + c])
                            i += 1
                        }
                    }
                }
            }
        }
    }

    /// (pixels / 255 − mean) / deviation per channel.
    static func normalised(
        _ pixels: Tensor, mean: [Float] = [0.485, 0.456, 0.406], deviation: [Float] = [0.229, 0.224, 0.225]
    ) -> Tensor {
        let plane = pixels.shape[2] * pixels.shape[3]
        let values = pixels.scalars.enumerated().map { index, value in
            let channel = index / plane % 3
            return (value / 255 - mean[channel]) / deviation[channel]
        }
        return Tensor(values, shape: pixels.shape)
    }
}

/// Values that make_reference.py gives to a tensor of this name and shape.
enum Formula {
    static func tensor(_ name: String, _ shape: [Int]) -> Tensor {
        Tensor(shape: shape) { target in
            let hash = name.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
            let spread = (3 / Float(shape.dropFirst().reduce(1, *))).squareRoot()
            let isWeight = name.hasSuffix("weight")
            let (isVariance, isInput) = (name.hasSuffix("running_var"), name.hasPrefix("input"))
            for i in target.indices {
                var x = hash &+ UInt64(i + 1) &* 0x9E37_79B9_7F4A_7C15
                x = (x ^ (x >> 30)) &* 0xBF58_476D_1CE4_E5B9
                x = (x ^ (x >> 27)) &* 0x94D0_49BB_1331_11EB
                x ^= x >> 31
                let u = Float(x >> 40) / 0x1p24
                let signed = 2 * u - 1
                if isVariance || (isWeight && shape.count == 1) {
                    target[i] = 0.5 + u
                } else if isWeight && shape.count >= 2 {
                    target[i] = signed * spread
                } else if isInput {
                    target[i] = 2 * signed
                } else {
                    target[i] = 0.1 * signed
                }
            }
        }
    }

    static func fill(_ network: Network) {
        for parameter in network.store.parameters { parameter.value = tensor(parameter.path, parameter.shape) }
        for buffer in network.store.buffers where !buffer.isCounter {
            buffer.value = tensor(buffer.path, buffer.shape)
        }
    }
}

/// Whole arrays, relative to the largest expected magnitude.
func assertClose(
    _ actual: [Float], _ expected: [Float], tolerance: Float, _ message: @autoclosure () -> String = "",
    file: StaticString = #filePath, line: UInt = #line
) {
    guard actual.count == expected.count else {
        return XCTFail("\(message()): \(actual.count) values, expected \(expected.count)", file: file, line: line)
    }
    let largest = expected.map(abs).max() ?? 0
    var worst: (index: Int, error: Float) = (0, 0)
    for (index, (a, e)) in zip(actual, expected).enumerated() {
        let error = abs(a - e)
        if !(error <= worst.error) { worst = (index, error) }
    }
    guard !(worst.error <= tolerance * largest) else { return }
    XCTFail(
        "\(message()): value \(worst.index) is \(actual[worst.index]), expected \(expected[worst.index]); off by "
            + "\(worst.error / largest) of the largest",
        file: file, line: line)
}

/// The folder with real data: GRAFT_DATA, or ../shared/data beside the package.
func dataPath(_ path: String) throws -> String {
    let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    let folder =
        ProcessInfo.processInfo.environment["GRAFT_DATA"]
        ?? package.appendingPathComponent("../shared/data").path
    let full = folder + "/" + path
    guard FileManager.default.fileExists(atPath: full) else { throw XCTSkip("\(full) is not there") }
    return full
}
