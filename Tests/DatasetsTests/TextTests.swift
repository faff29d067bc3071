import Archives
import Datasets
import Tensors
import XCTest

/// Readers of texts, and what becomes of them in batches.
final class TextTests: XCTestCase {
    private var folder = ""

    override func setUpWithError() throws { folder = try scratchFolder(self).path }

    private func write(_ text: String, _ name: String) throws -> String {
        let path = "\(folder)/\(name)"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    private func texts(_ dataset: any Dataset) throws -> [SampleText] {
        try dataset.labels.indices.map {
            guard case .text(let text) = try dataset.storedSample(at: $0) else { return SampleText("not a text") }
            return text
        }
    }

    // MARK: Tables

    func testTwoColumnsAreTextAndLabel() throws {
        let path = try write("good film\tpos\r\n\r\n\"so\" bad\tneg\nbad, really\tneg", "train.tsv")
        let data = try LabelledTexts(at: path)
        XCTAssertEqual(data.classNames, ["neg", "pos"])
        XCTAssertEqual(data.labels, [1, 0, 0])
        XCTAssertEqual(try texts(data), ["good film", "\"so\" bad", "bad, really"].map { SampleText($0) })
        XCTAssertEqual(data.name(at: 1), "\(path):3")
    }

    func testHeadersNamesAndPairs() throws {
        let path = try write("id\tsentence1\tsentence2\tlabel\n0\ta\tb\t10\n1\tc\t\t9\n", "mrpc.tsv")
        let data = try LabelledTexts(at: path)
        XCTAssertEqual(data.classNames, ["9", "10"], "numbers in numeric order")
        XCTAssertEqual(data.labels, [1, 0])
        XCTAssertEqual(try texts(data), [SampleText("a", pair: "b"), SampleText("c", pair: "")])
        let other = try LabelledTexts(at: path, columns: TextColumns(text: "sentence2", pair: "2", label: "id"))
        XCTAssertEqual(try texts(other), [SampleText("b", pair: "a"), SampleText("", pair: "c")])
        XCTAssertEqual(other.classNames, ["0", "1"])
        XCTAssertEqual(
            message(try LabelledTexts(at: path, columns: TextColumns(label: "lable"))),
            "\(path): no column 'lable' (data.text.columns.label); did you mean 'label'?")
        let plain = try write("0\ta\tx\n1\tb\ty\n", "plain.tsv")
        XCTAssertEqual(
            message(try LabelledTexts(at: plain)),
            "\(plain): 3 columns and no header that names them: say which is which with data.text.columns "
                + "(--text-column, --label-column), by number from 1")
        let numbered = try LabelledTexts(at: plain, columns: TextColumns(text: "2", label: "3"))
        XCTAssertEqual(try texts(numbered), [SampleText("a"), SampleText("b")])
        XCTAssertEqual(numbered.classNames, ["x", "y"])
    }

    func testCommasAndQuotes() throws {
        let path = try write(
            "text,label\n\"one, \"\"two\"\"\nthree\",1\r\nfour\u{301},0\n\n,\u{301}0\n", "data.csv")
        let data = try LabelledTexts(at: path)
        XCTAssertEqual(
            try texts(data), [SampleText("one, \"two\"\nthree"), SampleText("four\u{301}"), SampleText("")])
        XCTAssertEqual(data.name(at: 1), "\(path):4")
        let open = try write("text,label\na,1\n\"b,0\n", "open.csv")
        XCTAssertEqual(
            message(try LabelledTexts(at: open)), "\(open):3: column 1: a quote that is never closed")
        let behind = try write("text,label\n\"a\"b,1\n", "behind.csv")
        XCTAssertEqual(
            message(try LabelledTexts(at: behind)),
            "\(behind):2: column 1: 'b' behind a closing quote; write quotes within quotes twice")
    }

    func testJSONLines() throws {
        let path = try write(
            "{\"text\": \"a\\tb\", \"label\": 1}\n\n{\"label\": 0, \"text\": \"c\", \"more\": null}\n", "data.jsonl")
        let data = try LabelledTexts(at: path)
        XCTAssertEqual(data.labels, [1, 0])
        XCTAssertEqual(try texts(data), [SampleText("a\tb"), SampleText("c")])
        let broken = try write("{\"text\": \"a\", \"label\": 1}\n[1]\n", "broken.jsonl")
        XCTAssertEqual(
            message(try LabelledTexts(at: broken)), "\(broken):2: not a JSON object; one per line is expected")
    }

    func testWhatIsWrongIsNamedByLineAndColumn() throws {
        let short = try write("a\t1\nb\n", "short.tsv")
        XCTAssertEqual(message(try LabelledTexts(at: short)), "\(short):2: 1 column, and the label is in column 2")
        let empty = try write("a\t1\nb\t\n", "empty.tsv")
        XCTAssertEqual(message(try LabelledTexts(at: empty)), "\(empty):2: column 2: the label is empty")
        let latin = "\(folder)/latin.tsv"
        try Data([0x61, 0x09, 0x31, 0x0A, 0x62, 0xE9, 0x09, 0x30]).write(to: URL(fileURLWithPath: latin))
        XCTAssertEqual(
            message(try LabelledTexts(at: latin)), "\(latin):2: byte 2 of the line is not UTF-8; convert the file")
        XCTAssertTrue(message(try LabelledTexts(at: "\(folder)/absent.tsv")).contains("cannot be read"))
    }

    /// Files that would be learned from in silence, otherwise than they are meant.
    func testWhatIsProbablyAMistake() throws {
        func refusal(_ text: String, _ name: String, _ columns: TextColumns = TextColumns()) throws -> String {
            let path = try write(text, name)
            return message(try LabelledTexts(at: path, columns: columns)).replacingOccurrences(of: path, with: "FILE")
        }
        let divides = "where texts hold what divides columns, write a .csv file with such texts in quotes"
        XCTAssertEqual(
            try refusal("text,label\ngood,1\nbad, really,0\n", "a.csv"),
            "FILE:3: column 3: more than the 2 columns of the first line; \(divides)")
        XCTAssertEqual(
            try refusal("good\t1\nbad\treally\t0\n", "b.tsv"),
            "FILE:2: column 3: more than the 2 columns of the first line; \(divides)")
        XCTAssertEqual(
            try LabelledTexts(at: write("good\t1\t\nbad\t0\t\t\n", "c.tsv"), columns: .init(text: "1", label: "2"))
                .count, 2)
        XCTAssertEqual(
            try refusal("tweet\tsentiment\ngood\t1\nbad\t0\n", "d.tsv"),
            "FILE:1: column 2: label 'sentiment' where all others are numbers; if the line is a header, name its columns: "
                + "data.text.columns (--text-column, --label-column)")
        XCTAssertEqual(
            try refusal("\"text\"\t\"label\"\n\"good\"\t\"1\"\n", "e.tsv"),
            "FILE:1: column 1: \"text\" in quotes, which are part of the text where tabs divide; remove them, or write a "
                + ".csv file")
        XCTAssertEqual(
            try refusal("question\tsentence\tlabel\na\tb\t1\n", "f.tsv"),
            "FILE:1: the text may be 'question' or 'sentence'; choose with data.text.columns.text, or make pairs of them "
                + "with data.text.columns.pair too")
        XCTAssertEqual(
            try refusal("text\tlabel\na\t1\n", "g.tsv", TextColumns(label: "text")),
            "data.text.columns.label: text is not possible; that column holds texts already; give another")
        XCTAssertEqual(try refusal("a\t1\nb\t \n", "h.tsv"), "FILE:2: column 2: the label is empty")
        XCTAssertEqual(
            try refusal("text\na\n", "o.tsv"),
            "FILE: one column; expected a text and its label, divided by a tab, or by a comma in a .csv file")
        XCTAssertEqual(
            try refusal("text\trating\na\t1\n", "p.tsv"),
            "FILE: none of the columns text, rating is known to hold the label; say which does with "
                + "data.text.columns.label (--label-column)")
        XCTAssertEqual(
            try refusal("a\t1\nb\t0\n", "q.tsv", TextColumns(label: "lable")),
            "FILE: no column 'lable' (data.text.columns.label); it has a, 1")
        XCTAssertEqual(
            try refusal(" \t1\n\u{A0}\t0\n", "r.tsv"),
            "FILE:1: column 1: no line has a text here; name the column that has: data.text.columns.text")
        let empty = "FILE: no samples in it; the file is empty, or has a header alone"
        XCTAssertEqual(try refusal("", "i.tsv"), empty)
        XCTAssertEqual(try refusal("\n\r\n", "i.csv"), empty)
        XCTAssertEqual(try refusal("text\tlabel\n", "j.tsv"), empty)
        XCTAssertEqual(
            try refusal("{\"text\":[\"a\"],\"label\":1}\n", "k.jsonl"),
            "FILE:1: no 'text', or one that is no string or number")
        XCTAssertEqual(
            try refusal("{\"text\":\"a\",\"label\":1}\n{\"text\":\"a\",\"label\":null}", "l.jsonl"),
            "FILE:2: no 'label', or one that is no string or number")
        XCTAssertEqual(
            try refusal((0...1_000).map { "{\"\($0)\":1}" }.joined(separator: "\n"), "m.jsonl"),
            "FILE:1001: more than 1000 different names so far; give all objects the same ones")
        XCTAssertEqual(
            try refusal("{\"text\":" + String(repeating: "[", count: 100_000), "n.jsonl"),
            "FILE:1: not a JSON object; one per line is expected")
        let binary = "\(folder)/binary.tsv"
        try Data([0x80, 0, 0x0A]).write(to: URL(fileURLWithPath: binary))
        XCTAssertEqual(message(try LabelledTexts(at: binary)), "\(binary):1: not text; expected a file in UTF-8")
        let wide = "\(folder)/wide.tsv"
        try Data([0xFE, 0xFF, 0, 0x61, 0, 0x09, 0, 0x31]).write(to: URL(fileURLWithPath: wide))
        XCTAssertEqual(
            message(try LabelledTexts(at: wide)),
            "\(wide):1: UTF-16; convert the file: iconv -f UTF-16 -t UTF-8 FILE > NEW")
    }

    func testSelectionChoosesTexts() throws {
        let rows = (0..<40).map { "text \($0)\t\($0 % 4 == 0 ? "a" : "b")" }.joined(separator: "\n")
        let data = try LabelledTexts(at: write(rows, "many.tsv"))
        let some = try data.selecting(Selection(fraction: 0.1, seed: 3))
        XCTAssertEqual(some.classCounts, [1, 3])
        XCTAssertEqual(try data.selecting(Selection(firstPerClass: 2)).classCounts, [2, 2])
        XCTAssertNotEqual(try some.fingerprint(), try data.fingerprint())
    }

    func testRealSentences() throws {
        let data = try LabelledTexts(at: Locations.real("sst2").path + "/train.tsv")
        XCTAssertEqual(data.count, 6_920)
        XCTAssertEqual(data.classNames, ["0", "1"])
        XCTAssertEqual(data.classCounts, [3_310, 3_610])
    }

    // MARK: Batches

    private func wordPiece() throws -> Tokenizer {
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "very"]
        return try Tokenizer(file: write(words.joined(separator: "\n") + "\n", "vocab.txt"))
    }

