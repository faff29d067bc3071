import Foundation
import XCTest

/// Files that are missing, damaged or something else: exit code 3 and a message that names them.
final class BadInputTests: CommandTestCase {
    private let resnet20 = "weights/cifar10-resnet-pytorch/resnet20-12fca82f.th"

    func testMissingFile() throws {
        let message = "graft: nowhere.h5: cannot be read: No such file or directory"
        assertFails(try graft("inspect", "nowhere.h5"), code: 3, message)
        assertFails(try graft("convert", "nowhere.h5", "out.h5"), code: 3, message)
        assertFails(try graft("evaluate", "--weights", "nowhere.h5", "--data", "."), code: 3, message)
        assertFails(try graft("predict", "--weights", "nowhere.h5", "a.jpg"), code: 3, message)
        XCTAssertFalse(FileManager.default.fileExists(atPath: "\(folder)/out.h5"))
    }

    func testNotAWeightFile() throws {
        try write(Data("hello, this is text".utf8), "text.h5")
        assertFails(
            try graft("inspect", "text.h5"), code: 3,
            "graft: text.h5: is neither HDF5 (Graft or Keras), nor a PyTorch archive, nor safetensors")
    }

    func testNotAnImage() throws {
        try write(Data("hello".utf8), "picture.jpg")
        let outcome = try graft("predict", "--weights", data(resnet20), "picture.jpg")
        XCTAssertEqual(outcome.code, 3)
        XCTAssertTrue(outcome.errors.hasPrefix("graft: picture.jpg: not a JPEG or PNG image;"), outcome.errors)
        XCTAssertEqual(outcome.output, "")
    }

    func testTruncatedWeights() throws {
        let whole = try Data(contentsOf: URL(fileURLWithPath: data(resnet20)))
        try write(whole.prefix(300_000), "short.th")
        let outcome = try graft("evaluate", "--weights", "short.th", "--data", data("cifar10/test"))
        XCTAssertEqual(outcome.code, 3)
        XCTAssertTrue(
            outcome.errors.hasPrefix("graft: short.th: damaged PyTorch (before 1.6) file:"), outcome.errors)
    }

    func testWeightsOfAnotherArchitecture() throws {
        let weights = try data(resnet20)
        let wrong = try graft(
            "evaluate", "--weights", weights, "--data", data("cifar10/test"), "--architecture", "resnet32")
        XCTAssertEqual(wrong.code, 3)
        XCTAssertTrue(
            wrong.errors.hasPrefix(
                "graft: \(weights): does not fit resnet32 (option-a)\n  missing: layer1.3.conv1.weight\n"),
            wrong.errors)
        let unknown = try graft(
            "evaluate", "--weights", weights, "--data", data("cifar10/test"), "--architecture", "resnet21")
        assertFails(
            unknown, code: 2,
            "graft: architecture \"resnet21\" is not known; did you mean resnet20, resnet101, resnet18?")
    }

    func testWrongData() throws {
        let weights = try data(resnet20)
        try FileManager.default.createDirectory(atPath: "\(folder)/empty", withIntermediateDirectories: true)
        let empty = try graft("evaluate", "--weights", weights, "--data", "empty")
        XCTAssertEqual(empty.code, 3)
        XCTAssertTrue(empty.errors.hasPrefix("graft: empty: no data set found;"), empty.errors)
        try write(Data("a film\t1\n".utf8), "texts.tsv")
        let texts = try graft("evaluate", "--weights", weights, "--data", "texts.tsv")
        XCTAssertEqual(texts.code, 3)
        XCTAssertTrue(texts.errors.hasPrefix("graft: texts.tsv: no data set found;"), texts.errors)
        // Both parts are there, and the answer for the wrong one would look good.
        let both = try data("cifar10")
        assertFails(
            try graft("evaluate", "--weights", weights, "--data", both), code: 2,
            "graft: \(both): holds several parts (train, test); "
                + "choose one with --split train or --split test")
        let few = try graft(
            "evaluate", "--weights", weights, "--data", data("cifar10/test"), "--first-per-class", "61")
        XCTAssertTrue(few.errors.contains("/cifar10/test: --first-per-class: 61 samples asked of class"), few.errors)
        let classes = try graft(
            "evaluate", "--weights", weights, "--data", data("cifar10/test"), "--classes", "cat,dgo")
        XCTAssertEqual(classes.code, 2)
        XCTAssertTrue(classes.errors.contains("no class 'dgo'; did you mean 'dog'?"), classes.errors)
    }

    func testHDF5InputThatIsNoImages() throws {
        let weights = try data(resnet20)
        XCTAssertEqual(try graft("convert", weights, "w.h5").code, 0)
        assertFails(
            try graft("predict", "--weights", weights, "w.h5:/parameters/linear.weight"), code: 3,
            "graft: w.h5:/parameters/linear.weight: is float32 10×64, "
                + "expected normalised images, float32 N×3×H×W")
        assertFails(
            try graft("predict", "--weights", weights, "w.h5:/images"), code: 3,
            "graft: w.h5: has no data set /images")
    }

    func testDamagedGraftFile() throws {
        XCTAssertEqual(try graft("convert", data(resnet20), "w.h5").code, 0)
        var bytes = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/w.h5"))
        bytes[bytes.count / 2] ^= 0xff
        try write(bytes, "w.h5")
        let message =
            "graft: w.h5: damaged Graft HDF5 file: "
            + "its SHA-256 is not the one written in its first 512 bytes\n"
        let inspected = try graft("inspect", "w.h5")
        XCTAssertEqual(inspected.code, 3)
        XCTAssertEqual(inspected.errors, message)
        XCTAssertTrue(inspected.output.hasPrefix("w.h5: Graft HDF5, "), inspected.output)
        XCTAssertTrue(inspected.output.contains("digest invalid\n"), inspected.output)
        let converted = try graft("convert", "w.h5", "out.safetensors")
        XCTAssertEqual(converted.code, 3)
        XCTAssertEqual(converted.errors, message)
    }
}
