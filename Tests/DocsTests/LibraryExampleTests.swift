import Archives
import Foundation
import Models
import XCTest

/// The program of docs/library.md, which the package builds as `graft-example`.
final class LibraryExampleTests: XCTestCase {
    func testTheGuideShowsTheProgramThatIsBuilt() throws {
        let program = try Documents.text("docs/example/main.swift").trimmingCharacters(in: .newlines)
        let shown = try Documents.blocks("swift").filter { $0.document == "docs/library.md" }
            .map { $0.lines.joined(separator: "\n") }
        XCTAssertTrue(shown.contains(program), "docs/library.md does not show docs/example/main.swift as it is")
        let code = program.components(separatedBy: "\n").filter { line in
            !line.isEmpty && !["//", "import "].contains { line.hasPrefix($0) }
        }
        XCTAssertLessThanOrEqual(code.count, 30)
    }

    func testTheProgramSaysHowItIsUsed() throws {
        let result = try runProgram(built("graft-example"), [])
        XCTAssertEqual(result.code, 2, result.errors)
        XCTAssertEqual(result.output, "usage: graft-example WEIGHTS FOLDER OUTPUT.h5\n")
    }

    func testTheProgramTrainsAndSaves() throws {
        let data = try givenData()
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Weights that say how their images were made, and not as the architecture's published ones.
        let given = folder.appendingPathComponent("given.h5").path
        var weights = try WeightFile.read(
            data.appendingPathComponent("weights/cifar10-resnet-pytorch/resnet20-12fca82f.th").path)
        let preprocessing = Preprocessing(inputSize: 24, mean: [0.5, 0.5, 0.5], standardDeviation: [0.25, 0.25, 0.25])
        weights.metadata.preprocessing = preprocessing
        try weights.write(to: given, as: .graftHDF5)

        let output = folder.appendingPathComponent("output.h5").path
        let result = try runProgram(
            built("graft-example"), [given, data.appendingPathComponent("sign-language-digits").path, output],
            limit: 300)
        XCTAssertEqual(result.code, 0, result.errors)
        XCTAssertTrue(result.output.contains("of 200 images"), result.output)
        let trained = try WeightFile.read(output)
        XCTAssertEqual(trained.metadata.classNames, (0..<10).map(String.init))
        XCTAssertEqual(trained.metadata.preprocessing, preprocessing)
        XCTAssertEqual(trained["linear.weight"]?.shape, [10, 64])
    }
}
