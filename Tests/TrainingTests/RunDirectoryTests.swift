import Archives
import Training
import XCTest

final class RunDirectoryTests: XCTestCase {
    private let folder = FileManager.default.temporaryDirectory
        .appendingPathComponent("graft-\(UUID().uuidString)").path

    override func tearDownWithError() throws { try FileManager.default.removeItem(atPath: folder) }

    func testAFolderInUseIsRefused() throws {
        let directory = try RunDirectory(folder, continuing: false)
        try directory.write("a: 1\n", to: "recipe.yaml")
        XCTAssertEqual(try String(contentsOfFile: folder + "/recipe.yaml", encoding: .utf8), "a: 1\n")
        XCTAssertThrowsError(try RunDirectory(folder, continuing: false)) {
            XCTAssertEqual($0 as? RunDirectoryError, .inUse(path: folder))
            XCTAssertEqual(($0 as? RunDirectoryError)?.exitCode, .usage)
        }
        XCTAssertNoThrow(try RunDirectory(folder, continuing: true))
    }

    /// What fails once training is done, such as a full disk, is no mistake of the command line.
    func testAFailedWriteIsAboutData() throws {
        let directory = try RunDirectory(folder, continuing: false)
        // A folder cannot be replaced by a file.
        try FileManager.default.createDirectory(atPath: directory.summary, withIntermediateDirectories: true)
        XCTAssertThrowsError(try directory.write("{}", to: "summary.json")) {
            XCTAssertEqual(
                String(describing: $0),
                "\(folder)/summary.json: cannot be written: rename: Is a directory; nothing was left behind")
            XCTAssertEqual(($0 as? ArchiveError)?.exitCode, .data)
        }
    }
}
