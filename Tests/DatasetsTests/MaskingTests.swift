import Datasets
import Tensors
import XCTest

/// What is masked of running text.
final class MaskingTests: XCTestCase {
    private func tokenizer() throws -> Tokenizer {
        try Tokenizer(file: Locations.reference.appendingPathComponent("tokenizers/uncased.json").path)
    }

    private func loader(
        _ tokens: [Int32], length: Int, seed: UInt64 = 0, offsets: RunningText.Offsets = .sequential
    ) throws -> BatchLoader {
        let input = TextInput(tokenizer: try tokenizer(), length: length, labels: .maskedTokens)
        let text = try RunningText(
            tokens, source: "t", length: input.blockLength, overlap: input.blockOverlap, offsets: offsets)
        return BatchLoader(dataset: text, input: .texts(input), seed: seed)
    }

    private func batch(_ loader: BatchLoader, epoch: Int = 0, _ indices: [Int]) throws -> Batch {
        try loader.load(BatchRequest(epoch: epoch, step: 0, indices: indices))
    }

    /// Every token stands in one block, between [CLS] and [SEP], and what was chosen is its label.
    func testBlocksHoldEveryTokenOnce() throws {
        for count in [1, 5, 6, 7, 13] {
            let tokens = (0..<Int32(count)).map { 100 + $0 }
            let loader = try loader(tokens, length: 8)
            XCTAssertEqual(loader.dataset.count, (count + 5) / 6)
            let batch = try batch(loader, Array(0..<loader.dataset.count))
            let (shown, labels) = (batch.input.indices, batch.labels.indices)
            let original = zip(shown, labels).map { $1 == Batch.ignoredLabel ? $0 : $1 }
            XCTAssertEqual(original.filter { $0 > 4 }, tokens, "\(count)")
            XCTAssertEqual(original.filter { $0 == 2 }.count, loader.dataset.count)
            XCTAssertEqual(batch.labels.shape, batch.input.shape)
        }
        XCTAssertThrowsError(try loader([], length: 8))
    }

    func testPartsThatAreMaskedRandomAndKept() throws {
        // Special tokens among the others.
        let tokens = (0..<200_000).map { (number: Int) -> Int32 in
            Int32(number % 100 < 5 ? number % 100 : 5 + number % 1000)
        }
        let batch = try batch(try loader(tokens, length: 102), Array(0..<2_000))
        let (shown, labels) = (batch.input.indices, batch.labels.indices)
        var counts = (chosen: 0, masked: 0, kept: 0, ordinary: 0)
        for (token, label) in zip(shown, labels) {
            counts.ordinary += label == Batch.ignoredLabel && token < 5 ? 0 : 1
            guard label != Batch.ignoredLabel else { continue }
            XCTAssertGreaterThan(label, 4, "a special token was chosen")
            counts.chosen += 1
            if token == 4 { counts.masked += 1 }
            if token == label { counts.kept += 1 }
        }
        XCTAssertEqual(Double(counts.chosen) / Double(counts.ordinary), 0.15, accuracy: 0.003)
        XCTAssertEqual(Double(counts.masked) / Double(counts.chosen), 0.8, accuracy: 0.01)
        XCTAssertEqual(Double(counts.kept) / Double(counts.chosen), 0.1, accuracy: 0.008)
    }

    /// Seed, epoch and sample alone say what is masked, whatever else is in the batch.
    func testTheChoiceIsKeyed() throws {
        let tokens = (0..<3_000).map { Int32(5 + $0 % 1000) }
        for offsets in RunningText.Offsets.allCases {
            let loader = try loader(tokens, length: 42, seed: 3, offsets: offsets)
            let whole = try batch(loader, epoch: 1, Array(0..<8))
            let part = try batch(loader, epoch: 1, [5, 2])
            XCTAssertEqual(part.input.indices.prefix(42), whole.input.indices[5 * 42..<6 * 42])
            XCTAssertEqual(part.labels.indices.suffix(42), whole.labels.indices[2 * 42..<3 * 42])
            XCTAssertNotEqual(try batch(loader, epoch: 2, [5]).labels.indices, Array(part.labels.indices.prefix(42)))
            XCTAssertNotEqual(
                try batch(self.loader(tokens, length: 42, seed: 4, offsets: offsets), epoch: 1, [5]).labels.indices,
                Array(part.labels.indices.prefix(42)))
        }
    }

    func testBlocksBeginEverywhere() throws {
        let loader = try loader((0..<103).map { 100 + $0 }, length: 12, offsets: .random)
        XCTAssertEqual(loader.dataset.count, 11)
        var ends: Set<Int32> = []
        for epoch in 0..<300 {
            let batch = try batch(loader, epoch: epoch, [0, 10])
            XCTAssertEqual(batch.input.shape, [2, 12])
            let (shown, labels) = (batch.input.indices, batch.labels.indices)
            ends.insert(labels[1] == Batch.ignoredLabel ? shown[1] : labels[1])
            ends.insert(labels[22] == Batch.ignoredLabel ? shown[22] : labels[22])
        }
        XCTAssertEqual(ends.min(), 100)
        XCTAssertEqual(ends.max(), 202)
    }

    func testATokenizerWithoutAMaskIsRefused() throws {
        let input = TextInput(tokenizer: try Tokenizer(named: "bytes"), length: 8, labels: .maskedTokens)
        let text = try RunningText([1, 2, 3], source: "t", length: 8, overlap: 0, offsets: .sequential)
        XCTAssertEqual(
            message(
                try BatchLoader(dataset: text, input: .texts(input))
                    .load(BatchRequest(epoch: 0, step: 0, indices: [0]))),
            "tokenizer: added_tokens: no [MASK] is not supported; a masked language model wants a tokenizer that has it"
        )
    }
}
