import Foundation
import XCTest

/// `graft bench io` on photographs, and with options that make no sense.
final class BenchIOTests: CommandTestCase {
    func testItLoadsWhatItIsAskedTo() throws {
        let photographs = try data("sign-language-digits")
        let base = ["bench", "io", "--data", photographs, "--size", "96", "--images", "100", "--batch", "8"]
        for options in [[], ["--augment"], ["--augment", "--jitter", "--threads", "2"]] {
            let answer = try object(graft(base + ["--json"] + options))
            let threads = options.contains("--threads") ? 2.0 : try XCTUnwrap(answer["threads"] as? Double)
            let rate = try XCTUnwrap(answer["images_per_second"] as? Double)
            let seconds = try XCTUnwrap(answer["seconds"] as? Double)
            XCTAssertEqual(answer["images"] as? Int, 104)
            XCTAssertEqual(rate, 104 / seconds, accuracy: 1e-6 * rate)
            XCTAssertEqual(
                try XCTUnwrap(answer["images_per_second_per_thread"] as? Double), rate / threads, accuracy: 1e-6 * rate)
            let loading = try XCTUnwrap(answer["loading_seconds"] as? [String: Double])
            XCTAssertEqual(loading.keys.sorted(), ["augment", "decode", "normalize", "read", "resize"])
            XCTAssertGreaterThan(loading["decode"] ?? 0, 0)
            // Every thread loads or waits: no more work than there is time.
            XCTAssertLessThan(loading.values.reduce(0, +), threads * (seconds + 1))
        }
        let text = try graft(base)
        XCTAssertEqual(text.code, 0, text.errors)
        for word in ["resize, centre crop, 96×96", "images per second", "decode", "normalize"] {
            XCTAssertTrue(text.output.contains(word), text.output)
        }
    }

    func testTimeEndsIt() throws {
        let answer = try object(
            graft(
                "bench", "io", "--data", try data("sign-language-digits"), "--size", "32", "--seconds", "0.2", "--json")
        )
        XCTAssertGreaterThanOrEqual(try XCTUnwrap(answer["seconds"] as? Double), 0.2)
    }

    func testImpossibleOptions() throws {
        func assertRefused(_ options: [String], _ message: String) throws {
            let outcome = try graft(["bench", "io", "--data", "nowhere"] + options)
            XCTAssertEqual(outcome.code, 2, outcome.errors)
            XCTAssertTrue(outcome.errors.hasPrefix("graft: \(message)"), outcome.errors)
            XCTAssertEqual(outcome.output, "")
        }
        for (option, most) in [
            ("--size", 57344), ("--batch", 100000), ("--threads", 1024), ("--images", 1_000_000_000),
        ] {
            for number in ["0", "9223372036854775807"] {
                try assertRefused([option, number], "\(option) \(number) is not possible; give 1 to \(most)")
            }
        }
        try assertRefused(["--seconds", "0"], "--seconds 0.0 is not possible; give a number above 0")
        try assertRefused(["--jitter"], "--jitter is not possible alone; give --augment too")
        try assertRefused(["--size", "many"], "The value 'many' is invalid for '--size <pixels>'")
        assertFails(
            try graft("bench", "io", "--data", "nowhere"), code: 3,
            "graft: nowhere: cannot be read (No such file or directory)")
    }
}
