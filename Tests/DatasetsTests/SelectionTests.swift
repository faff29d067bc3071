import Datasets
import XCTest

/// Images without pixels worth looking at, labels as given.
final class ToyImages: Dataset, @unchecked Sendable {
    let source = "toy"
    let classNames: [String]
    let labels: [Int32]
    /// Samples whose file is broken.
    let broken: Set<Int>

    init(classNames: [String], labels: [Int32], broken: Set<Int> = []) {
        self.classNames = classNames
        self.labels = labels
        self.broken = broken
    }

    convenience init(counts: [Int]) {
        self.init(
            classNames: ["cat", "dog", "horse", "ship"].prefix(counts.count).map { $0 },
            labels: counts.enumerated().flatMap { [Int32](repeating: Int32($0), count: $1) })
    }

    func name(at index: Int) -> String { "toy/\(index).png" }
    func fingerprint() throws -> String { "toy \(labels)" }
    func storedSample(at index: Int) throws -> StoredSample {
        if broken.contains(index) { return .encoded(Array("not an image".utf8)) }
        let levels = [UInt8(index % 256), UInt8(index / 256)]
        return .image(.pixels(DecodedImage(width: 2, height: 1, channels: 1, pixels: levels)))
    }

    /// The number in the toy data set of a sample that was loaded from it.
    static func number(_ image: SampleImage) -> Int {
        guard case .pixels(let image) = image else { return -1 }
        return Int(image.pixels[0]) + 256 * Int(image.pixels[1])
    }
}

final class SelectionTests: XCTestCase {
    private let toy = ToyImages(counts: [10, 20, 30])

    private func numbers(_ selection: Selection) throws -> [Int] {
        let chosen = try toy.selecting(selection)
        return try (0..<chosen.count).map { ToyImages.number(try chosen.image(at: $0)) }
    }

    func testClassesAreRelabelledInTheGivenOrder() throws {
        let chosen = try toy.selecting(Selection(classes: ["horse", "cat"]))
        XCTAssertEqual(chosen.classNames, ["horse", "cat"])
        XCTAssertEqual(chosen.classCounts, [30, 10])
        XCTAssertEqual(try numbers(Selection(classes: ["horse", "cat"])), Array(0..<10) + Array(30..<60))
        XCTAssertEqual(chosen.name(at: 10), "toy/30.png")
    }

    func testFirstAndSkipFitTogether() throws {
        XCTAssertEqual(try numbers(Selection(firstPerClass: 2)), [0, 1, 10, 11, 30, 31])
        let rest = try numbers(Selection(skipFirstPerClass: 8))
        XCTAssertEqual(Set(rest + (try numbers(Selection(firstPerClass: 8)))), Set(0..<60))
        XCTAssertEqual(try numbers(Selection(skipFirstPerClass: 8, firstPerClass: 1)), [8, 18, 38])
    }

    func testDrawingFollowsTheSeed() throws {
        let five = try numbers(Selection(perClass: 5, seed: 3))
        XCTAssertEqual(try toy.selecting(Selection(perClass: 5, seed: 3)).classCounts, [5, 5, 5])
        XCTAssertEqual(five, try numbers(Selection(perClass: 5, seed: 3)))
        XCTAssertNotEqual(five, try numbers(Selection(perClass: 5, seed: 4)))
        XCTAssertTrue(Set(five).isSubset(of: try numbers(Selection(perClass: 9, seed: 3))))
    }

    func testFractionsKeepTheProportions() throws {
        XCTAssertEqual(try toy.selecting(Selection(fraction: 0.3)).classCounts, [3, 6, 9])
        XCTAssertEqual(try toy.selecting(Selection(fraction: 0.001)).classCounts, [1, 1, 1])
    }

    func testImpossibleSelections() {
        func refusal(_ selection: Selection) -> String { message(try toy.selecting(selection)) }
        XCTAssertEqual(refusal(Selection(classes: ["cat", "hors"])), "toy: no class 'hors'; did you mean 'horse'?")
        XCTAssertEqual(
            refusal(Selection(classes: ["cat", "cat"])), "class 'cat' is listed twice; list each class once")
        XCTAssertEqual(
            message(try toy.selecting(Selection(perClass: 11), keys: "data.train.")),
            "toy: data.train.per-class: 11 samples asked of class 'cat', which has 10; "
                + "ask for fewer or leave the class out")
        XCTAssertEqual(
            message(try toy.selecting(Selection(firstPerClass: 21), keys: "--")),
            "toy: --first-per-class: 21 samples asked of class 'cat', which has 10; "
                + "ask for fewer or leave the class out")
        let emptied = Selection(skipFirstPerClass: 10, fraction: 0.5)
        XCTAssertTrue(refusal(emptied).hasPrefix("toy: fraction: 1 samples asked of class 'cat', which has 0;"))
        XCTAssertEqual(
            refusal(Selection(firstPerClass: 1, fraction: 0.5)),
            "fraction: together with first-per-class is not possible; give one of the two")
        XCTAssertEqual(refusal(Selection(perClass: 0)), "per-class: 0 is not possible; give 1 or more")
        XCTAssertEqual(
            refusal(Selection(fraction: 1.5)), "fraction: 1.5 is not possible; give a number above 0 and up to 1")
        XCTAssertEqual(
            refusal(Selection(classes: ["cat"])), "classes: [\"cat\"] is not possible; name at least two classes")
    }

    func testFingerprintsTellSelectionsApart() throws {
        let one = try toy.selecting(Selection(perClass: 5, seed: 3)).fingerprint()
        XCTAssertEqual(one, try toy.selecting(Selection(perClass: 5, seed: 3)).fingerprint())
        XCTAssertNotEqual(one, try toy.selecting(Selection(perClass: 5, seed: 4)).fingerprint())
    }
}
