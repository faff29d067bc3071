import Foundation
import Layers
import Models
import Tensors
import XCTest

/// What transformers gave for one network over text.
struct LanguageCase: Decodable {
    let logits: [Float]
    let loss: Float
    /// By path: largest magnitude, sum, five entries evenly spaced.
    let gradients: [String: [Float]]

    /// What `tokens` of formula.py gives for two sequences: any token but 0.
    static func tokens(_ length: Int, vocabulary: Int) -> Tensor {
        let numbers = Formula.tensor("tokens\(length)", [2 * length]).scalars
        // The formula of a bias is 0.1 · (2u - 1).
        return Tensor(
            indices: numbers.map { Int32(((Double($0) * 10 + 1) / 2 * Double(vocabulary - 1)).rounded(.down)) + 1 },
            shape: [2, length])
    }

    /// Compares the loss and the gradients of every parameter.
    func check(_ network: Network, _ loss: Tensor, _ name: String) throws {
        assertClose([loss.scalar], [self.loss], tolerance: 1e-5, "\(name): loss")
        let parameters = network.store.parameters
        XCTAssertEqual(Set(parameters.map(\.path)), Set(gradients.keys), name)
        for (parameter, gradient) in zip(parameters, try gradient(of: loss, wrt: parameters.map(\.value))) {
            let numbers = try XCTUnwrap(gradients[parameter.path], "\(name): \(parameter.path)")
            let values = gradient.scalars
            let picks = (0..<5).map { values[$0 * (values.count - 1) / 4] }
            // The bias of keys moves all scores of a query alike: its gradient is rounding alone.
            guard numbers[0] > 1e-9 else {
                XCTAssertLessThan(values.map(abs).max() ?? 0, 1e-6, "\(name): \(parameter.path)")
                continue
            }
            assertClose(
                [values.map(abs).max() ?? 0] + picks, [numbers[0]] + numbers[2...], tolerance: 1e-3,
                "\(name): gradient of \(parameter.path)")
            let sum = values.reduce(0.0) { $0 + Double($1) }
            let total = values.reduce(0.0) { $0 + Double(abs($1)) }
            XCTAssertEqual(sum, Double(numbers[1]), accuracy: 1e-3 * total, "\(name): \(parameter.path)")
        }
    }
}

/// The networks and the batch of make_text_heads_reference.py.
enum SmallText {
    static let length = 11
    static let vocabulary = 67

    struct Reference: Decodable {
        /// By family, then by variant.
        let cases: [String: [String: LanguageCase]]
        let greedy: [[Int32]]
    }

    static func reference() throws -> Reference {
        let file = ReferenceNumbers.folder.appendingPathComponent("text_heads.json")
        return try JSONDecoder().decode(Reference.self, from: Data(contentsOf: file))
    }

    static func sizes(_ family: String) -> [String: Int] {
        var sizes = [
            "layers": 2, "width": 96, "heads": 3, "inner": 200, "vocabulary": vocabulary, "positions": 24,
        ]
        sizes["segments"] = family == "bert" ? 3 : nil
        sizes["padding"] = family == "gpt2" ? 0 : nil
        return sizes
    }

    static func architecture(_ family: String, _ variant: String, dropout: Float? = nil) throws -> Architecture {
        let architecture = try Architecture(
            named: family, variant: variant, sizes: sizes(family), dropout: dropout)
        let isClassifier = architecture.output == .classes || architecture.output == .tokenClasses
        return try architecture.with(classes: isClassifier ? 3 : nil)
    }

    static func network(_ family: String, _ variant: String, dropout: Float? = nil) throws -> Network {
        let network = try architecture(family, variant, dropout: dropout).network()
        Formula.fill(network)
        return network
    }

    /// Two sequences, the second ends in padding.
    static var tokens: Tensor {
        var indices = LanguageCase.tokens(length, vocabulary: vocabulary).indices
        for place in 2 * length - 3..<2 * length { indices[place] = 0 }
        return Tensor(indices: indices, shape: [2, length])
    }

    static var segments: Tensor {
        Tensor(
            indices: [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 2, 2, 0, 0, 0], shape: [2, length])
    }

    static var context: ForwardContext {
        var context = ForwardContext.inference
        context.segments = segments
        return context
    }

    /// By what a network gives, the labels and how many count.
    static func labels(_ output: OutputKind) -> (labels: Tensor, counted: Int) {
        switch output {
        case .classes: return (Tensor(indices: [2, 0], shape: [2]), 2)
        case .spans: return (Tensor(indices: [2, 5, 4, 7], shape: [2, 2]), 4)
        case .tokenClasses:
            let ids = tokens.indices
            let labels = ids.indices.map { ids[$0] == 0 || $0 % length == 0 ? -100 : Int32($0 * 7 % 3) }
            return (Tensor(indices: labels, shape: [2, length]), 17)
        case .maskedTokens:
            var labels = [Int32](repeating: -100, count: 2 * length)
            (labels[3], labels[7], labels[length + 1], labels[length + 4]) = (9, 60, 33, 1)
            return (Tensor(indices: labels, shape: [2, length]), 4)
        case .nextTokens:
            let ids = LanguageCase.tokens(length, vocabulary: vocabulary).indices
            let labels = ids.indices.map { ($0 + 1) % length == 0 ? -100 : ids[$0 + 1] }
            return (Tensor(indices: labels, shape: [2, length]), 2 * (length - 1))
        case .embedding: return (Tensor(indices: [], shape: [0]), 0)
        }
    }
}
