import Datasets
import Foundation
import XCTest

/// Files that are no tokenizer, or not one that can be read.
final class TokenizerFileTests: XCTestCase {
    private static let small = ###"""
        {"added_tokens":[{"id":0,"content":"[UNK]","special":true}],
        "normalizer":{"type":"BertNormalizer","lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},
        "post_processor":{"type":"BertProcessing","sep":["[UNK]",0],"cls":["[UNK]",0]},"decoder":{"type":"WordPiece"},
        "model":{"type":"WordPiece","unk_token":"[UNK]","vocab":{"[UNK]":0,"a":1,"##\u00e9":2}}}
        """###
    private static let smallBytes = #"""
        {"added_tokens":[],"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"decoder":{"type":"ByteLevel"},
        "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"\u0120":3},"merges":["a b"]}}
        """#

    private func load(_ text: String) throws -> Tokenizer { try Tokenizer(json: Data(text.utf8), name: "t.json") }

    func testMessages() throws {
        func with(_ old: String, _ new: String, in text: String = Self.small) -> String {
            let changed = text.replacingOccurrences(of: old, with: new)
            XCTAssertNotEqual(changed, text)
            return message(try load(changed))
        }
        XCTAssertEqual(
            with(#""type":"WordPiece","unk"#, #""type":"Unigram","unk"#),
            #"t.json: model.type: "Unigram" is not supported; WordPiece and byte-level BPE can be read"#)
        XCTAssertEqual(
            with("BertPreTokenizer", "Whitespace"),
            #"t.json: pre_tokenizer: {"type":"Whitespace"} is not supported; with WordPiece it has to be BertPreTokenizer"#
        )
        XCTAssertEqual(
            with(#""a":1"#, #""a":-1"#),
            "t.json: damaged or not in the expected format (model.vocab: 'a' is -1, not a token)")
        XCTAssertEqual(
            with(#""a":1"#, #""a":4294967296"#),
            "t.json: damaged or not in the expected format (model.vocab: 'a' is 4294967296, not a token)")
        XCTAssertEqual(
            with(#""unk_token":"[UNK]""#, #""unk_token":"<unk>""#),
            "t.json: damaged or not in the expected format (the unknown token '<unk>' is not in the vocabulary)")
        XCTAssertEqual(
            with(#"["a b"]"#, #"["a b","a c"]"#, in: Self.smallBytes),
            "t.json: damaged or not in the expected format (merge 2, 'a c', needs tokens that the vocabulary has not)")
        XCTAssertEqual(
            with(#"["a b"]"#, #"["a b c"]"#, in: Self.smallBytes),
            #"t.json: damaged or not in the expected format (model.merges[0] is "a b c", not two tokens)"#)
        XCTAssertEqual(
            message(try load("{")),
            "t.json: damaged or not in the expected format (JSON: no name of a member at byte 2 of line 1)")
        XCTAssertEqual(
            message(try load(String(repeating: "[", count: 100_000))),
            "t.json: damaged or not in the expected format (JSON: nested too deeply at byte 65 of line 1)")
        XCTAssertEqual(
            message(try load("{\n  \"a\": 1,\n  b}")),
            "t.json: damaged or not in the expected format (JSON: no name of a member at byte 3 of line 3)")
        XCTAssertEqual(
            message(try load("[]")), "t.json: damaged or not in the expected format (no object 'model')")
        XCTAssertEqual(
            message(try Tokenizer(json: Data([0xFF]), name: "t.json")),
            "t.json: damaged or not in the expected format (not UTF-8 text)")
        let folder = try scratchFolder(self).path
        XCTAssertEqual(
            message(try Tokenizer(folder: folder)),
            "\(folder): no tokenizer found; expected tokenizer.json, or vocab.txt, or vocab.json with merges.txt")
        XCTAssertEqual(
            message(try Tokenizer(file: folder + "/vocab.txt")),
            "\(folder)/vocab.txt: cannot be read (No such file or directory)")
        try Data("a\nb\n".utf8).write(to: URL(fileURLWithPath: folder + "/vocab.txt"))
        XCTAssertEqual(
            message(try Tokenizer(folder: folder)),
            "\(folder)/vocab.txt: damaged or not in the expected format (no line '[UNK]', which is a special token)")
    }

    func testImpossibleLengths() throws {
        let tokenizer = try load(Self.small)
        XCTAssertEqual(
            message(try tokenizer.encode("a", maximumLength: 1)),
            "maximum length: 1 tokens are not possible; special tokens alone are 2; allow more tokens")
        XCTAssertEqual(
            message(try tokenizer.encode("a a a", pair: "a", maximumLength: 5, truncation: .onlySecond)),
            "maximum length: 5 tokens are not possible; the first text alone has 3, and truncation is 'onlySecond'; "
                + "take longestFirst, or allow more tokens")
        XCTAssertEqual(
            message(try tokenizer.windows("a a a a a", maximumLength: 5, stride: 3, truncation: .onlyFirst)),
            "maximum length: 5 tokens are not possible; windows of 3 tokens cannot overlap by 3; take a stride from 0 to 2"
        )
        XCTAssertEqual(try tokenizer.encode("a", maximumLength: 2).tokens, [0, 0])
    }

    /// Files of text editors, and of models whose vocabulary files have the same names.
    func testVocabularyFiles() throws {
        let folder = try scratchFolder(self)
        func write(_ text: String, _ name: String) throws {
            try Data(text.utf8).write(to: folder.appendingPathComponent(name))
        }
        func tokens() throws -> [Int32] {
            try Tokenizer(folder: folder.path).encode("ab", addingSpecialTokens: false).tokens
        }
        try write("\u{FEFF}{\"a\":0,\"b\":1,\"ab\":2}", "vocab.json")
        try write("\u{FEFF}#version: 0.2\r\na b\r\n", "merges.txt")
        XCTAssertEqual(try tokens(), [2])
        try write("\u{FEFF}{\"tokenizer_class\": \"GPT2TokenizerFast\"}", "tokenizer_config.json")
        XCTAssertEqual(try tokens(), [2])
        try write("{\"tokenizer_class\": \"RobertaTokenizer\"}", "tokenizer_config.json")
        XCTAssertEqual(
            message(try tokens()),
            "\(folder.path)/tokenizer_config.json: tokenizer_class: RobertaTokenizer is not supported; of vocab.json and "
                + "merges.txt, GPT-2's can be read; give the model's tokenizer.json")
        try write("\u{FEFF}[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n##b", "vocab.txt")
        XCTAssertEqual(try tokens(), [3, 4], "vocab.txt comes first")
        try write("{\"tokenizer_class\": \"BertJapaneseTokenizer\"}", "tokenizer_config.json")
        XCTAssertTrue(message(try tokens()).contains("BertJapaneseTokenizer is not supported"))
        try write("{}", "tokenizer_config.json")
        let wide = folder.appendingPathComponent("wide.txt")
        try Data([0xFF, 0xFE, 0x61, 0, 0x0A, 0]).write(to: wide)
        XCTAssertEqual(
            message(try Tokenizer(file: wide.path)),
            "\(wide.path):1: UTF-16; convert the file: iconv -f UTF-16 -t UTF-8 FILE > NEW")
    }

    /// Whatever is done to a file, it is read or refused, and what is read can be used. GRAFT_FUZZ says how many files of
    /// each kind.
    func testMutatedFiles() throws {
        let count = ProcessInfo.processInfo.environment["GRAFT_FUZZ"].flatMap(Int.init) ?? 60_000
        var generator = TestGenerator(11)
        let inserts = ["\"", "{", "}", "[", "]", ",", ":", "\\u", "\\", "9", "-", "e", "null", "true", "é", "\u{0}"]
        for original in [Self.small, Self.smallBytes] {
            XCTAssertNoThrow(try load(original))
            for _ in 0..<count {
                var bytes = Array(original.utf8)
                for _ in 0..<Int.random(in: 1...4, using: &generator) {
                    let place = Int.random(in: 0..<bytes.count, using: &generator)
                    switch Int.random(in: 0..<5, using: &generator) {
                    case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
                    case 1: bytes.removeSubrange(place..<min(place + 9, bytes.count))
                    case 2: bytes.insert(contentsOf: (inserts.randomElement(using: &generator) ?? "").utf8, at: place)
                    case 3: bytes.insert(contentsOf: bytes[place..<min(place + 20, bytes.count)], at: place)
                    default: bytes.removeSubrange(place...)
                    }
                    if bytes.isEmpty { break }
                }
                do {
                    let tokenizer = try Tokenizer(json: Data(bytes))
                    let encoding = try tokenizer.encode("a aé ab [UNK]b\u{301}", pair: "ab")
                    _ = tokenizer.decode(encoding.tokens)
                } catch is DatasetError {
                }
            }
        }
    }
}
