import Layers
import Models
import Tensors
import XCTest

/// Every variant of the networks over text, at a size that is none of the published ones.
final class TextHeadTests: XCTestCase {
    func testEveryVariantGivesWhatTransformersGives() throws {
        let reference = try SmallText.reference()
        XCTAssertEqual(
            reference.cases.mapValues { $0.keys.sorted() },
            try Dictionary(
                uniqueKeysWithValues: ["bert", "distilbert", "gpt2"].map {
                    ($0, try Architecture(named: $0).variants.sorted())
                }))
        for (family, cases) in reference.cases {
            for (variant, expected) in cases {
                try check(family, variant, expected)
            }
        }
    }

    private func check(_ family: String, _ variant: String, _ expected: LanguageCase) throws {
        let name = "\(family)-\(variant)"
        let network = try SmallText.network(family, variant)
        let output = network.architecture.output
        let tokens =
            output == .nextTokens
            ? LanguageCase.tokens(SmallText.length, vocabulary: SmallText.vocabulary) : SmallText.tokens
        let logits = try network(tokens, SmallText.context)
        assertClose(logits.scalars, expected.logits, tolerance: 1e-4, "\(name): logits")
        XCTAssertEqual(try network.outputShape(for: tokens.shape), logits.shape, name)
        let loss: Tensor
        if output == .embedding {
            loss = (logits * Formula.tensor("input.embedding", logits.shape)).sum()
        } else {
            let (labels, counted) = SmallText.labels(output)
            let sum = try network.crossEntropy(tokens, labels: labels, SmallText.context, ignoreIndex: -100)
            loss = sum * (1 / Float(counted))
        }
        try expected.check(network, loss, name)
    }

    private static let all = ["bert", "distilbert", "gpt2"]

    private func forEachVariant(_ body: (String, String) throws -> Void) throws {
        for family in Self.all {
            for variant in try Architecture(named: family).variants { try body(family, variant) }
        }
    }

    func testStagesOwnTheirParametersAndSayTheirShapes() throws {
        try forEachVariant { family, variant in
            let network = try SmallText.network(family, variant)
            for path in network.store.parameters.map(\.path) {
                let owners = network.stages.filter { $0.owns(path) }.count + (network.isHead(path) ? 1 : 0)
                XCTAssertEqual(owners, 1, "\(family)-\(variant): \(path)")
            }
            var input = SmallText.tokens
            let mask = network.keyMask(of: input)
            for (index, stage) in network.stages.enumerated() {
                var context = ForwardContext(isTraining: true)
                (context.keyMask, context.segments) = (mask, index == 0 ? SmallText.segments : nil)
                input = try network.run(input, stages: index..<index + 1, context).detached
                XCTAssertEqual(
                    try network.outputShape(for: [2, SmallText.length], ofStage: index), input.shape,
                    "\(family)-\(variant): \(stage.name)")
            }
        }
    }

    func testPaddingChangesNothing() throws {
        try forEachVariant { family, variant in
            let network = try SmallText.network(family, variant)
            let output = network.architecture.output
            guard output == .classes || output == .embedding else { return }
            let whole = try network(SmallText.tokens).scalars
            let short = try network(SmallText.tokens.sliced(axis: 0, 1..<2).sliced(axis: 1, 0..<8)).scalars
            assertClose(Array(whole.suffix(short.count)), short, tolerance: 1e-5, "\(family)-\(variant)")
            let padding = Tensor(indices: [0, 0, 0], shape: [1, 3])
            XCTAssertTrue(try network(padding).scalars.allSatisfy(\.isFinite), "\(family)-\(variant)")
        }
    }

    func testFrozenTrunkAndHeadGiveWhatTheNetworkGives() throws {
        try forEachVariant { family, variant in
            let network = try SmallText.network(family, variant)
            let (tokens, count) = (SmallText.tokens, network.stages.count)
            let trunk = try FrozenTrunk(network, stages: 0..<count)
            var context = SmallText.context
            context.keyMask = network.keyMask(of: tokens)
            assertClose(
                try network(trunk(tokens, segments: SmallText.segments), context, startingAt: count).scalars,
                try network(tokens, SmallText.context).scalars, tolerance: 1e-6, "\(family)-\(variant)")
        }
    }

    /// The loss of an answer does not depend on how far a batch is filled up.
    func testPaddingIsNoPlaceForAnAnswer() throws {
        for family in ["bert", "distilbert"] {
            let network = try SmallText.network(family, "question-answering")
            let losses = try [8, SmallText.length].map { length in
                try network.crossEntropy(
                    SmallText.tokens.sliced(axis: 0, 1..<2).sliced(axis: 1, 0..<length),
                    labels: Tensor(indices: [4, 7], shape: [1, 2]), .inference
                ).scalar
            }
            assertClose([losses[1]], [losses[0]], tolerance: 1e-5, family)
        }
    }

