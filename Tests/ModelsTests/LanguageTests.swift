import Layers
import Models
import Tensors
import XCTest

/// Networks over text, filled by formula, give what transformers' give: logits, loss, every gradient.
final class LanguageTests: XCTestCase {
    private struct Reference: Decodable {
        let bert_tiny: [String: LanguageCase]
        let gpt2: [String: LanguageCase]
    }

    private func reference() throws -> Reference {
        let file = ReferenceNumbers.folder.appendingPathComponent("language.json")
        return try JSONDecoder().decode(Reference.self, from: Data(contentsOf: file))
    }

    private func network(_ name: String) throws -> Network {
        let network = try Architecture(named: name).network()
        Formula.fill(network)
        return network
    }

    func testBERT() throws {
        let cases = try reference().bert_tiny
        XCTAssertEqual(cases.count, 2)
        let network = try network("bert_tiny")
        for (length, expected) in cases {
            let length = try XCTUnwrap(Int(length))
            var indices = LanguageCase.tokens(length, vocabulary: 30_522).indices
            for place in 2 * length - 3..<2 * length { indices[place] = 0 }
            let input = Tensor(indices: indices, shape: [2, length])
            assertClose(try network(input).scalars, expected.logits, tolerance: 1e-4, "logits at \(length)")
            XCTAssertEqual(try network.outputShape(for: [2, length]), [2, 2])
            let labels = Tensor(indices: [1, 0], shape: [2])
            let loss = try network.crossEntropy(input, labels: labels, .inference) * 0.5
            try expected.check(network, loss, "bert_tiny at \(length)")
        }
        XCTAssertEqual(network.store.parameterCount, 4_386_178)
        XCTAssertEqual(try Architecture(named: "bert_base").network().store.parameterCount, 109_483_778)
    }

    func testGPT2() throws {
        let cases = try reference().gpt2
        XCTAssertEqual(cases.count, 1)
        let network = try network("gpt2")
        XCTAssertEqual(network.store.parameterCount, 124_439_808)
        for (length, expected) in cases {
            let length = try XCTUnwrap(Int(length))
            let input = LanguageCase.tokens(length, vocabulary: 50_257)
            let logits = try withoutTape { try network(input) }
            XCTAssertEqual(logits.shape, [2, length, 50_257])
            let picks = stride(from: 0, to: logits.count, by: 101)
            assertClose(logits.withScalars { all in picks.map { all[$0] } }, expected.logits, tolerance: 1e-4, "logits")
            let all = input.indices
            let labels = all.indices.map { ($0 + 1) % length == 0 ? Int32(-100) : all[$0 + 1] }
            let sum = try network.crossEntropy(
                input, labels: Tensor(indices: labels, shape: input.shape), .inference, ignoreIndex: -100)
            try expected.check(network, sum * (1 / Float(2 * (length - 1))), "gpt2")
        }
    }

    /// Dropout in training is that of the sample's position: a batch in parts drops what the whole batch does.
    func testDropoutDoesNotDependOnHowABatchIsCut() throws {
        for name in ["bert_tiny"] {
            let network = try network(name)
            let input = LanguageCase.tokens(9, vocabulary: 30_522)
            var context = ForwardContext(isTraining: true, seed: 3, epoch: 1, position: 6)
            let whole = try network(input, context)
            XCTAssertNotEqual(whole.scalars, try network(input, .inference).scalars)
            context.position = 7
            let second = try network(input.sliced(axis: 0, 1..<2), context)
            assertClose(second.scalars, Array(whole.scalars.suffix(2)), tolerance: 1e-5)
        }
    }

    func testBadTokens() throws {
        let network = try Architecture(named: "bert_tiny").network()
        func message(_ shape: [Int], _ token: Int32 = 5) -> String {
            let count = shape.reduce(1, *)
            let input = Tensor(indices: [Int32](repeating: token, count: count), shape: shape)
            do { _ = try network(input) } catch { return "\(error)" }
            return ""
        }
        XCTAssertEqual(message([1, 513]), "bert_tiny: takes tokens N×T, T from 1 to 512, not 1×513")
        XCTAssertEqual(message([1, 3, 8, 8]), "bert_tiny: takes tokens N×T, T from 1 to 512, not 1×3×8×8")
        XCTAssertEqual(
            message([1, 4], 30_522),
            "bert.embeddings.word_embeddings: the token 30522 is not one of 30522; use the tokenizer that belongs to "
                + "the weights")
    }
}
