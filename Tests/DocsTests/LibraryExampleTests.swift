import Archives
import Foundation
import XCTest

/// The program of docs/library.md, which the package builds as `graft-example`.
final class LibraryExampleTests: XCTestCase {
    func testTheGuideShowsTheProgramThatIsBuilt() throws {
        let program = try Documents.text("docs/example/main.swift").trimmingCharacters(in: .newlines)
        let shown = try Documents.blocks("swift").filter { $0.document == "docs/library.md" }
            .map { $0.lines.joined(separator: "\n") }
        XCTAssertTrue(shown.contains(program), "docs/library.md does not show docs/example/main.swift as it is")
        XCTAssertLessThanOrEqual(program.components(separatedBy: "\n").count, 45)
    }

    func testTheProgramTrainsAndSaves() throws {
        let data = try givenData()
        let output = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).h5").path
        defer { try? FileManager.default.removeItem(atPath: output) }
        let result = try runProgram(
            built("graft-example"),
            [
                data.appendingPathComponent("weights/cifar10-resnet-pytorch/resnet20-12fca82f.th").path,
                data.appendingPathComponent("sign-language-digits").path, output,
            ], limit: 300)
        XCTAssertEqual(result.code, 0, result.errors)
        XCTAssertTrue(result.output.contains("of 200 images"), result.output)
        let weights = try WeightFile.read(output)
        XCTAssertEqual(weights.metadata.classNames, (0..<10).map(String.init))
        XCTAssertEqual(weights["linear.weight"]?.shape, [10, 64])
    }
}