    func testBatchesAreFilledUpToTheirLongest() throws {
        let rows = "good\tx\tfilm\nvery very good film\ty\t\nbad\tx\tvery very very very film"
        let columns = TextColumns(text: "1", pair: "3", label: "2")
        let path = try write(rows, "pairs.tsv")
        let plain = try LabelledTexts(at: path, columns: TextColumns(text: "1", label: "2"))
        let input = TextInput(tokenizer: try wordPiece(), length: 6)
        func batch(_ data: any Dataset, _ indices: [Int]) throws -> Batch {
            try BatchLoader(dataset: data, input: .texts(input))
                .load(BatchRequest(epoch: 0, step: 0, indices: indices))
        }
        let one = try batch(plain, [0, 2])
        XCTAssertEqual(one.input.shape, [2, 3])
        XCTAssertEqual(one.input.indices, [2, 5, 3, 2, 6, 3])
        XCTAssertEqual(one.labels.indices, [0, 0])
        XCTAssertNil(one["segments"], "one segment only")
        let two = try batch(plain, [0, 1])
        XCTAssertEqual(two.input.indices, [2, 5, 3, 0, 0, 0, 2, 8, 8, 5, 7, 3])
        XCTAssertEqual(two.labels.indices, [0, 1])

        let pair = try batch(LabelledTexts(at: path, columns: columns), [0, 2])
        XCTAssertEqual(pair.input.indices, [2, 5, 3, 7, 3, 0, 2, 6, 3, 8, 8, 3], "cut to six")
        XCTAssertEqual(pair["segments"]?.indices, [0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1])

        let longer = pair.padded(to: 7, with: 0)
        XCTAssertEqual(longer.input.shape, [2, 7])
        XCTAssertEqual(longer.input.indices, [2, 5, 3, 7, 3, 0, 0, 2, 6, 3, 8, 8, 3, 0])
        XCTAssertEqual(longer["segments"]?.shape, [2, 7])
        XCTAssertEqual(longer.labels.indices, [0, 0])

        let none = try batch(plain, [])
        XCTAssertEqual(none.input.shape, [0, 1])
        XCTAssertEqual(none.labels.shape, [0])
    }

