import Datasets
import Foundation
import XCTest

/// What a transform does to a file, against decoding it whole and doing one step after the other.
final class ScaledDecodingTests: XCTestCase {
    /// Mean and largest difference between two images, in levels of 0-255.
    private func difference(_ one: FloatImage, _ other: FloatImage) -> (mean: Float, most: Float) {
        let differences = zip(one.values, other.values).map { abs($0 - $1) * 255 }
        return (differences.reduce(0, +) / Float(differences.count), differences.max() ?? 0)
    }

    private func file(_ bytes: [UInt8], _ transform: Transform, seed: UInt64 = 0) throws -> FloatImage {
        var generator = TestGenerator(seed)
        return try transform(.encoded(bytes), name: "file", using: &generator)
    }

    private func whole(_ bytes: [UInt8], _ transform: Transform, seed: UInt64 = 0) throws -> FloatImage {
        var generator = TestGenerator(seed)
        let image = try ImageDecoder.decode(bytes, name: "file")
        return try transform(.pixels(image), name: "file", using: &generator)
    }

    private func photographs(longSide: Int) throws -> [[UInt8]] {
        let folder = try Locations.real("flickr8k-mini/images")
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map {
            try bytes(folder.appendingPathComponent($0))
        }.filter {
            let image = try ImageDecoder.decode($0, name: "")
            return max(image.width, image.height) == longSide
        }
    }

    func testScalesKeepTwiceThePixelsThatAreNeeded() {
        func denominator(_ width: Int, _ height: Int, to size: Int) -> Int {
            var resizing = Resizing(
                box: CropRectangle(left: 3, top: 5, width: width, height: height), width: size, height: size, .bilinear)
            XCTAssertEqual(resizing.denominator, 1)
            resizing.allowsShrinking = true
            return resizing.denominator
        }
        XCTAssertEqual(denominator(500, 375, to: 128), 1)
        XCTAssertEqual(denominator(512, 512, to: 128), 2)
        XCTAssertEqual(denominator(2000, 511, to: 128), 1)
        XCTAssertEqual(denominator(4000, 3000, to: 224), 4)
        XCTAssertEqual(denominator(8000, 6000, to: 224), 8)
    }

    func testPhotographsStayNearTheirExactPixels() throws {
        let photographs = try photographs(longSide: 500)
        XCTAssertEqual(photographs.count, 20)
        let transforms = [
            Transform(steps: [.randomResizedCrop(width: 64, height: 64, .bilinear), .randomFlip()]),
            Transform(steps: [.randomResizedCrop(width: 30, height: 20, .bicubic)]),
            Transform(steps: [.randomResizedCrop(width: 14, height: 15, .bilinear)]),
            Transform(steps: [.randomResizedCrop(width: 32, height: 32, minimumArea: 0.9, .bilinear)]),
        ]
        var means: [Float] = []
        for (number, transform) in transforms.enumerated() {
            var changed = 0
            for (seed, photograph) in photographs.enumerated() {
                let shrunk = try file(photograph, transform, seed: UInt64(seed))
                let exact = try whole(photograph, transform, seed: UInt64(seed))
                let difference = difference(shrunk, exact)
                XCTAssertLessThan(difference.mean, 1.5, "transform \(number), photograph \(seed)")
                XCTAssertLessThan(difference.most, 24, "transform \(number), photograph \(seed)")
                if difference.most > 0 { changed += 1 }
                means.append(difference.mean)
            }
            // Else nothing was decoded at a fraction of its size, and this would test nothing.
            XCTAssertGreaterThan(changed, 5, "transform \(number)")
        }
        XCTAssertLessThan(means.reduce(0, +) / Float(means.count), 0.6)
    }

    func testEvaluationAndCropsThatNeedMostPixelsKeepTheirExactPixels() throws {
        let photographs = try photographs(longSide: 500)
        let transforms = [
            Transform(steps: [.resizeShortSide(146, .bilinear), .centerCrop(width: 128, height: 128)]),
            Transform(steps: [.resizeShortSide(73, .bilinear), .centerCrop(width: 64, height: 64)]),
            Transform(steps: [.resize(width: 30, height: 24, .bilinear)]),
            Transform(steps: [.randomResizedCrop(width: 16, height: 16, .nearest)]),
            Transform(steps: [.randomResizedCrop(width: 128, height: 128, .bilinear), .randomFlip()]),
            Transform(channels: 1, steps: [.resizeToCover(width: 150, height: 200, .bicubic)]),
        ]
        for transform in transforms {
            for (seed, photograph) in photographs.enumerated() {
                XCTAssertEqual(
                    try file(photograph, transform, seed: UInt64(seed)),
                    try whole(photograph, transform, seed: UInt64(seed)))
            }
        }
    }

    /// Turned, in inks, grey, of odd sizes, progressive, PNG: all kinds of files, shrunk to next to nothing.
    func testEveryKindOfFileShrinks() throws {
        let folder = Locations.reference.appendingPathComponent("images")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        XCTAssertEqual(names.count, 31)
        for name in names {
            let bytes = try bytes(folder.appendingPathComponent(name))
            for size in [(3, 2), (2, 5), (6, 6)] {
                let transform = Transform(
                    steps: [.randomResizedCrop(width: size.0, height: size.1, minimumArea: 0.9, .bilinear)])
                let difference = difference(try file(bytes, transform), try whole(bytes, transform))
                XCTAssertLessThan(difference.most, 20, "\(name) to \(size)")
            }
        }
    }

    func testResizeAndCenterCropAtOnceAreTheTwoSteps() throws {
        var generator = TestGenerator(3)
        for (width, height) in [(61, 47), (47, 61), (200, 150), (31, 90), (64, 64)] {
            for interpolation in [Interpolation.nearest, .bilinear, .bicubic] {
                let image = picture(width, height)
                for side in [20, 40, 64, 90] {
                    let long = side * max(width, height) / min(width, height)
                    let size = width <= height ? (side, long) : (long, side)
                    let transform = Transform(
                        steps: [.resizeShortSide(side, interpolation), .centerCrop(width: side - 3, height: side)])
                    XCTAssertEqual(
                        try transform.changed(image, name: "picture", using: &generator),
                        image.resized(width: size.0, height: size.1, interpolation)
                            .centerCropped(width: side - 3, height: side))
                }
            }
        }
    }

    func testLoadingSaysWhereItsTimeGoes() throws {
        let folder = try Locations.real("sign-language-digits")
        let loader = BatchLoader(
            dataset: try ClassFolders(at: folder.path),
            transform: Transform(steps: [.randomResizedCrop(width: 96, height: 96, .bilinear), .randomFlip()]))
        let loading = try loader.load(BatchRequest(epoch: 0, step: 0, indices: Array(0..<32))).loading
        let parts = [loading.read, loading.decode, loading.resize, loading.augment, loading.normalize]
        for part in parts { XCTAssertGreaterThan(part, 0) }
        XCTAssertEqual(loading.total, parts.reduce(0, +), accuracy: 1e-9)
    }
}
