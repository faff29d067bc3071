import Datasets
import XCTest

final class SampleShardTests: XCTestCase {
    private func send(_ data: any Dataset, _ indices: [Int], chunk: Int, to received: ReceivedSamples) throws {
        var encoder = try SampleShardEncoder(data, indices: indices, chunkBytes: chunk)
        while let bytes = try encoder.next() {
            XCTAssertLessThanOrEqual(bytes.count, chunk)
            try received.append(bytes)
        }
        try received.finish()
    }

    func testSentSamplesAreTheSameOnTheOtherSide() throws {
        let toy = ToyImages(counts: [4, 5])
        for chunk in [7, 64, 1 << 20] {
            let received = ReceivedSamples()
            try send(toy, [8, 2, 5], chunk: chunk, to: received)
            XCTAssertEqual(received.held, [2, 5, 8])
            XCTAssertEqual(received.labels, toy.labels)
            XCTAssertEqual(received.classNames, toy.classNames)
            XCTAssertEqual(received.fingerprint(), try toy.fingerprint())
            for index in [2, 5, 8] {
                XCTAssertEqual(try received.image(at: index), try toy.image(at: index))
                XCTAssertEqual(received.name(at: index), toy.name(at: index))
            }
            XCTAssertEqual(message(try received.image(at: 0)), "sample 0 was not sent to this rank")
            try send(toy, [0], chunk: chunk, to: received)
            XCTAssertEqual(received.held, [0, 2, 5, 8])
            received.removeAll { $0 != 0 }
            XCTAssertEqual(received.held, [0])
        }
    }

    func testFilesTravelAsTheyAre() throws {
        let digits = try openImageDataset(at: Locations.real("sign-language-digits").path)
        let received = ReceivedSamples()
        try send(digits, [0, 500, 999], chunk: 4096, to: received)
        XCTAssertEqual(try received.storedSample(at: 500), try digits.storedSample(at: 500))
        XCTAssertEqual(received.label(at: 999), 9)
    }

    func testDamagedShardsAreRefused() throws {
        let toy = ToyImages(counts: [4, 5])
        var encoder = try SampleShardEncoder(toy, indices: [1, 2])
        let bytes = try XCTUnwrap(try encoder.next())
        let cut = ReceivedSamples()
        try cut.append(Array(bytes.dropLast(3)))
        XCTAssertTrue(message(try cut.finish()).contains("1 samples missing"))
        XCTAssertTrue(message(try ReceivedSamples().append([1, 2, 3])).contains("does not begin as one"))
        XCTAssertTrue(message(try ReceivedSamples().append(bytes + [0])).contains("more bytes than announced"))
        var generator = TestGenerator(3)
        for _ in 0..<500 {
            var damaged = bytes
            for _ in 0..<3 {
                damaged[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
                    in: 0...255, using: &generator)
            }
            // Whatever happens, it is an error or a value, never a trap.
            _ = try? ReceivedSamples().append(damaged)
        }
    }
}
