import Datasets
import Foundation
import XCTest

final class TransformTests: XCTestCase {
    struct ResizeCase: Decodable {
        let width, height, channels, newWidth, newHeight: Int
        let interpolation: Interpolation
        let sha256: String

        init(from decoder: Decoder) throws {
            var list = try decoder.unkeyedContainer()
            width = try list.decode(Int.self)
            height = try list.decode(Int.self)
            channels = try list.decode(Int.self)
            newWidth = try list.decode(Int.self)
            newHeight = try list.decode(Int.self)
            interpolation = try list.decode(Interpolation.self)
            sha256 = try list.decode(String.self)
        }
    }

    func testResizingGivesPillowsPixels() throws {
        let cases = try Locations.json("resize.json", as: [ResizeCase].self)
        for item in cases {
            let image = picture(item.width, item.height, channels: item.channels)
            let resized = image.resized(width: item.newWidth, height: item.newHeight, item.interpolation)
            XCTAssertEqual(digest(resized.pixels), item.sha256, "\(item)")
        }
        XCTAssertEqual(cases.count, 324)
    }

    func testColorOperationsGivePillowsPixels() throws {
        let expected = try Locations.json("operations.json", as: [String: String].self)
        let levels = Array(stride(from: 0, to: 256, by: 7)).map(UInt8.init)
        var pixels: [UInt8] = []
        for r in levels { for g in levels { for b in levels { pixels += [r, g, b] } } }
        let cube = DecodedImage(
            width: levels.count * levels.count, height: levels.count, channels: 3, pixels: pixels)
        for (operation, wanted) in expected {
            let words = operation.split(separator: " ")
            let amount = words.count > 1 ? Double(words[1]) ?? 0 : 0
            let result: DecodedImage
            switch words[0] {
            case "brightness": result = cube.adjustingBrightness(by: amount)
            case "contrast": result = cube.adjustingContrast(by: amount)
            case "saturation": result = cube.adjustingSaturation(by: amount)
            case "hue": result = cube.adjustingHue(by: amount)
            default: result = cube.converted(toChannels: 1)
            }
            XCTAssertEqual(digest(result.pixels), wanted, operation)
        }
        XCTAssertEqual(expected.count, 25)
    }

    func testCroppingWhileResizingIsCroppingThenResizing() {
        let image = picture(61, 47)
        for interpolation in [Interpolation.nearest, .bilinear, .bicubic] {
            let direct = image.resized(
                left: 5, top: 9, width: 40, height: 31, toWidth: 24, height: 50, interpolation)
            let inSteps = image.cropped(left: 5, top: 9, width: 40, height: 31)
                .resized(width: 24, height: 50, interpolation)
            XCTAssertEqual(direct, inSteps)
        }
    }

    func testCenterCropRoundsHalvesToEvenAndPadsSmallImages() {
        let wide = picture(9, 4)
        // Spare width 5: 2.5 rounds to 2; spare height 1: 0.5 rounds to 0.
        XCTAssertEqual(wide.centerCropped(width: 4, height: 3), wide.cropped(left: 2, top: 0, width: 4, height: 3))
        let small = picture(2, 2, channels: 1).centerCropped(width: 4, height: 5)
        XCTAssertEqual(small.pixels[0..<4], [0, 0, 0, 0])
        XCTAssertEqual(small.pixels[5..<7], picture(2, 2, channels: 1).pixels[0..<2])
    }

    func testRandomCropRectangleStaysInsideAndCoversTheRange() {
        var generator = TestGenerator(1)
        var areas: [Double] = []
        for _ in 0..<2000 {
            let part = CropRectangle.random(
                in: (120, 80), area: 0.08...1, aspect: 0.75...(4.0 / 3.0), using: &generator)
            XCTAssertTrue(part.left >= 0 && part.top >= 0 && part.left + part.width <= 120)
            XCTAssertLessThanOrEqual(part.top + part.height, 80)
            areas.append(Double(part.width * part.height) / 9600)
        }
        XCTAssertLessThan(areas.min() ?? 1, 0.1)
        XCTAssertGreaterThan(areas.max() ?? 0, 0.8)
        // Too narrow for any allowed shape: the middle, in the allowed shape closest to the image's.
        let narrow = CropRectangle.random(in: (10, 1000), area: 0.9...1, aspect: 0.75...1.3, using: &generator)
        XCTAssertEqual([narrow.left, narrow.top, narrow.width, narrow.height], [0, 493, 10, 13])
    }

