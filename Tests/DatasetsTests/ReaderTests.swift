import Archives
import Datasets
import Foundation
import XCTest

final class ReaderTests: XCTestCase {
    /// Class folders with tiny PNG files copied from the reference images.
    private func makeFolders(_ files: [String]) throws -> URL {
        let root = try scratchFolder(self)
        let image = try Data(contentsOf: Locations.reference.appendingPathComponent("images/palette-short.png"))
        for file in files {
            let url = root.appendingPathComponent(file)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            if !file.hasSuffix("/.keep") { try image.write(to: url) }
        }
        return root
    }

    func testClassFoldersListInBytewiseOrderAndIgnoreOthers() throws {
        let root = try makeFolders([
            "b/10.png", "b/9.PNG", "b/é.jpg", "b/Z.jpeg", "b/notes.txt", "b/.hidden.png", "A/x.jpg", ".git/y.png",
        ])
        try Data().write(to: root.appendingPathComponent("README.md"))
        let data = try ClassFolders(at: root.path)
        XCTAssertEqual(data.classNames, ["A", "b"])
        XCTAssertEqual(data.labels, [0, 1, 1, 1, 1])
        XCTAssertEqual(
            (0..<data.count).map { data.name(at: $0) },
            ["A/x.jpg", "b/10.png", "b/9.PNG", "b/Z.jpeg", "b/é.jpg"].map { "\(root.path)/\($0)" })
        // A PNG by its contents, whatever its name.
        guard case .pixels(let image) = try data.image(at: 0) else { return XCTFail("not pixels") }
        XCTAssertEqual(image.pixels, [16, 32, 48, 64, 80, 96, 16, 32, 48, 64, 80, 96])
    }

    func testBadFolders() throws {
        let empty = try makeFolders(["a/1.png", "b/.keep"])
        XCTAssertEqual(
            message(try ClassFolders(at: empty.path)),
            "\(empty.path): class folder 'b' holds no .jpg, .jpeg or .png file; add images or remove the folder")
        let single = try makeFolders(["only/1.png"])
        XCTAssertEqual(
            message(try ClassFolders(at: single.path)),
            "\(single.path): only one class ('only'); classification needs at least two")
        let none = try scratchFolder(self)
        XCTAssertTrue(message(try ClassFolders(at: none.path)).contains("no class folders"))
        XCTAssertTrue(message(try openImageDataset(at: none.path)).contains("no data set found"))
        XCTAssertEqual(
            message(try openImageDataset(at: "/nowhere")), "/nowhere: cannot be read (No such file or directory)")
    }

    func testFingerprintNoticesNamesSizesAndLabels() throws {
        let root = try makeFolders(["a/1.png", "b/1.png", "b/2.png"])
        let first = try ClassFolders(at: root.path).fingerprint()
        XCTAssertEqual(first, try ClassFolders(at: root.path).fingerprint())
        XCTAssertEqual(first.count, 64)
        let file = root.appendingPathComponent("b/2.png")
        try (Data(contentsOf: file) + Data([0])).write(to: file)
        let resized = try ClassFolders(at: root.path).fingerprint()
        XCTAssertNotEqual(first, resized)
        try FileManager.default.moveItem(at: file, to: root.appendingPathComponent("a/2.png"))
        XCTAssertNotEqual(resized, try ClassFolders(at: root.path).fingerprint())
    }

