import Datasets
import Foundation
import XCTest

final class ImageDecoderTests: XCTestCase {
    struct Expected: Decodable {
        let width: Int
        let height: Int
        let sha256: String
    }

    func testEveryKindOfFileDecodesToPillowsPixels() throws {
        let expected = try Locations.json("images.json", as: [String: Expected].self)
        var seen = 0
        for (name, wanted) in expected {
            let path = Locations.reference.appendingPathComponent("images/\(name)").path
            let image = try ImageDecoder.decode(fileAt: path)
            XCTAssertEqual([image.width, image.height, image.channels], [wanted.width, wanted.height, 3], name)
            XCTAssertEqual(digest(image.pixels), wanted.sha256, name)
            seen += 1
        }
        XCTAssertEqual(seen, 31)
    }

    func testPhotographsDecodeAndResizeToPillowsPixels() throws {
        let expected = try Locations.json("photographs.json", as: [String: [String]].self)
        let data = try Locations.real("flickr8k-mini").deletingLastPathComponent()
        var seen = 0
        for (name, digests) in expected {
            let image = try ImageDecoder.decode(fileAt: data.appendingPathComponent(name).path)
            XCTAssertEqual(digest(image.pixels), digests[0], name)
            XCTAssertEqual(digest(image.resized(width: 128, height: 128).pixels), digests[1], name)
            XCTAssertEqual(digest(image.resized(width: 224, height: 160, .bicubic).pixels), digests[2], name)
            seen += 1
        }
        XCTAssertEqual(seen, 139)
    }

    func testEveryGivenPhotographDecodes() throws {
        var seen = 0
        for folder in ["cifar10/train", "cifar10/test", "sign-language-digits", "flickr8k-mini/images"] {
            let root = try Locations.real(folder)
            for case let url as URL in FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil)
                ?? .init() where url.pathExtension.lowercased() == "jpg"
            {
                XCTAssertGreaterThan(try ImageDecoder.decode(fileAt: url.path).width, 0)
                seen += 1
            }
        }
        XCTAssertEqual(seen, 3600 + 1000 + 700)
    }

    func testTruncatedFilesThrowAtEveryLength() throws {
        for name in ["rgb.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png", "interlaced.png", "palette-20.png"] {
            let whole = try bytes(Locations.reference.appendingPathComponent("images/\(name)"))
            // A PNG's last chunk and its checksums carry no pixels.
            let last = name.hasSuffix("png") ? whole.count - 24 : whole.count - 2
            for length in stride(from: 0, to: last, by: 7) {
                let text = message(try ImageDecoder.decode(Array(whole.prefix(length)), name: name))
                XCTAssertTrue(text.hasPrefix(name), "\(name) cut to \(length): \(text)")
            }
        }
    }

    func testDamagedBytesNeverCrash() throws {
        var generator = TestGenerator(5)
        var (decoded, refused) = (0, 0)
        let images = Locations.reference.appendingPathComponent("images")
        for name in try FileManager.default.contentsOfDirectory(atPath: images.path).sorted() {
            let whole = try bytes(images.appendingPathComponent(name))
            for _ in 0..<150 {
                var damaged = whole
                for _ in 0..<Int.random(in: 1...4, using: &generator) {
                    damaged[Int.random(in: 0..<damaged.count, using: &generator)] = UInt8.random(
                        in: 0...255, using: &generator)
                }
                do {
                    _ = try ImageDecoder.decode(damaged, name: name)
                    decoded += 1
                } catch is DatasetError {
                    refused += 1
                }
            }
        }
        XCTAssertEqual(decoded + refused, 31 * 150)
        XCTAssertGreaterThan(refused, 1000)
    }

    func testMessages() throws {
        XCTAssertEqual(
            message(try ImageDecoder.decode(Array("hello".utf8), name: "a/b.jpg")),
            "a/b.jpg: not a JPEG or PNG image; remove it, or \(skipping)")
        XCTAssertEqual(
            message(try ImageDecoder.decode([], name: "empty.png")),
            "empty.png: not a JPEG or PNG image; remove it, or \(skipping)")
        XCTAssertEqual(
            message(try ImageDecoder.decode(fileAt: "/nowhere/x.jpg")),
            "/nowhere/x.jpg: cannot be read (No such file or directory)")
        XCTAssertEqual(
            message(try ImageDecoder.decode(fileAt: "/")), "/: cannot be read (not a regular file)")
        // 60000 × 60000 pixels in a header with a right checksum.
        let bomb: [UInt8] =
            [137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 234, 96, 0, 0, 234, 96, 8, 2, 0, 0, 0]
            + [0x0F, 0xB0, 0xE2, 0x15] + [0, 0, 0, 0, 73, 68, 65, 84, 0x35, 0xAF, 0x06, 0x1E]
        XCTAssertEqual(
            message(try ImageDecoder.decode(bomb, name: "bomb.png")),
            "bomb.png: 60000×60000 pixels are more than the limit of 178956970; shrink the image")
    }
}