    func testNormalizationMatchesTorchvisionsArithmetic() {
        let image = DecodedImage(width: 2, height: 1, channels: 3, pixels: [0, 128, 255, 10, 20, 30])
        let values = Normalization.imageNet(image).values
        let mean: [Float] = [0.485, 0.456, 0.406]
        let deviation: [Float] = [0.229, 0.224, 0.225]
        let wanted = [(0, 0), (10, 0), (128, 1), (20, 1), (255, 2), (30, 2)].map { level, channel in
            (Float(level) / 255 - mean[channel]) / deviation[channel]
        }
        XCTAssertEqual(values, wanted)
        XCTAssertEqual(Normalization.caffe(image).values[0], 255 - 103.939, accuracy: 1e-4)
        XCTAssertEqual(Normalization.signedUnit(image).values[4], 1)
    }

    func testTransformsRepeatForOneKeyAndDifferForAnother() throws {
        let transform = Transform(
            steps: [
                .randomResizedCrop(width: 20, height: 24, .bilinear), .randomFlip(),
                .colorJitter(ColorJitter(brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1)),
            ], normalization: .imageNet)
        try transform.validate()
        func run(_ seed: UInt64) throws -> FloatImage {
            var generator = TestGenerator(seed)
            return try transform(.pixels(picture(50, 40)), name: "p", using: &generator)
        }
        let first = try run(1)
        XCTAssertEqual([first.channels, first.height, first.width], [3, 24, 20])
        XCTAssertEqual(first, try run(1))
        XCTAssertNotEqual(first, try run(2))
        XCTAssertTrue(transform.outputSize.map { $0 == (20, 24) } ?? false)
        let stored = try JSONDecoder().decode(Transform.self, from: JSONEncoder().encode(transform))
        XCTAssertEqual(stored, transform)
    }

    func testPaddedRandomCropOfFloatsAgreesWithBytes() throws {
        let pixels = picture(8, 6)
        let steps: [TransformStep] = [.randomCrop(width: 8, height: 6, padding: 2), .randomFlip()]
        let plain = Normalization()
        for seed in 0..<20 {
            var one = TestGenerator(UInt64(seed))
            var two = one
            let transform = Transform(steps: steps, normalization: plain)
            let fromBytes = try transform(.pixels(pixels), name: "p", using: &one)
            let fromFloats = try transform(.values(plain(pixels)), name: "p", using: &two)
            XCTAssertEqual(fromBytes, fromFloats)
        }
    }

    func testImpossibleSettingsAreRefused() {
        func refusal(_ step: TransformStep) -> String { message(try Transform(steps: [step]).validate()) }
        XCTAssertEqual(
            refusal(.resize(width: 0, height: 3, .bilinear)),
            "resize: 0 is not possible; give a number of pixels from 1 to 65536")
        XCTAssertEqual(
            refusal(.randomFlip(probability: 2)),
            "randomFlip.probability: 2.0 is not possible; give a number from 0 to 1")
        XCTAssertEqual(
            refusal(.colorJitter(ColorJitter(hue: 0.7))),
            "colorJitter.hue: 0.7 is not possible; give a number from 0 to 0.5")
        var generator = TestGenerator(0)
        let crop = Transform(steps: [.randomCrop(width: 9, height: 9, padding: 0)])
        XCTAssertEqual(
            message(try crop(.pixels(picture(8, 8)), name: "tiny.png", using: &generator)),
            "tiny.png: an image of channels×height×width 3×8×8 where 3×9×9 is expected; add a resize or crop")
    }
}
