import Foundation
import Layers
import Models
import Tensors
import XCTest

/// Text from a small GPT-2 filled by formula.
final class GenerationTests: XCTestCase {
    private let prompts: [[Int32]] = {
        let tokens = LanguageCase.tokens(SmallText.length, vocabulary: SmallText.vocabulary)
        return (0..<2).map { Array(tokens.sliced(axis: 0, $0..<$0 + 1).indices.prefix(4)) }
    }()

    private func network() throws -> Network { try SmallText.network("gpt2", "language-model") }

    func testLogitsWithCacheAreThoseWithout() throws {
        let network = try network()
        let tokens = LanguageCase.tokens(SmallText.length, vocabulary: SmallText.vocabulary)
        let whole = try network(tokens)
        var context = ForwardContext.inference
        let cache = AttentionCache()
        context.cache = cache
        var first = 0
        for length in [4, 1, 1, 3, 1, 1] {
            XCTAssertEqual(cache.length, first)
            let logits = try network(tokens.sliced(axis: 1, first..<first + length), context)
            assertClose(
                logits.scalars, whole.sliced(axis: 1, first..<first + length).scalars, tolerance: 1e-5,
                "\(length) from \(first) on")
            first += length
        }
        XCTAssertThrowsError(try network(LanguageCase.tokens(20, vocabulary: SmallText.vocabulary), context)) {
            XCTAssertEqual("\($0)", "gpt2: takes tokens N×T, T from 1 to 13, not 2×20")
        }
    }

    func testGreedyTextIsThatOfTransformers() throws {
        let expected = try SmallText.reference().greedy
        XCTAssertEqual(expected.map(\.count), [16, 16])
        for usesCache in [true, false] {
            let generator = try TextGenerator(
                network(), .init(maximumNewTokens: 16, temperature: 0, usesCache: usesCache))
            XCTAssertEqual(try generator(prompts).tokens, expected)
        }
    }

    func testTextIsThatOfItsSeed() throws {
        let network = try network()
        func text(_ settings: TextGenerator.Settings) throws -> [[Int32]] {
            try TextGenerator(network, settings)(prompts).tokens
        }
        for (topK, topP) in [(nil, nil), (5, nil), (nil, 0.7), (20, 0.9)] as [(Int?, Float?)] {
            // 40 new tokens go beyond the 24 positions.
            let settings = TextGenerator.Settings(
                maximumNewTokens: 40, temperature: 1.3, topK: topK, topP: topP, seed: 7)
            let first = try text(settings)
            XCTAssertEqual(first.map(\.count), [40, 40])
            XCTAssertEqual(try text(settings), first)
            var other = settings
            other.usesCache = false
            XCTAssertEqual(try text(other), first)
            other.seed = 8
            XCTAssertNotEqual(try text(other), first)
        }
        XCTAssertEqual(
            try text(.init(maximumNewTokens: 12, temperature: 2, topK: 1)),
            try text(.init(maximumNewTokens: 12, temperature: 0)))
    }

    func testTextEndsAtTheStopToken() throws {
        let generator = try TextGenerator(network(), .init(maximumNewTokens: 16, temperature: 0))
        let all = try generator(prompts).tokens
        var settings = generator.settings
        settings.stopToken = all[0][5]
        var told: [[Int32]] = [[], []]
        let stopped = try TextGenerator(network(), settings)(prompts) { told[$0].append($1) }
        for (text, whole) in zip(stopped.tokens, all) {
            let end = whole.firstIndex(of: all[0][5]) ?? whole.count
            XCTAssertEqual(text, Array(whole[..<end]))
        }
        XCTAssertEqual(told, stopped.tokens)
        XCTAssertGreaterThan(stopped.promptSeconds, 0)
        XCTAssertEqual(try TextGenerator(network(), .init(maximumNewTokens: 0))(prompts).tokens, [[], []])
    }

    /// Numbers evenly spaced meet each token as often as its probability says.
    func testTokensAreDrawnByTheirProbabilities() {
        let probabilities: [Float] = [0.1, 0.4, 0.05, 0.25, 0.2]
        func shares(_ choice: TokenChoice) -> [Int] {
            var counts = [Int](repeating: 0, count: 5)
            probabilities.map { Foundation.log($0) }.withUnsafeBufferPointer { logits in
                for number in 0..<10_000 { counts[Int(choice.token(logits, at: (Double(number) + 0.5) / 10_000))] += 1 }
            }
            return counts
        }
        func assertShares(_ choice: TokenChoice, _ expected: [Float], line: UInt = #line) {
            for (share, part) in zip(shares(choice), expected) {
                XCTAssertEqual(Float(share) / 10_000, part, accuracy: 2e-4, line: line)
            }
        }
        assertShares(TokenChoice(temperature: 1), probabilities)
        assertShares(TokenChoice(temperature: 0), [0, 1, 0, 0, 0])
        assertShares(TokenChoice(temperature: 1, topK: 2), [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0])
        assertShares(TokenChoice(temperature: 1, topK: 9), probabilities)
        // 0.4 + 0.25 is not enough for 0.7; 0.2 more is.
        assertShares(TokenChoice(temperature: 1, topP: 0.7), [0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85])
        assertShares(TokenChoice(temperature: 1, topP: 1e-6), [0, 1, 0, 0, 0])
        let squares = probabilities.map { $0 * $0 }
        assertShares(TokenChoice(temperature: 0.5), squares.map { $0 / squares.reduce(0, +) })
    }

    func testWhatCannotBe() throws {
        func message(_ body: () throws -> Void) -> String {
            do { try body() } catch { return "\(error)" }
            return ""
        }
        let network = try network()
        func settings(_ settings: TextGenerator.Settings) -> String {
            message { _ = try TextGenerator(network, settings) }
        }
        XCTAssertEqual(
            settings(.init(temperature: -1)), "architecture gpt2: temperature is -1, expected 0 or more")
        XCTAssertEqual(settings(.init(topK: 0)), "architecture gpt2: top-k is 0, expected 1 or more")
        XCTAssertEqual(
            settings(.init(topP: 0)), "architecture gpt2: top-p is 0, expected more than 0 and at most 1")
        func prompted(_ prompts: [[Int32]]) -> String {
            message { _ = try TextGenerator(network)(prompts) }
        }
        XCTAssertEqual(prompted([]), "prompts: there is none")
        XCTAssertEqual(prompted([[]]), "prompts: one is empty; begin with the token that ends a text")
        XCTAssertEqual(
            prompted([[1], [1, 2]]), "prompts: one has 1 tokens, another 2; continue those of one length together")
        XCTAssertEqual(
            message { _ = try TextGenerator(SmallText.network("bert", "masked-language-model")) },
            "bert (masked-language-model): does not predict the next token; generation needs a language model such as gpt2"
        )
    }
}
