import Foundation
import Layers
import Models
import Tensors
import XCTest

/// What Reference/make_reference.py computed with PyTorch, in float64.
struct ReferenceNumbers: Decodable {
    struct Training: Decodable {
        /// What the formula calls the images.
        let input: String
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

/// Values that the scripts in Reference give to a tensor of this name and shape.
enum Formula {
    static func tensor(_ name: String, _ shape: [Int]) -> Tensor {
        let spread = (3 / Float(shape.dropFirst().reduce(1, *))).squareRoot()
        let isWeight = name.hasSuffix("weight")
        if name.hasSuffix("running_var") || (isWeight && shape.count == 1) { return positive(name, shape) }
        if isWeight && shape.count >= 2 { return around0(name, shape, spread) }
        return around0(name, shape, name.hasPrefix("input") ? 2 : 0.1)
    }

    /// Two images of a size, or such that repeat a smaller tile.
    static func images(_ name: String, size: Int, tile: Int? = nil) -> Tensor {
        guard let tile, tile < size else { return tensor(name, [2, 3, size, size]) }
        let small = tensor(name, [2, 3, tile, tile]).scalars
        return Tensor(shape: [2, 3, size, size]) { target in
            for i in target.indices {
                let (plane, y, x) = (i / (size * size), i / size % size, i % size)
                target[i] = small[(plane * tile + y % tile) * tile + x % tile]
            }
        }
    }

    /// 0.5 ..< 1.5
    private static func positive(_ name: String, _ shape: [Int]) -> Tensor {
        uniform(name, shape) { 0.5 + $0 }
    }

    /// -largest ..< largest
    private static func around0(_ name: String, _ shape: [Int], _ largest: Float) -> Tensor {
        uniform(name, shape) { (2 * $0 - 1) * largest }
    }

    /// splitmix64 of (FNV-1a of the name) + index, upper 24 bits as 0 ..< 1.
    @inline(__always)
    private static func uniform(_ name: String, _ shape: [Int], _ value: (Float) -> Float) -> Tensor {
        Tensor(shape: shape) { target in
            let hash = name.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
            for i in target.indices {
                var x = hash &+ UInt64(i + 1) &* 0x9E37_79B9_7F4A_7C15
                x = (x ^ (x >> 30)) &* 0xBF58_476D_1CE4_E5B9
                x = (x ^ (x >> 27)) &* 0x94D0_49BB_1331_11EB
                x ^= x >> 31
                target[i] = value(Float(x >> 40) / 0x1p24)
            }
        }
    }

    /// An array of a Keras layer, in Keras's layout.
    static func keras(_ variable: String, of layer: String, _ shape: [Int]) -> Tensor {
        let name = "\(layer)/\(variable)"
        switch variable {
        case "gamma", "moving_variance": return positive(name, shape)
        case "kernel", "depthwise_kernel":
            let fan = variable == "kernel" ? shape.dropLast().reduce(1, *) : shape[0] * shape[1]
            return around0(name, shape, (3 / Float(fan)).squareRoot())
        default: return around0(name, shape, 0.1)
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