    func testAnswersThatWereCutOffCountNothing() throws {
        let network = try SmallText.network("bert", "question-answering")
        func loss(_ labels: [Int32], _ ignored: Int32?) throws -> Float {
            try network.crossEntropy(
                SmallText.tokens, labels: Tensor(indices: labels, shape: [2, 2]), .inference, ignoreIndex: ignored
            ).scalar
        }
        XCTAssertEqual(try loss([2, 5, 11, -1], nil), try loss([2, 5, -100, -100], -100))
        XCTAssertEqual(try loss([500, -1, 11, -100], nil), 0)
    }

    func testMaskedLossWithoutLabelsIsZero() throws {
        let network = try SmallText.network("bert", "masked-language-model")
        let labels = Tensor(indices: [Int32](repeating: -100, count: 22), shape: [2, 11])
        let loss = try network.crossEntropy(SmallText.tokens, labels: labels, .training, ignoreIndex: -100)
        XCTAssertEqual(loss.scalar, 0)
    }

    func testWhatDoesNotFit() throws {
        func message(_ body: () throws -> Void) -> String {
            do { try body() } catch { return "\(error)" }
            return ""
        }
        func labelled(_ variant: String, _ labels: [Int32], _ shape: [Int]) -> String {
            message {
                let network = try SmallText.network("bert", variant)
                let labels = Tensor(indices: labels, shape: shape)
                _ = try network.crossEntropy(SmallText.tokens, labels: labels, .inference, ignoreIndex: -100)
            }
        }
        XCTAssertEqual(
            labelled("sequence-classification", [0, 3], [2]),
            "bert (sequence-classification): the label 3 is not one of its 3 classes")
        XCTAssertEqual(
            labelled("token-classification", [0, 1], [2]),
            "bert (token-classification): takes labels 2×11, not 2")
        XCTAssertEqual(
            labelled("question-answering", [0, 1], [2]),
            "bert (question-answering): takes labels 2×2, not 2")
        XCTAssertEqual(
            labelled("embedding", [0, 1], [2]),
            "bert (embedding): gives embeddings, which learn from no labels; choose a variant with a head")
        XCTAssertEqual(
            message {
                var context = ForwardContext.inference
                context.segments = Tensor(indices: [0, 1], shape: [1, 2])
                _ = try SmallText.network("bert", "embedding")(SmallText.tokens, context)
            }, "bert: takes tokens with segments of their own shape, not 1×2")
        XCTAssertEqual(
            message { _ = try Architecture(named: "bert", variant: "embedding", classes: 5) },
            "architecture bert_base (embedding): classes is 5, expected 768 or none")
        XCTAssertEqual(
            message { _ = try Architecture(named: "gpt2", dropout: 1) },
            "architecture gpt2: dropout is 1.0, expected 0 or more and less than 1")
        XCTAssertEqual(
            message { _ = try Architecture(named: "resnet18", dropout: 0.1) },
            "architecture resnet18: dropout is 0.1, expected none: it is fixed in networks over images")
    }

    func testSizes() throws {
        func message(_ name: String, _ sizes: [String: Int]) -> String {
            do { return "\(try Architecture(named: name, sizes: sizes).name)" } catch { return "\(error)" }
        }
        XCTAssertEqual(message("bert", [:]), "bert_base")
        XCTAssertEqual(message("bert", ["layers": 2, "width": 128, "heads": 2]), "bert_tiny")
        XCTAssertEqual(message("bert_base", ["vocabulary": 28_996]), "bert")
        XCTAssertEqual(message("gpt2", ["layers": 24, "width": 1024, "heads": 16]), "gpt2_medium")
        XCTAssertEqual(
            message("bert", ["layers": 6, "width": 384]),
            "architecture bert: heads is not said, expected a divisor of the width 384; weights do not tell it, sizes or "
                + "config.json must")
        XCTAssertEqual(
            message("gpt2", ["width": 100, "heads": 3]),
            "architecture gpt2: heads is 3, expected a divisor of the width 100")
        XCTAssertEqual(message("gpt2", ["layers": 0]), "architecture gpt2: layers is 0, expected 1 to 1000")
        XCTAssertEqual(
            message("gpt2", ["segments": 2]),
            "architecture gpt2 has no size \"segments\"; it has layers, width, heads, inner, vocabulary, positions, padding"
        )
        let small = try SmallText.architecture("bert", "embedding")
        XCTAssertEqual(
            try Architecture(named: small.name, variant: small.variant, sizes: small.sizes), small)
        XCTAssertEqual(small.tokens?.segments, 3)
        XCTAssertEqual(try Architecture(named: "distilbert_base").network().store.parameterCount, 66_955_010)
    }
}
