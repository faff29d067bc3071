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
            "t.json: damaged or not in the expected format (JSON: no name of a member at byte 1)")
        XCTAssertEqual(
            message(try load(String(repeating: "[", count: 100_000))),
            "t.json: damaged or not in the expected format (JSON: nested too deeply at byte 64)")
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

    /// Whatever is done to a file, it is read or refused, and what is read can be used.
    func testMutatedFiles() throws {
        var generator = TestGenerator(11)
        let inserts = ["\"", "{", "}", "[", "]", ",", ":", "\\u", "\\", "9", "-", "e", "null", "true", "é", "\u{0}"]
        for original in [Self.small, Self.smallBytes] {
            XCTAssertNoThrow(try load(original))
            for _ in 0..<10_000 {
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
