import Datasets
import Foundation
import XCTest

/// Tokenizers against Hugging Face's (Reference/make_tokenizers.py).
final class TokenizerTests: XCTestCase {
    func testHardTexts() throws {
        let reference = try TokenizerReference.load()
        var count = 0
        for (name, cases) in reference.cases {
            let tokenizer = try reference.tokenizer(name)
            for item in cases {
                let encoding = try item.encode(tokenizer)
                assertEqual(encoding, item.result, "\(name): \(item.summary)")
                count += 1
                if item.given == nil, item.bytes == nil, item.pair == nil {
                    let plain = try tokenizer.encode(item.text ?? "", addingSpecialTokens: false)
                    XCTAssertEqual(tokenizer.tokens(of: item.text ?? ""), plain.tokens, item.summary)
                }
                guard let decoded = item.decoded else { continue }
                XCTAssertEqual(Array(tokenizer.decode(encoding.tokens).utf8), Array(decoded[0].utf8), item.summary)
                XCTAssertEqual(
                    Array(tokenizer.decode(encoding.tokens, skippingSpecialTokens: false).utf8),
                    Array(decoded[1].utf8), item.summary)
            }
        }
        XCTAssertGreaterThan(count, 300)
        for (name, expected) in reference.digests {
            let tokenizer = try reference.tokenizer(name)
            var numbers: [Int] = []
            for item in reference.cases["uncased"] ?? [] {
                let encoding = try item.encode(tokenizer)
                numbers += encoding.tokens.map(Int.init) + encoding.segments.map(Int.init)
                numbers += encoding.offsets.flatMap { [$0.lowerBound, $0.upperBound] }
            }
            XCTAssertEqual(digest(littleEndian(numbers)), expected, name)
        }
    }

    func testTruncationAndWindows() throws {
        let reference = try TokenizerReference.load()
        for (name, cuts) in reference.cut {
            XCTAssertGreaterThan(cuts.count, 50)
            let tokenizer = try reference.tokenizer(name)
            for cut in cuts {
                let what =
                    "\(name): \(cut.text) + \(cut.pair ?? "nothing"), \(cut.truncation) \(cut.length), \(cut.stride)"
                let truncation = try XCTUnwrap(Tokenizer.Truncation(rawValue: cut.truncation))
                guard let first = cut.windows.first else {
                    XCTAssertThrowsError(
                        try tokenizer.encode(
                            cut.text, pair: cut.pair, maximumLength: cut.length, truncation: truncation),
                        what)
                    continue
                }
                assertEqual(
                    try tokenizer.encode(cut.text, pair: cut.pair, maximumLength: cut.length, truncation: truncation),
                    first, what)
                let windows = try tokenizer.windows(
                    cut.text, pair: cut.pair, maximumLength: cut.length, stride: cut.stride, truncation: truncation)
                XCTAssertEqual(windows.map(\.tokens), cut.windows.map(\.tokens), what)
                for (window, expected) in zip(windows, cut.windows) { assertEqual(window, expected, what) }
            }
        }
    }

    func testEveryScalar() throws {
        let reference = try TokenizerReference.load()
        let every = (0..<0x110000).compactMap { Unicode.Scalar($0 as UInt32) }
        for (name, expected) in reference.scalars {
            guard let tokenizer = try reference.tokenizerIfThere(name) else { continue }
            var normalized: [UInt8] = []
            for scalar in every { normalized += Array(tokenizer.normalized(String(scalar)).utf8) + [0x0A] }
            XCTAssertEqual(digest(normalized), expected.normalized, name)
            var numbers: [Int] = []
            for start in stride(from: 0, to: every.count, by: 4096) {
                let parts = every[start..<min(start + 4096, every.count)].map { "a\($0)1!\($0)" }
                let encoding = try tokenizer.encode(parts.joined(separator: " "), addingSpecialTokens: false)
                for index in encoding.tokens.indices {
                    let span = encoding.offsets[index]
                    numbers += [
                        Int(encoding.tokens[index]), span.lowerBound, span.upperBound, encoding.words[index] ?? -1,
                    ]
                }
            }
            XCTAssertEqual(digest(littleEndian(numbers)), expected.split, name)
        }
    }

