import Foundation
import XCTest

/// The README's file map, and the links of all documents.
final class FileMapTests: XCTestCase {
    /// Paths that stand in backquotes at the beginning of a row of the README's tables.
    private func mapped() throws -> [String] {
        try Documents.text("README.md").components(separatedBy: "\n").compactMap { line in
            guard line.hasPrefix("| `"), let end = line.dropFirst(3).firstIndex(of: "`") else { return nil }
            let path = String(line[line.index(line.startIndex, offsetBy: 3)..<end])
            let isPath = path.contains("/") || path.hasSuffix(".swift") || path.hasSuffix(".md")
            return isPath && !path.contains(" ") ? path : nil
        }
    }

    func testEveryMappedPathExists() throws {
        let paths = try mapped()
        XCTAssertGreaterThan(paths.count, 20)
        for path in paths { XCTAssertTrue(Documents.exists(path), "README.md maps \(path), which is not there") }
        XCTAssertEqual(Set(paths).count, paths.count, "README.md maps a path twice")
    }

    func testEveryFileIsMapped() throws {
        let paths = try mapped()
        // A line for all sources would say nothing.
        XCTAssertFalse(paths.contains("Sources/"))
        var count = 0
        for folder in ["Sources", "launch", "cluster", "Tests", "docs", ".ci"] {
            let url = Documents.root.appendingPathComponent(folder)
            for case let file as URL in FileManager.default.enumerator(
                at: url, includingPropertiesForKeys: [.isDirectoryKey]) ?? .init()
            {
                guard try file.resourceValues(forKeys: [.isDirectoryKey]).isDirectory != true else { continue }
                let path = folder + file.path.dropFirst(url.path.count)
                if path.contains("/__pycache__/") { continue }
                count += 1
                XCTAssertTrue(
                    paths.contains { $0 == path || ($0.hasSuffix("/") && path.hasPrefix($0)) },
                    "\(path) is not in the file map of README.md; add a line for it or its folder")
            }
        }
        XCTAssertGreaterThan(count, 150)
    }

    func testEveryLinkLeadsSomewhere() throws {
        var count = 0
        for document in try Documents.all() {
            let text = try Documents.text(document)
            for match in text.matches(of: #/\]\(([^)\s]+)\)/#) where !match.1.hasPrefix("http") {
                let target = match.1.split(separator: "#")[0]
                let folder = document.hasPrefix("docs/") ? "docs/" : ""
                count += 1
                XCTAssertTrue(Documents.exists(folder + target), "\(document): the link to \(match.1) leads nowhere")
            }
        }
        XCTAssertGreaterThan(count, 10)
    }

    func testEveryGuideIsLinkedFromTheReadme() throws {
        let readme = try Documents.text("README.md")
        for document in try Documents.all().dropFirst() {
            XCTAssertTrue(readme.contains("](\(document))"), "README.md does not link to \(document)")
        }
    }
}
