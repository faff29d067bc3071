import Crypto
import Datasets
import Foundation
import XCTest

/// Where reference data, real data and scratch space are.
enum Locations {
    static let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    static let reference = tests.appendingPathComponent("Reference")

    /// Real data: GRAFT_DATA, or ../shared/data beside the package.
    static let data: URL = {
        if let path = ProcessInfo.processInfo.environment["GRAFT_DATA"] { return URL(fileURLWithPath: path) }
        let package = tests.deletingLastPathComponent().deletingLastPathComponent()
        return package.deletingLastPathComponent().appendingPathComponent("shared/data")
    }()

    static func real(_ name: String) throws -> URL {
        let url = data.appendingPathComponent(name)
        guard FileManager.default.fileExists(atPath: url.path) else {
            throw XCTSkip("real data '\(name)' is not there; set GRAFT_DATA to its folder")
        }
        return url
    }

    static func json<T: Decodable>(_ name: String, as type: T.Type) throws -> T {
        try JSONDecoder().decode(type, from: Data(contentsOf: reference.appendingPathComponent(name)))
    }
}

func bytes(_ url: URL) throws -> [UInt8] { [UInt8](try Data(contentsOf: url)) }

func digest(_ bytes: [UInt8]) -> String {
    SHA256.hash(data: bytes).map { String(format: "%02x", $0) }.joined()
}

/// A fresh folder, removed when the test ends.
func scratchFolder(_ test: XCTestCase) throws -> URL {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    test.addTeardownBlock { try? FileManager.default.removeItem(at: url) }
    return url
}

/// The picture that make_reference.py computes by the same formula.
func picture(_ width: Int, _ height: Int, channels: Int = 3) -> DecodedImage {
    var pixels: [UInt8] = []
    for y in 0..<height {
        for x in 0..<width {
            for c in 0..<channels {
                let waves = x * (7 + 2 * c) + y * (11 - 3 * c) + (x * y * (c + 1)) / 5
                pixels.append(UInt8((waves + 90 * ((x / 9 + y / 6) % 2)) % 256))
            }
        }
    }
    return DecodedImage(width: width, height: height, channels: channels, pixels: pixels)
}

/// SplitMix64: a stand-in generator with a state.
struct TestGenerator: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// What messages about broken files say of leaving them out.
let skipping = "leave such files out: data.broken-files=skip, graft pack --skip-broken"

/// The error's text, or a failure where nothing or something else is thrown.
func message<T>(
    _ body: @autoclosure () throws -> T, file: StaticString = #filePath, line: UInt = #line
) -> String {
    do {
        _ = try body()
        XCTFail("nothing was thrown", file: file, line: line)
    } catch let error as DatasetError {
        return error.description
    } catch {
        XCTFail("unexpected error \(error)", file: file, line: line)
    }
    return ""
}