    func testImagesAndTextsAreNotMixedUp() throws {
        let input = TextInput(tokenizer: try wordPiece(), length: 6)
        let images = ToyImages(counts: [2, 2])
        XCTAssertTrue(
            message(
                try BatchLoader(dataset: images, input: .texts(input))
                    .load(BatchRequest(epoch: 0, step: 0, indices: [0]))
            ).contains("toy/0.png: an image where a network over text wants a text"))
        let texts = try LabelledTexts(at: write("good\tx", "t.tsv"))
        XCTAssertTrue(
            message(
                try BatchLoader(dataset: texts, transform: Transform(channels: 3, steps: []))
                    .load(BatchRequest(epoch: 0, step: 0, indices: [0]))
            ).contains("not a JPEG or PNG image"))
    }

    // MARK: Words with tags

    func testTaggedSentences() throws {
        let path = try write(
            "-DOCSTART- O\n\nJane NN B-person\nDoe\tI-person\nran O\n\t\n\nParis B-place\n", "tags.conll")
        let data = try TaggedSentences(at: path)
        XCTAssertEqual(data.classNames, ["O", "B-person", "B-place", "I-person"])
        XCTAssertEqual(data.labels, [0, 0])
        XCTAssertEqual(try data.storedSample(at: 0), .words(["Jane", "Doe", "ran"], labels: [1, 3, 0]))
        XCTAssertEqual(data.name(at: 1), "\(path):8")
        let half = try data.selecting(Selection(firstPerClass: 1))
        XCTAssertEqual(half.count, 1)
        XCTAssertEqual(half.classNames, data.classNames)
        let names = ["I-person", "O", "B-place", "x", "B-person"]
        let relabelled = try data.relabelled(for: names, outputs: 5, weights: "w")
        XCTAssertEqual(try relabelled.storedSample(at: 0), .words(["Jane", "Doe", "ran"], labels: [4, 0, 1]))
        XCTAssertEqual(relabelled.labels, [0, 0])
        let accents = try TaggedSentences(at: write("\u{301} O\r\n\r\na \u{301}B\r\n", "accents.conll"))
        XCTAssertEqual(accents.classNames, ["O", "\u{301}B"])
        XCTAssertEqual(try accents.storedSample(at: 1), .words(["a"], labels: [1]))
        XCTAssertThrowsError(try TaggedSentences(at: write("\n \n", "empty.conll")))
        let broken = try write("a\tO\nb\n", "broken.conll")
        XCTAssertEqual(
            message(try TaggedSentences(at: broken)), "\(broken):2: one column where a word and its tag are expected")
        let wnut = try TaggedSentences(at: Locations.real("wnut17").path + "/emerging.dev.conll")
        XCTAssertEqual(wnut.count, 1_009)
        XCTAssertEqual(wnut.classNames.count, 13)
    }

