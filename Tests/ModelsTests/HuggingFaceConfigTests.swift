import Foundation
import Layers
import Models
import Tensors
import XCTest

final class HuggingFaceConfigTests: XCTestCase {
    /// As all-MiniLM-L6-v2 has it.
    private let miniLM = """
        {"_name_or_path": "nreimers/MiniLM-L6-H384-uncased", "architectures": ["BertModel"],
         "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": false, "hidden_act": "gelu",
         "hidden_dropout_prob": 0.1, "hidden_size": 384, "initializer_range": 0.02, "intermediate_size": 1536,
         "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 12,
         "num_hidden_layers": 6, "pad_token_id": 0, "position_embedding_type": "absolute", "type_vocab_size": 2,
         "use_cache": true, "vocab_size": 30522}
        """

    private func architecture(
        _ text: String, variant: String? = nil, classes: Int? = nil
    ) throws -> Architecture {
        try Architecture(huggingFace: Data(text.utf8), variant: variant, classes: classes)
    }

    private func message(_ text: String) -> String {
        do { return "\(try architecture(text))" } catch { return "\(error)" }
    }

    func testSizesAreRead() throws {
        let found = try architecture(miniLM)
        XCTAssertEqual("\(found)", "bert (embedding)")
        XCTAssertEqual(
            found.sizes,
            [
                "layers": 6, "width": 384, "heads": 12, "inner": 1536, "vocabulary": 30_522, "positions": 512,
                "segments": 2, "padding": 0,
            ])
        XCTAssertNil(found.dropout)
        let classifier = try architecture(miniLM, variant: "sequence-classification", classes: 7)
        XCTAssertEqual(classifier.classes, 7)
        XCTAssertEqual(try architecture(#"{"model_type": "bert"}"#).description, "bert_base (sequence-classification)")
        let gpt2 = try architecture(
            #"{"model_type": "gpt2", "n_layer": 4, "n_embd": 128, "n_head": 4, "n_inner": null, "vocab_size": 65, "#
                + #""resid_pdrop": 0.0, "embd_pdrop": 0, "attn_pdrop": 0.0}"#)
        XCTAssertEqual(gpt2.sizes["inner"], 512)
        XCTAssertEqual(gpt2.dropout, 0)
        XCTAssertEqual(gpt2.classes, 65)
        let distil = try architecture(
            #"{"model_type": "distilbert", "architectures": ["DistilBertForSequenceClassification"], "dropout": 0.1, "#
                + #""attention_dropout": 0.1, "seq_classif_dropout": 0.2, "qa_dropout": 0.1, "#
                + #""id2label": {"0": "NEGATIVE", "1": "POSITIVE", "2": "NEITHER"}}"#)
        XCTAssertEqual("\(distil)", "distilbert_base (sequence-classification)")
        XCTAssertEqual([distil.classes, distil.dropout.map { _ in 1 } ?? 0], [3, 0])
    }

    func testClassNames() {
        func names(_ text: String) -> [String]? { Architecture.classNames(huggingFace: Data(text.utf8)) }
        XCTAssertEqual(names(#"{"id2label": {"1": "good", "0": "bad"}}"#), ["bad", "good"])
        XCTAssertNil(names(#"{"id2label": {"1": "LABEL_1", "0": "LABEL_0"}}"#))
        XCTAssertNil(names("{}"))
    }

    func testWhatIsNotSupportedIsNamed() {
        func changed(_ key: String, _ value: String) -> String {
            message(miniLM.dropLast() + #", "\#(key)": \#(value)}"#)
        }
        XCTAssertEqual(
            message(miniLM.replacingOccurrences(of: #""gelu""#, with: #""relu""#)),
            #"config.json: hidden_act is "relu", which is not supported; supported: "gelu""#)
        XCTAssertEqual(
            message(miniLM.replacingOccurrences(of: "1e-12", with: "\"small\"")),
            "config.json: layer_norm_eps is \"small\", which is not supported; supported: a number")
        XCTAssertEqual(
            message(miniLM.replacingOccurrences(of: "1e-12", with: "0")),
            "architecture bert: epsilon is 0.0, expected above 0 and less than 1")
        XCTAssertEqual(
            changed("is_decoder", "true"), "config.json: is_decoder is true, which is not supported; supported: false")
        XCTAssertEqual(
            changed("classifier_dropout", "0.5"),
            "config.json: classifier_dropout is 0.5, which is not supported; supported: 0.1, as hidden_dropout_prob")
        XCTAssertEqual(
            message(miniLM.replacingOccurrences(of: #"["BertModel"]"#, with: #"["BertForMultipleChoice"]"#)),
            #"config.json: architectures is "BertForMultipleChoice", which is not supported; supported: "#
                + #""BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering", "#
                + #""BertForMaskedLM", "BertForPreTraining", "BertModel""#)
        XCTAssertEqual(
            message(miniLM.replacingOccurrences(of: #""model_type": "bert""#, with: #""model_type": "llama""#)),
            #"config.json: model_type is "llama", which is not supported; supported: "bert", "distilbert", "gpt2""#)
        XCTAssertEqual(message("{}"), "config.json: has no model_type; known are bert, distilbert, gpt2")
        XCTAssertEqual(message("[1, 2"), "config.json: is not a JSON object")
        XCTAssertEqual(
            message(miniLM.replacingOccurrences(of: "384,", with: "1e300,")),
            "config.json: hidden_size is 1e+300, which is not supported; supported: a whole number")
        XCTAssertEqual(
            message(miniLM.replacingOccurrences(of: "30522", with: "99999999999999")),
            "architecture bert: vocabulary is 99999999999999, expected 1 to 16777216")
        XCTAssertEqual(
            message(miniLM.replacingOccurrences(of: #""num_attention_heads": 12"#, with: #""num_attention_heads": 7"#)),
            "architecture bert: heads is 7, expected a divisor of the width 384")
        XCTAssertFalse(Architecture.isKnown(huggingFace: Data(#"{"architecture": "resnet50"}"#.utf8)))
        XCTAssertTrue(Architecture.isKnown(huggingFace: Data(miniLM.utf8)))
        XCTAssertEqual(message(String(repeating: #"{"a":"#, count: 100_000)), "config.json: is not a JSON object")
    }

    func testEpsilonAndTheDropoutOfAttention() throws {
        XCTAssertEqual(try architecture(miniLM).rates, [:])
        let other = try architecture(
            miniLM.replacingOccurrences(of: "1e-12", with: "1e-5")
                .replacingOccurrences(
                    of: #""attention_probs_dropout_prob": 0.1"#, with: #""attention_probs_dropout_prob": 0"#))
        XCTAssertEqual(other.rates, ["epsilon": 1e-5, "attention-dropout": 0])
        XCTAssertNil(other.dropout)
        XCTAssertEqual(try architecture(other.huggingFaceConfig()), other)
        XCTAssertEqual(try other.with(dropout: 0.3).rates, ["epsilon": 1e-5], "a dropout is that of attention too")
        XCTAssertNotEqual(other, try architecture(miniLM))
        let gpt2 = try architecture(
            #"{"model_type": "gpt2", "resid_pdrop": 0.2, "embd_pdrop": 0.2, "layer_norm_epsilon": 1e-6}"#)
        XCTAssertEqual(gpt2.dropout, 0.2)
        XCTAssertEqual(gpt2.rates, ["epsilon": 1e-6, "attention-dropout": 0.1])
        XCTAssertEqual(try architecture(gpt2.huggingFaceConfig()), gpt2)

        // They do what they say.
        func logits(_ rates: [String: Float], isTraining: Bool = false, dropout: Float? = nil) throws -> [Float] {
            let plain = try SmallText.architecture("bert", "token-classification")
            let network = try Architecture(
                named: plain.name, variant: plain.variant, sizes: plain.sizes, classes: 3, dropout: dropout,
                rates: rates
            ).network()
            Formula.fill(network)
            return try network(SmallText.tokens, ForwardContext(isTraining: isTraining, seed: 1)).scalars
        }
        XCTAssertNotEqual(try logits(["epsilon": 0.1]), try logits([:]))
        XCTAssertEqual(try logits(["attention-dropout": 0.5]), try logits([:]))
        let (none, some) = (try logits([:], isTraining: true, dropout: 0), ["attention-dropout": Float(0.5)])
        XCTAssertNotEqual(try logits(some, isTraining: true, dropout: 0), none)
        XCTAssertEqual(try logits([:], dropout: 0), none)
    }

    /// What is written is read as the same network.
    func testWrittenConfigurations() throws {
        for family in ["bert", "distilbert", "gpt2"] {
            for variant in try Architecture(named: family).variants where !variant.hasPrefix("mean-") {
                for dropout in [nil, 0, 0.25] as [Float?] {
                    for original in [
                        try SmallText.architecture(family, variant, dropout: dropout),
                        try Architecture(named: family, variant: variant, dropout: dropout),
                    ] {
                        let text = try original.huggingFaceConfig()
                        let copy = try architecture(text)
                        XCTAssertEqual(
                            [copy.name, copy.variant, "\(copy.classes)", "\(String(describing: copy.dropout))"],
                            [
                                original.name, original.variant, "\(original.classes)",
                                "\(String(describing: original.dropout))",
                            ], text)
                        XCTAssertEqual(copy.tokens, original.tokens, text)
                    }
                }
            }
        }
        XCTAssertThrowsError(try Architecture(named: "bert_base", variant: "mean-classification").huggingFaceConfig()) {
            XCTAssertEqual(
                "\($0)", "bert_base (mean-classification): Hugging Face's transformers has no config.json for it")
        }
        let named = try SmallText.architecture("bert", "sequence-classification")
            .huggingFaceConfig(classNames: ["bad", "middling", "good"])
        XCTAssertEqual(Architecture.classNames(huggingFace: Data(named.utf8)), ["bad", "middling", "good"])
        XCTAssertThrowsError(try Architecture(named: "resnet18").huggingFaceConfig()) {
            XCTAssertEqual(
                "\($0)", "resnet18 (v1.5): Hugging Face's transformers has no config.json for it")
        }
    }
}