    /// Every line of the texts among the real data, and every question with its passage. The tokenizers of published
    /// models take part where GRAFT_MINILM (a folder with `tokenizer.json`) and GRAFT_GPT2 (`vocab.json` and
    /// `merges.txt`) say where they are.
    func testDataSets() throws {
        _ = try Locations.real("sst2/train.tsv")
        let reference = try TokenizerReference.load()
        for (name, files) in reference.data {
            guard let tokenizer = try reference.tokenizerIfThere(name) else { continue }
            XCTAssertEqual(files.count, 14)
            for (file, expected) in files {
                let url = try Locations.real(file)
                let numbers =
                    file.hasSuffix(".json")
                    ? try SquadFile.numbers(url, tokenizer)
                    : try lines(url).flatMap { try tokenizer.encode(bytes: $0).tokens.map(Int.init) }
                XCTAssertEqual(digest(littleEndian(numbers)), expected, "\(name): \(file)")
            }
        }
    }

    /// What a token's offsets cut out of the text is what the token says.
    func testOffsetsIndexTheText() throws {
        let reference = try TokenizerReference.load()
        let parts =
            (reference.cases["uncased"] ?? []).compactMap(\.text).flatMap { $0.split(separator: " ").map(String.init) }
            + [
                "[MASK]", "<|endoftext|>", "\u{0}", "\u{301}",
            ]
        var generator = TestGenerator(7)
        for name in ["uncased", "cased", "bytes"] {
            let tokenizer = try reference.tokenizer(name)
            for _ in 0..<300 {
                let text = (0..<8).map { _ in
                    (parts.randomElement(using: &generator) ?? "")
                        + ["", " ", "\n "][Int.random(in: 0..<3, using: &generator)]
                }.joined()
                let scalars = Array(text.unicodeScalars)
                let encoding = try tokenizer.encode(text)
                var end = 0
                for index in encoding.tokens.indices {
                    let span = encoding.offsets[index]
                    guard encoding.texts[index] != nil else {
                        XCTAssertEqual(span, 0..<0)
                        continue
                    }
                    XCTAssertLessThanOrEqual(span.upperBound, scalars.count)
                    XCTAssertGreaterThanOrEqual(span.lowerBound, name == "bytes" ? end - 1 : 0)
                    XCTAssertGreaterThan(span.count, 0)
                    end = span.upperBound
                    let token = try XCTUnwrap(tokenizer.token(encoding.tokens[index]))
                    if token == "[UNK]" { continue }
                    let slice = String(String.UnicodeScalarView(scalars[span]))
                    let plain = token.hasPrefix("##") ? String(token.dropFirst(2)) : token
                    if name == "bytes" {
                        let bytes = try XCTUnwrap(tokenizer.bytes(of: encoding.tokens[index]))
                        XCTAssertTrue(contains(Array(slice.utf8), bytes), "\(token) of \(slice)")
                    } else if !token.hasPrefix("[") {
                        // A decomposed letter has several tokens, of which each is a part.
                        XCTAssertTrue(
                            contains(Array(tokenizer.normalized(slice).utf8), Array(plain.utf8)), "\(token) of \(slice)"
                        )
                    }
                }
            }
        }
    }

