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
        let mean: [Float] = [0.485, 0.456, 0.406]
        let deviation: [Float] = [0.229, 0.224, 0.225]
        let values = Normalization(mean: mean, standardDeviation: deviation)(image).values
        let wanted = [(0, 0), (10, 0), (128, 1), (20, 1), (255, 2), (30, 2)].map { level, channel in
            (Float(level) / 255 - mean[channel]) / deviation[channel]
        }
        XCTAssertEqual(values, wanted)
        let caffe = Normalization(mean: [103.939 / 255, 0, 0], standardDeviation: [1 / 255], reversesChannels: true)
        XCTAssertEqual(caffe(image).values[0], 255 - 103.939, accuracy: 1e-4)
        XCTAssertEqual(Normalization(mean: [0.5], standardDeviation: [0.5])(image).values[4], 1)
    }

    func testTransformsRepeatForOneKeyAndDifferForAnother() throws {
        let transform = Transform(
            steps: [
                .randomResizedCrop(width: 20, height: 24, .bilinear), .randomFlip(),
                .colorJitter(ColorJitter(brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1)),
            ], normalization: Normalization(mean: [0.4], standardDeviation: [0.2]))
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
        XCTAssertEqual(
            refusal(.colorJitter(ColorJitter(contrast: 1e39))),
            "colorJitter.contrast: 1e+39 is not possible; give a number from 0 to 100")
        XCTAssertEqual(
            refusal(.randomResizedCrop(width: 3, height: 3, maximumAspect: 1e300, .bilinear)),
            "randomResizedCrop: area 0.08, aspect 0.75 to 1e+300 is not possible; "
                + "give an area above 0 and up to 1 and a rising range of aspects from 0.001 to 1000")
        var generator = TestGenerator(0)
        let crop = Transform(steps: [.randomCrop(width: 9, height: 9, padding: 0)])
        XCTAssertEqual(
            message(try crop(.pixels(picture(8, 8)), name: "tiny.png", using: &generator)),
            "tiny.png: an image of channels×height×width 3×8×8 where 3×9×9 is expected; add a resize or crop")
    }

    /// Steps and images that each may be, and together ask for more memory than there is.
    func testNoStepMakesAnImageBeyondTheLimit() {
        var generator = TestGenerator(0)
        let line = DecodedImage(width: 20_000, height: 1, channels: 1, pixels: [UInt8](repeating: 0, count: 20_000))
        let cases: [(TransformStep, String)] = [
            (.resizeToCover(width: 10, height: 60_000, .bilinear), "1200000000×60000"),
            (.resize(width: 65_536, height: 65_536, .bilinear), "65536×65536"),
            (.centerCrop(width: 65_536, height: 65_536), "65536×65536"),
            (.randomCrop(width: 8, height: 8, padding: 65_536), "151072×131073"),
        ]
        for (step, size) in cases {
            XCTAssertEqual(
                message(try Transform(channels: 1, steps: [step])(.pixels(line), name: "x", using: &generator)),
                "x: \(size) pixels are more than the limit of 178956970; shrink the image")
        }
    }

    func testStepsThatDoNotExistForFloatImagesAreRefused() {
        var generator = TestGenerator(0)
        let image = FloatImage(width: 4, height: 4, channels: 1, values: [Float](repeating: 0, count: 16))
        let cases: [(TransformStep, String)] = [
            (.randomResizedCrop(width: 4, height: 4, .bilinear), "random-resized-crop"),
            (.colorJitter(ColorJitter(brightness: 0.1)), "jitter"),
        ]
        for (step, key) in cases {
            XCTAssertEqual(
                message(try Transform(channels: 1, steps: [step])(.values(image), name: "a.h5", using: &generator)),
                "a.h5: float32 images are taken as already normalised, so that data.augment.\(key) does not exist "
                    + "for them; remove it, or give uint8 images")
        }
    }
}
