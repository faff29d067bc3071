import Archives
import Foundation
import Models
import Tensors
import XCTest

/// Sentence embeddings of the published all-MiniLM-L6-v2: GRAFT_MINILM names its folder.
final class MiniLMTests: XCTestCase {
    private struct Reference: Decodable {
        let tokens: [[Int32]]
        /// Every 16th number.
        let embeddings: [[Float]]
        let similarities: [[Float]]
    }

    func testSentenceEmbeddings() throws {
        guard let folder = ProcessInfo.processInfo.environment["GRAFT_MINILM"] else {
            throw XCTSkip("GRAFT_MINILM does not name the folder of all-MiniLM-L6-v2")
        }
        let numbers = ReferenceNumbers.folder.appendingPathComponent("minilm.json")
        let reference = try JSONDecoder().decode(Reference.self, from: Data(contentsOf: numbers))
        let (network, report) = try WeightLoader.network(from: WeightFile.read(folder), path: folder)
        XCTAssertEqual("\(network.architecture)", "bert (embedding)")
        XCTAssertEqual(report.count(.newlyInitialised), 0, report.description)
        let tokens = Tensor(
            indices: reference.tokens.flatMap { $0 }, shape: [reference.tokens.count, reference.tokens[0].count])
        let embeddings = try withoutTape { try network(tokens) }
        XCTAssertEqual(embeddings.shape, [4, 384])
        let sampled = embeddings.sliced(axis: 1, 0..<384, step: 16)
        assertClose(sampled.scalars, reference.embeddings.flatMap { $0 }, tolerance: 1e-4)
        assertClose(
            matmul(embeddings, embeddings, transposeB: true).scalars, reference.similarities.flatMap { $0 },
            tolerance: 1e-4)
    }
}