    func testVocabularyFilesAndWriting() throws {
        let reference = try TokenizerReference.load()
        let folder = try scratchFolder(self)
        for name in ["cased", "bytes"] {
            let files = Locations.reference.appendingPathComponent("tokenizers/\(name)")
            let tokenizer = try Tokenizer(folder: files.path)
            let written = folder.appendingPathComponent("\(name).json").path
            try tokenizer.write(to: written)
            let kept = try reference.tokenizer(name)
            for tokenizer in [tokenizer, try Tokenizer(file: written), try Tokenizer(json: kept.json())] {
                for item in reference.cases[name] ?? [] {
                    assertEqual(try item.encode(tokenizer), item.result, "\(name): \(item.summary)")
                }
                XCTAssertEqual(tokenizer.vocabularyCount, kept.vocabularyCount)
            }
        }
        let bytes = try Tokenizer(
            file: Locations.reference.appendingPathComponent("tokenizers/bytes/merges.txt").path)
        XCTAssertEqual(bytes.beginToken, bytes.id(of: "<|endoftext|>"))
        XCTAssertEqual(bytes.separatorToken, bytes.beginToken)
        XCTAssertNil(bytes.paddingToken)
        XCTAssertNil(bytes.maskToken)
        let uncased = try reference.tokenizer("uncased")
        let roles = [
            uncased.paddingToken, uncased.unknownToken, uncased.beginToken, uncased.separatorToken, uncased.maskToken,
        ]
        XCTAssertEqual(roles, [0, 1, 2, 3, 4])
        XCTAssertEqual(uncased.token(4), "[MASK]")
        XCTAssertNil(uncased.token(100_000))
        XCTAssertNil(uncased.id(of: "no such token"))
    }

