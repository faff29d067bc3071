import Foundation
import XCTest

/// Help, and arguments that make no sense: exit code 2.
final class ArgumentTests: CommandTestCase {
    func testHelpTeaches() throws {
        let outcome = try graft("--help")
        XCTAssertEqual(outcome.code, 0)
        XCTAssertEqual(outcome.errors, "")
        for text in [
            "OVERVIEW: Fine-tune pre-trained networks on a cluster of plain CPU nodes.",
            "  launch/mpirun -np 2 graft train recipe.yaml      train on two ranks\n",
            "Exit codes: 0 done, 2 arguments or recipe, 3 data or weights, 4 diverged,\n",
        ] {
            XCTAssertTrue(outcome.output.contains(text), "no \"\(text)\" in:\n\(outcome.output)")
        }
    }

    func testEveryCommandHasExamples() throws {
        let commands = [
            ["train"], ["evaluate"], ["predict"], ["generate"], ["convert"], ["inspect"], ["pack"], ["bench", "step"],
            ["bench", "io"],
        ]
        for command in commands {
            // So wide that the parser breaks no line itself.
            let outcome = try graft(command + ["--help"], environment: ["COLUMNS": "500"])
            XCTAssertEqual(outcome.code, 0)
            XCTAssertTrue(outcome.output.contains("\n  graft \(command.joined(separator: " ")) "), outcome.output)
            let overview = outcome.output.components(separatedBy: "\nUSAGE:")[0]
            let tooLong = overview.components(separatedBy: "\n").filter { $0.count > 80 }
            XCTAssertEqual(tooLong, [], "\(command)")
        }
    }

    func testUnknownCommand() throws {
        assertFails(
            try graft("evalute"), code: 2, "graft: there is no command \"evalute\"; did you mean evaluate?")
    }

    func testUnknownOptionAndMissingArgument() throws {
        let unknown = try graft("evaluate", "--weights", "w.h5", "--data", "d", "--bach", "3")
        XCTAssertEqual(unknown.code, 2)
        let message = "graft: Unknown option '--bach'. Did you mean '--batch'?"
        XCTAssertTrue(unknown.errors.hasPrefix(message), unknown.errors)
        let missing = try graft("evaluate", "--weights", "w.h5")
        XCTAssertEqual(missing.code, 2)
        XCTAssertTrue(missing.errors.hasPrefix("graft: Missing expected argument '--data <data>'"), missing.errors)
    }

    func testImpossibleNumbers() throws {
        let batch = try graft("evaluate", "--weights", "w", "--data", "d", "--batch", "0")
        XCTAssertEqual(batch.code, 2)
        XCTAssertTrue(batch.errors.hasPrefix("graft: --batch 0 is not possible; give 1 or more\n"), batch.errors)
        let steps = try graft("bench", "step", "--architecture", "resnet20", "--steps", "0")
        XCTAssertEqual(steps.code, 2)
        XCTAssertTrue(steps.errors.hasPrefix("graft: --steps 0 is not possible; give 1 or more\n"), steps.errors)
    }

    func testUnknownArchitectureNamesTheNearest() throws {
        assertFails(
            try graft("bench", "step", "--architecture", "resnet51"), code: 2,
            "graft: architecture \"resnet51\" is not known; did you mean resnet50, resnet56, resnet101?")
    }

    func testOutputOfUnknownFormat() throws {
        try write(Data([1, 2, 3]), "in.h5")
        assertFails(
            try graft("convert", "in.h5", "out.pth"), code: 2,
            "graft: out.pth: the suffix says what is written: .h5 for Graft HDF5, .weights.h5 for Keras 3, .safetensors; "
                + "or say it with --format")
        assertFails(
            try graft("convert", "in.h5", "in.h5"), code: 2,
            "graft: in.h5: cannot be both read and written; give another output")
    }
}