    func testPartsAreFoldersOfFolders() throws {
        let parts = ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "test/b/2.png"]
        let root = try makeFolders(parts).path
        XCTAssertEqual(try openImageDataset(at: root, split: .train).count, 2)
        XCTAssertEqual(try openImageDataset(at: root, split: .test).count, 3)
        XCTAssertEqual(
            message(try openImageDataset(at: root)),
            "\(root): holds several parts (train, test); choose one with --split train or --split test")
        // Vehicles, not parts.
        let classes = try makeFolders(["bus/1.png", "train/1.png", "test/1.png"]).path
        for split in [DatasetSplit.train, .test, nil] {
            XCTAssertEqual(try openImageDataset(at: classes, split: split).classNames, ["bus", "test", "train"])
        }
    }

    func testGivenFoldersAreReadWhole() throws {
        let cifar = try Locations.real("cifar10")
        let train = try openImageDataset(at: cifar.path, split: .train)
        XCTAssertEqual(train.count, 3000)
        XCTAssertEqual(train.classCounts, [Int](repeating: 300, count: 10))
        XCTAssertEqual(try openImageDataset(at: cifar.path, split: .test).count, 600)
        let digits = try openImageDataset(at: Locations.real("sign-language-digits").path)
        XCTAssertEqual(digits.classNames, (0...9).map(String.init))
        XCTAssertEqual(digits.count, 1000)
    }

    func testGivenIDXFilesAreRead() throws {
        let mnist = try openImageDataset(at: Locations.real("mnist").path)
        XCTAssertEqual(mnist.count, 10_000)
        XCTAssertEqual(mnist.classCounts, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
        let usps = try Locations.real("usps").path
        XCTAssertEqual(try openImageDataset(at: usps, split: .train).count, 7291)
        XCTAssertEqual(try openImageDataset(at: usps, split: .test).count, 2007)
        guard case .pixels(let image) = try mnist.image(at: 0) else { return XCTFail("not pixels") }
        XCTAssertEqual([image.width, image.height, image.channels], [28, 28, 1])
    }

    func testFashionMNIST() throws {
        let path = "/usr/share/datasets/fashion-mnist"
        guard FileManager.default.fileExists(atPath: path) else {
            throw XCTSkip("Fashion-MNIST is not installed (apt: dataset-fashion-mnist)")
        }
        let train = try openImageDataset(at: path, split: .train)
        XCTAssertEqual(train.classCounts, [Int](repeating: 6000, count: 10))
        XCTAssertEqual(try openImageDataset(at: path, split: .test).count, 10_000)
        XCTAssertEqual(
            message(try openImageDataset(at: path)),
            "\(path): holds several parts (t10k-images-idx3-ubyte.gz, train-images-idx3-ubyte.gz); "
                + "choose one with --split train or --split test")
    }

    // MARK: IDX by hand

    private func idx(_ sizes: [Int], _ values: [UInt8]) -> [UInt8] {
        [0, 0, 8, UInt8(sizes.count)]
            + sizes.flatMap { size in (0..<4).map { UInt8((size >> (24 - 8 * $0)) & 255) } } + values
    }

    private func writeIDX(_ images: [UInt8], _ labels: [UInt8]?) throws -> String {
        let root = try scratchFolder(self)
        let path = root.appendingPathComponent("train-images-idx3-ubyte")
        try Data(images).write(to: path)
        if let labels { try Data(labels).write(to: root.appendingPathComponent("train-labels-idx1-ubyte")) }
        return path.path
    }

    func testPlainIDX() throws {
        let path = try writeIDX(idx([2, 1, 3], [1, 2, 3, 4, 5, 6]), idx([2], [1, 0]))
        let data = try openImageDataset(at: path)
        XCTAssertEqual(data.labels, [1, 0])
        XCTAssertEqual(data.classNames, ["0", "1"])
        XCTAssertEqual(
            try data.image(at: 1), .pixels(DecodedImage(width: 3, height: 1, channels: 1, pixels: [4, 5, 6])))
    }

    func testDamagedIDXIsRefused() throws {
        let good = idx([2, 1, 3], [1, 2, 3, 4, 5, 6])
        let labels = idx([2], [1, 0])
        func refusal(_ images: [UInt8], _ labels: [UInt8]?) throws -> String {
            let path = try writeIDX(images, labels)
            return message(try openImageDataset(at: path)).components(separatedBy: "ubyte: ").last ?? ""
        }
        let damaged = "damaged or not in the expected format "
        XCTAssertEqual(try refusal(Array(good.dropLast()), labels), damaged + "(it ends too early or does not unpack)")
        XCTAssertEqual(try refusal(good + [0], labels), damaged + "(more bytes than its sizes [2, 1, 3] say)")
        XCTAssertEqual(
            try refusal([1, 2, 3, 4], labels), damaged + "(begins with 1 2 3 4, not as IDX of unsigned bytes)")
        XCTAssertEqual(
            try refusal(good, idx([3], [1, 0, 1])), damaged + "(labels of sizes [3] for 2 images)")
        XCTAssertTrue(try refusal(good, nil).contains("no labels file beside"))
        XCTAssertTrue(try refusal(good, idx([2], [1, 1])).contains("only one class ('1')"))
        XCTAssertTrue(
            try refusal(idx([1 << 30, 1 << 30, 1 << 30], []), labels).contains("in a file of 16 bytes"))
        // A plain file does not unpack.
        XCTAssertEqual(
            try refusal(idx([100, 10, 10], [1]), labels), damaged + "(sizes [100, 10, 10] in a file of 17 bytes)")
    }

    // MARK: HDF5 and pack

    func testPackedFolderReadsBackAsTheSamePixels() throws {
        let digits = try openImageDataset(at: Locations.real("sign-language-digits").path)
            .selecting(Selection(classes: ["3", "7"], firstPerClass: 5))
        let root = try scratchFolder(self)
        let path = root.appendingPathComponent("digits.h5").path
        let summary = try packImages(digits, to: path, PackOptions(width: 40, height: 32))
        XCTAssertEqual(summary.samples, 10)
        XCTAssertEqual(summary.classNames, ["3", "7"])
        XCTAssertEqual(summary.skipped, [])
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: root.path), ["digits.h5"])
        let packed = try openImageDataset(at: path)
        XCTAssertEqual(packed.classNames, ["3", "7"])
        XCTAssertEqual(packed.labels, digits.labels)
        for index in 0..<10 {
            guard case .pixels(let original) = try digits.image(at: index) else { return XCTFail("not pixels") }
            XCTAssertEqual(try packed.image(at: index), .pixels(original.resized(width: 40, height: 32)))
        }
        XCTAssertEqual(try packed.fingerprint(), try openImageDataset(at: path).fingerprint())
    }

    func testPackSkipsOrRefusesBrokenFiles() throws {
        let root = try makeFolders(["a/1.png", "a/2.png", "b/1.png"])
        try Data("no image".utf8).write(to: root.appendingPathComponent("a/2.png"))
        let data = try ClassFolders(at: root.path)
        let path = try scratchFolder(self).appendingPathComponent("x.h5").path
        var options = PackOptions(width: 4, height: 4)
        XCTAssertTrue(message(try packImages(data, to: path, options)).hasPrefix("\(root.path)/a/2.png: not a JPEG"))
        XCTAssertFalse(FileManager.default.fileExists(atPath: path))
        options.brokenFiles = .skip
        let summary = try packImages(data, to: path, options)
        XCTAssertEqual(summary.samples, 2)
        XCTAssertEqual(summary.skipped.count, 1)
        XCTAssertEqual(try openImageDataset(at: path).labels, [0, 1])
    }

    func testFloatHDF5AndBadHDF5() throws {
        let root = try scratchFolder(self)
        func write(_ name: String, labels: [Int32], imageShape: [Int] = [2, 1, 2, 2]) throws -> String {
            let path = root.appendingPathComponent(name).path
            let file = try HDF5File(creating: path)
            let images = try file.root.createDataset("images", shape: imageShape, elementType: .float32)
            let values = (0..<imageShape.reduce(1, *)).map { Float($0) - 1.5 }
            try values.withUnsafeBytes { try images.write($0, as: .float32) }
            let labelData = try file.root.createDataset("labels", shape: [labels.count], elementType: .int32)
            try labels.withUnsafeBytes { try labelData.write($0, as: .int32) }
            try file.close()
            return path
        }
        let data = try openImageDataset(at: write("good.h5", labels: [1, 0]))
        XCTAssertEqual(
            try data.image(at: 1),
            .values(FloatImage(width: 2, height: 2, channels: 1, values: [2.5, 3.5, 4.5, 5.5])))
        for (name, labels, shape, part) in [
            ("count.h5", [0, 1, 1], [2, 1, 2, 2], "3 labels for 2 images"),
            ("shape.h5", [0, 1], [2, 4, 2, 2], "expected N×C×H×W with C 1 or 3"),
            ("rank.h5", [0, 1], [2, 4], "expected N×C×H×W with C 1 or 3"),
            ("one.h5", [0, 0], [2, 1, 2, 2], "only one class ('0')"),
            ("minus.h5", [-1, 0], [2, 1, 2, 2], "labels from -1 to 0"),
        ] as [(String, [Int32], [Int], String)] {
            let text = message(try openImageDataset(at: write(name, labels: labels, imageShape: shape)))
            XCTAssertTrue(text.contains(name) && text.contains(part), text)
        }
        let cut = root.appendingPathComponent("cut.h5")
        try Data(contentsOf: root.appendingPathComponent("good.h5")).prefix(700).write(to: cut)
        XCTAssertThrowsError(try openImageDataset(at: cut.path)) { error in
            XCTAssertTrue("\(error)".contains("cut.h5"), "\(error)")
        }
        XCTAssertThrowsError(try openImageDataset(at: Locations.real("usps").path + "/usps.h5")) { error in
            XCTAssertTrue("\(error)".contains("/images"), "\(error)")
        }
    }
}