    func testSettings() throws {
        let folder = try scratchFolder(self)
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nA\na\né\ne\n<s>\n"
        try Data(vocabulary.utf8).write(to: folder.appendingPathComponent("vocab.txt"))
        let settings = folder.appendingPathComponent("tokenizer_config.json")
        func words(_ text: String) throws -> [String] {
            let tokenizer = try Tokenizer(folder: folder.path)
            return try tokenizer.encode(text, addingSpecialTokens: false).tokens.compactMap(tokenizer.token)
        }
        XCTAssertEqual(try words("A a É é"), ["A", "a", "[UNK]", "é"])
        try Data(#"{"do_lower_case": true}"#.utf8).write(to: settings)
        XCTAssertEqual(try words("A a É é"), ["a", "a", "e", "e"])
        try Data(#"{"do_lower_case": true, "strip_accents": false}"#.utf8).write(to: settings)
        XCTAssertEqual(try words("A a É é"), ["a", "a", "é", "é"])
        let more =
            #"{"pad_token": {"content": "<s>"}, "added_tokens_decoder": {"10": {"content": "<new>", "special": false}}}"#
        try Data(more.utf8).write(to: settings)
        let tokenizer = try Tokenizer(folder: folder.path)
        XCTAssertEqual(tokenizer.paddingToken, 9)
        XCTAssertEqual(tokenizer.vocabularyCount, 11)
        XCTAssertEqual(try tokenizer.encode("a<new>a").tokens, [2, 6, 10, 6, 3])
    }

    /// Folders from before `added_tokens_decoder`: the tokens that transformers 5.23 finds in the same files.
    func testOldFoldersOfAddedTokens() throws {
        let folder = try scratchFolder(self)
        func write(_ text: String, _ name: String) throws {
            try Data(text.utf8).write(to: folder.appendingPathComponent(name))
        }
        try write("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nnew\n##er\n<fill>\n", "vocab.txt")
        try write(#"{"do_lower_case": true}"#, "tokenizer_config.json")
        try write(#"{"pad_token": "<fill>", "additional_special_tokens": ["<S>"]}"#, "special_tokens_map.json")
        try write(#"{"<S>": 9, "Newer": 10}"#, "added_tokens.json")
        let tokenizer = try Tokenizer(folder: folder.path)
        XCTAssertEqual(tokenizer.paddingToken, 8)
        XCTAssertEqual(tokenizer.vocabularyCount, 11)
        XCTAssertEqual(try tokenizer.encode("a <S> newer NEWER <s>").tokens, [2, 5, 9, 10, 10, 9, 3])
        XCTAssertFalse(tokenizer.isSpecial(9))
        // One that is special is taken as it is written, not in normalised text.
        try write(#"{"pad_token": "<fill>", "mask_token": "<S>"}"#, "special_tokens_map.json")
        let masking = try Tokenizer(folder: folder.path)
        XCTAssertEqual(try masking.encode("a <S> newer").tokens, [2, 5, 9, 10, 3])
        XCTAssertNotEqual(try masking.encode("<s>").tokens, [2, 9, 3])
        XCTAssertTrue(masking.isSpecial(9))
        XCTAssertEqual(masking.maskToken, 9)
        try write(#"{"<S>": "nine"}"#, "added_tokens.json")
        XCTAssertThrowsError(try Tokenizer(folder: folder.path)) {
            XCTAssertTrue("\($0)".contains("added_tokens.json: "), "\($0)")
            XCTAssertTrue("\($0)".contains("'<S>' has the number \"nine\""), "\($0)")
        }
    }

    func testPadding() throws {
        let tokenizer = try TokenizerReference.load().tokenizer("uncased")
        let padding = try XCTUnwrap(tokenizer.paddingToken)
        let encoding = try tokenizer.encode("a", pair: "b")
        let padded = encoding.padded(to: 7, with: padding)
        XCTAssertEqual(padded.tokens, encoding.tokens + [0, 0])
        XCTAssertEqual(padded.segments, [0, 0, 0, 1, 1, 0, 0])
        XCTAssertEqual(padded.offsets.suffix(2), [0..<0, 0..<0])
        XCTAssertEqual(padded.texts, [nil, 0, nil, 1, nil, nil, nil])
        XCTAssertEqual(padded.words.count, 7)
        XCTAssertEqual(encoding.padded(to: 2, with: padding), encoding)
    }

    func testThreadsAgree() throws {
        let reference = try TokenizerReference.load()
        for name in ["uncased", "bytes"] {
            let tokenizer = try reference.tokenizer(name)
            let cases = reference.cases[name] ?? []
            let failures = LockedCount()
            DispatchQueue.concurrentPerform(iterations: 8) { _ in
                for item in cases where (try? item.encode(tokenizer).tokens) != item.result.tokens { failures.add() }
            }
            XCTAssertEqual(failures.value, 0)
        }
    }
}

// MARK: - The reference

private struct TokenizerReference: Decodable {
    struct Variant: Decodable {
        let base: String
        let replacements: [[String]]
    }
    struct Digests: Decodable {
        let normalized: String
        let split: String
    }
    let variants: [String: Variant]
    let cases: [String: [TokenizerCase]]
    let cut: [String: [TokenizerCut]]
    let digests: [String: String]
    let scalars: [String: Digests]
    let data: [String: [String: String]]

    static func load() throws -> TokenizerReference {
        try Locations.json("tokenizers.json", as: TokenizerReference.self)
    }

    func tokenizer(_ name: String) throws -> Tokenizer {
        let variant = variants[name]
        let file = Locations.reference.appendingPathComponent("tokenizers/\(variant?.base ?? name).json")
        guard let variant else { return try Tokenizer(file: file.path) }
        var text = try String(contentsOf: file, encoding: .utf8)
        for pair in variant.replacements {
            XCTAssertNotNil(text.range(of: pair[0], options: .literal), "\(name): \(pair[0])")
            text = text.replacingOccurrences(of: pair[0], with: pair[1], options: .literal)
        }
        return try Tokenizer(json: Data(text.utf8), name: name)
    }

    /// Nil for published tokenizers that are not on this machine.
    func tokenizerIfThere(_ name: String) throws -> Tokenizer? {
        guard let variable = ["minilm": "GRAFT_MINILM", "gpt2": "GRAFT_GPT2"][name] else { return try tokenizer(name) }
        return try ProcessInfo.processInfo.environment[variable].map { try Tokenizer(folder: $0) }
    }
}

private struct TokenizerResult: Decodable {
    let tokens: [Int32]
    let segments: [Int32]
    let offsets: [Int]
    let texts: [Int?]
    let words: [Int?]
}

private struct TokenizerCase: Decodable {
    let result: TokenizerResult
    let text: String?
    let bytes: [UInt8]?
    let pair: String?
    let given: [String]?
    let givenPair: [String]?
    let special: Bool
    let decoded: [String]?

    private enum CodingKeys: CodingKey { case text, bytes, pair, given, givenPair, special, decoded }

    init(from decoder: any Decoder) throws {
        result = try TokenizerResult(from: decoder)
        let values = try decoder.container(keyedBy: CodingKeys.self)
        text = try values.decodeIfPresent(String.self, forKey: .text)
        bytes = try values.decodeIfPresent([UInt8].self, forKey: .bytes)
        pair = try values.decodeIfPresent(String.self, forKey: .pair)
        given = try values.decodeIfPresent([String].self, forKey: .given)
        givenPair = try values.decodeIfPresent([String].self, forKey: .givenPair)
        special = try values.decode(Bool.self, forKey: .special)
        decoded = try values.decodeIfPresent([String].self, forKey: .decoded)
    }

    var summary: String {
        "\(given?.debugDescription ?? text?.debugDescription ?? bytes?.description ?? "") \(pair ?? "")"
    }

    func encode(_ tokenizer: Tokenizer) throws -> Datasets.Encoding {
        if let given { return try tokenizer.encode(words: given, pair: givenPair, addingSpecialTokens: special) }
        if let bytes { return try tokenizer.encode(bytes: bytes, addingSpecialTokens: special) }
        return try tokenizer.encode(text ?? "", pair: pair, addingSpecialTokens: special)
    }
}

private struct TokenizerCut: Decodable {
    let text: String
    let pair: String?
    let truncation: String
    let length: Int
    let stride: Int
    let windows: [TokenizerResult]
}

private struct SquadFile: Decodable {
    struct Article: Decodable { let paragraphs: [Paragraph] }
    struct Paragraph: Decodable {
        let context: String
        let qas: [Question]
    }
    struct Question: Decodable { let question: String }
    let data: [Article]

    static func numbers(_ url: URL, _ tokenizer: Tokenizer) throws -> [Int] {
        let file = try JSONDecoder().decode(SquadFile.self, from: Data(contentsOf: url))
        var numbers: [Int] = []
        for paragraph in file.data.flatMap(\.paragraphs) {
            for question in paragraph.qas {
                let encoding = try tokenizer.encode(question.question, pair: paragraph.context)
                for (token, span) in zip(encoding.tokens, encoding.offsets) {
                    numbers += [Int(token), span.lowerBound, span.upperBound]
                }
            }
        }
        return numbers
    }
}

private func assertEqual(
    _ encoding: Datasets.Encoding, _ expected: TokenizerResult, _ what: String, file: StaticString = #filePath,
    line: UInt = #line
) {
    XCTAssertEqual(encoding.tokens, expected.tokens, "tokens of \(what)", file: file, line: line)
    XCTAssertEqual(encoding.segments, expected.segments, "segments of \(what)", file: file, line: line)
    XCTAssertEqual(
        encoding.offsets.flatMap { [$0.lowerBound, $0.upperBound] }, expected.offsets, "offsets of \(what)", file: file,
        line: line)
    XCTAssertEqual(encoding.texts, expected.texts, "texts of \(what)", file: file, line: line)
    XCTAssertEqual(encoding.words, expected.words, "words of \(what)", file: file, line: line)
}

private func littleEndian(_ numbers: [Int]) -> [UInt8] {
    numbers.flatMap { number in withUnsafeBytes(of: Int32(truncatingIfNeeded: number).littleEndian, Array.init) }
}

/// The lines of a file, plain or gzip, without what ends them.
private func lines(_ url: URL) throws -> [[UInt8]] {
    var data = try bytes(url)
    if url.pathExtension == "gz" {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/gzip")
        process.arguments = ["-dc", url.path]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        data = [UInt8](pipe.fileHandleForReading.readDataToEndOfFile())
        process.waitUntilExit()
    }
    var lines = data.split(separator: 0x0A, omittingEmptySubsequences: false).map(Array.init)
    if lines.last?.isEmpty == true { lines.removeLast() }
    return lines
}

private func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
    part.isEmpty || bytes.indices.contains { bytes[$0...].starts(with: part) }
}

private final class LockedCount: @unchecked Sendable {
    private let lock = NSLock()
    private var count = 0
    func add() { lock.withLock { count += 1 } }
    var value: Int { lock.withLock { count } }
}