    /// The first token of a word has its label; further ones, special ones and filling have none.
    func testLabelsOfWords() throws {
        let path = try write("very\tO\ngoodfilm\tB\n\nbad\tO\nbad\tB\n", "tags.conll")
        let vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "##film", "very", "bad"]
        let tokenizer = try Tokenizer(file: write(vocabulary.joined(separator: "\n") + "\n", "vocab.txt"))
        func batch(_ length: Int) throws -> Batch {
            try BatchLoader(
                dataset: TaggedSentences(at: path),
                input: .texts(TextInput(tokenizer: tokenizer, length: length, labels: .words))
            ).load(BatchRequest(epoch: 0, step: 0, indices: [0, 1]))
        }
        let (none, whole) = (Batch.ignoredLabel, try batch(8))
        XCTAssertEqual(whole.input.indices, [2, 7, 5, 6, 3, 2, 8, 8, 3, 0])
        XCTAssertEqual(whole.labels.indices, [none, 0, 1, none, none, none, 0, 1, none, none])
        XCTAssertEqual(try batch(3).labels.indices, [none, 0, none, none, 0, none])
    }

    // MARK: Running text

    func testBytesAreTokens() throws {
        let tokenizer = try Tokenizer(named: "bytes")
        XCTAssertEqual(tokenizer.vocabularyCount, 256)
        let text = "Häns\n\0 \t€ 👍 'll  x"
        XCTAssertEqual(
            try tokenizer.encode(text, addingSpecialTokens: false).tokens, text.utf8.map { Int32($0) })
        XCTAssertEqual(tokenizer.decode(text.utf8.map { Int32($0) }), text)
    }

    func testBlocksInOrderPredictEveryTokenOnce() throws {
        for count in [2, 5, 6, 7, 13] {
            let text = try RunningText((0..<Int32(count)).map { $0 }, source: "t", length: 5, offsets: .sequential)
            let input = TextInput(tokenizer: try Tokenizer(named: "bytes"), length: 5, labels: .nextTokens)
            let batch = try BatchLoader(dataset: text, input: .texts(input))
                .load(BatchRequest(epoch: 0, step: 0, indices: Array(0..<text.count)))
            let (tokens, labels) = (batch.input.indices, batch.labels.indices)
            XCTAssertEqual(labels.filter { $0 != Batch.ignoredLabel }, (1..<Int32(count)).map { $0 }, "\(count)")
            for (token, label) in zip(tokens, labels) where label != Batch.ignoredLabel {
                XCTAssertEqual(label, token + 1)
            }
        }
        XCTAssertThrowsError(try RunningText([1], source: "t", length: 5, offsets: .random))
    }

    /// Over many epochs blocks begin everywhere; an epoch and a sample always give the same one.
    func testBlocksAtRandomPlaces() throws {
        let text = try RunningText((0..<103).map { $0 }, source: "t", length: 10, offsets: .random)
        XCTAssertEqual(text.count, 11)
        let input = TextInput(tokenizer: try Tokenizer(named: "bytes"), length: 10, labels: .nextTokens)
        let loader = BatchLoader(dataset: text, input: .texts(input), seed: 7)
        var starts: [Int32: Int] = [:]
        for epoch in 0..<300 {
            let batch = try loader.load(BatchRequest(epoch: epoch, step: 0, indices: Array(0..<11)))
            XCTAssertEqual(batch.input.shape, [11, 10])
            for row in 0..<11 {
                let first = batch.input.indices[row * 10]
                starts[first, default: 0] += 1
                XCTAssertEqual(batch.labels.indices[row * 10 + 9], first + 10)
            }
            guard epoch == 3 else { continue }
            let again = try loader.load(BatchRequest(epoch: 3, step: 9, indices: [4, 2]))
            XCTAssertEqual(again.input.indices.prefix(10), batch.input.indices[40..<50])
        }
        XCTAssertEqual(starts.keys.sorted(), (0...92).map { $0 })
        XCTAssertLessThan(starts.values.max() ?? 0, 80)
        XCTAssertGreaterThan(starts.values.min() ?? 0, 10)
    }

    func testPartsOfAText() throws {
        let path = try write(String(repeating: "ä", count: 10) + String(repeating: "b", count: 10), "t.txt")
        let bytes = try Tokenizer(named: "bytes")
        func tokens(_ part: Range<Double>) throws -> Int {
            try RunningText(at: path, part: part, tokenizer: bytes, length: 4, offsets: .sequential).tokens.count
        }
        XCTAssertEqual(try tokens(0..<0.75), 25)
        XCTAssertEqual(try tokens(0.75..<1), 5)
        XCTAssertEqual(try tokens(0..<1), 30)
    }

    // MARK: Shards

    func testTextsTravel() throws {
        let path = try write("good\tfilm\tx\nbad\t\ty", "pairs.tsv")
        let pairs = try LabelledTexts(at: path, columns: TextColumns(text: "1", pair: "2", label: "3"))
        let running = try RunningText((0..<20).map { $0 }, source: "t", length: 4, offsets: .random)
        let tags = try TaggedSentences(at: write("a\tO\n\nb\tO\nc\tB\n", "t.conll"))
        for data in [pairs as any Dataset, running, tags, try LabelledTexts(at: write("ä\tx\nb\ty", "one.tsv"))] {
            for chunk in [5, 1 << 20] {
                var encoder = try SampleShardEncoder(data, indices: [1], chunkBytes: chunk)
                let received = ReceivedSamples()
                while let bytes = try encoder.next() { try received.append(bytes) }
                try received.finish()
                XCTAssertEqual(try received.storedSample(at: 1), try data.storedSample(at: 1))
                XCTAssertEqual(received.classNames, data.classNames)
                XCTAssertEqual(received.labels, data.labels)
                XCTAssertEqual(received.fingerprint(), try data.fingerprint())
            }
        }
    }
}
