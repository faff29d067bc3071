import Archives
import Foundation
import Layers
import Models
import Tensors
import XCTest

/// Weight files of networks over text, as Hugging Face writes them and as Graft does.
final class TextFileTests: XCTestCase {
    /// A file as it comes from a folder of Hugging Face: names of tensors, and `config.json` in the notes.
    private func file(
        _ network: Network, config: Bool = true, rename: (String) -> String? = { $0 }
    ) throws -> WeightFile {
        var file = WeightFile(network)
        file.metadata = WeightMetadata()
        if config { file.metadata.notes["config.json"] = try network.architecture.huggingFaceConfig() }
        file.tensors = file.tensors.compactMap { tensor in
            rename(tensor.name).map { StoredTensor(name: $0, shape: tensor.shape, scalars: tensor.scalars) }
        }
        return file
    }

    private func assertSame(_ a: Network, _ b: Network, _ isCompared: (String) -> Bool = { _ in true }) {
        for mine in a.store.parameters where isCompared(mine.path) {
            XCTAssertEqual(mine.value.scalars, b.store[mine.path]?.value.scalars, mine.path)
        }
    }

    func testEveryVariantIsReadBack() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appendingPathComponent("weights").path
        for family in ["bert", "distilbert", "gpt2"] {
            for variant in try Architecture(named: family).variants {
                for dropout in [nil, 0.25] as [Float?] {
                    let plain = try SmallText.architecture(family, variant, dropout: dropout)
                    // transformers has no ε in the configuration of DistilBERT.
                    let rates: [String: Float] =
                        family == "distilbert" ? ["attention-dropout": 0] : ["epsilon": 1e-6, "attention-dropout": 0]
                    let network = try Architecture(
                        named: plain.name, variant: plain.variant, sizes: plain.sizes, classes: plain.classes,
                        dropout: dropout, rates: dropout == nil ? [:] : rates
                    ).network()
                    Formula.fill(network)
                    try WeightFile(network).write(to: path, as: .graftHDF5)
                    let (copy, report) = try WeightLoader.network(from: WeightFile.read(path), path: path)
                    XCTAssertEqual(copy.architecture, network.architecture)
                    XCTAssertEqual(report.count(.loaded), report.entries.count, report.description)
                    assertSame(network, copy)
                    // BertModel is read as `embedding`, and a classifier without a pooler as that of tokens.
                    guard !variant.hasPrefix("mean-") else { continue }
                    let foreign = try WeightLoader.network(from: file(network), path: "model.safetensors").network
                    XCTAssertEqual(foreign.architecture, network.architecture)
                    assertSame(network, foreign)
                }
            }
        }
    }

    func testBareEncodersTakeEveryHead() throws {
        let pooled = try SmallText.network("bert", "sequence-classification")
        func bare(_ network: Network, pooler: Bool = true, old: Bool = false) throws -> WeightFile {
            var bare = try file(network) { name in
                guard name.hasPrefix("bert."), pooler || !name.hasPrefix("bert.pooler") else { return nil }
                let name = String(name.dropFirst("bert.".count))
                return old
                    ? name.replacingOccurrences(of: "LayerNorm.weight", with: "LayerNorm.gamma")
                        .replacingOccurrences(of: "LayerNorm.bias", with: "LayerNorm.beta") : name
            }
            bare.tensors.append(
                StoredTensor(name: "embeddings.position_ids", shape: [1, 24], scalars: (0..<24).map(Float.init)))
            bare.metadata.notes["config.json"] = bare.metadata.notes["config.json"]?
                .replacingOccurrences(of: "BertForSequenceClassification", with: "BertModel")
            return bare
        }
        for variant in try Architecture(named: "bert").variants {
            for (pooler, old) in [(true, false), (false, false), (true, true)] {
                let (network, report) = try WeightLoader.network(
                    from: bare(pooled, pooler: pooler, old: old), path: "model.safetensors", variant: variant,
                    head: .new)
                XCTAssertEqual(network.architecture.variant, variant)
                assertSame(pooled, network) { $0.hasPrefix("bert.") && !$0.hasPrefix("bert.pooler") }
                let weight = "bert.pooler.dense.weight"
                let isTaken = network.store[weight]?.value.scalars == pooled.store[weight]?.value.scalars
                XCTAssertEqual(isTaken, variant == "sequence-classification" && pooler, report.description)
            }
        }
        // Without being told, a bare encoder gives embeddings, and loses its pooler.
        let (network, report) = try WeightLoader.network(from: bare(pooled), path: "model.safetensors")
        XCTAssertEqual(network.architecture.variant, "embedding")
        XCTAssertEqual(report.count(.refused), 3, report.description)
    }

    /// What is converted has the configuration that fits it.
    func testConfigurationsFollowTheNetwork() throws {
        let network = try SmallText.network("bert", "sequence-classification")
        let names = ["bad", "middling", "good"]
        var own = try file(network)
        own.metadata.notes["config.json"] = try network.architecture.huggingFaceConfig(classNames: names)
            .replacingOccurrences(of: "{\n", with: "{ ", options: [], range: nil)
        own.metadata.classNames = names
        func configuration(_ file: WeightFile, variant: String? = nil, head: HeadPolicy = .keep) throws -> String? {
            try WeightLoader.canonical(file, path: "w", variant: variant, head: head).file.metadata.notes["config.json"]
        }
        XCTAssertEqual(try configuration(own), own.metadata.notes["config.json"])
        let embedding = try XCTUnwrap(configuration(own, variant: "embedding"))
        XCTAssertEqual(
            try Architecture(huggingFace: Data(embedding.utf8)), try SmallText.architecture("bert", "embedding"))
        let graft = WeightFile(network, metadata: WeightMetadata(classNames: names))
        let made = try XCTUnwrap(configuration(graft))
        XCTAssertEqual(try Architecture(huggingFace: Data(made.utf8)), network.architecture)
        XCTAssertEqual(Architecture.classNames(huggingFace: Data(made.utf8)), names)
        // A class of transformers that has more than the network takes.
        let masked = try SmallText.network("bert", "masked-language-model")
        var pretrained = try file(masked)
        pretrained.metadata.notes["config.json"] = pretrained.metadata.notes["config.json"]?
            .replacingOccurrences(of: "BertForMaskedLM", with: "BertForPreTraining")
        XCTAssertEqual(try configuration(pretrained), try masked.architecture.huggingFaceConfig())
        XCTAssertNil(try configuration(WeightFile(Architecture(named: "resnet20").network())))
    }

    /// What Graft does not know of a configuration stays in the one that it writes for another network.
    func testConfigurationsKeepWhatOnlyTransformersKnows() throws {
        let network = try SmallText.network("gpt2", "language-model")
        var bare = try file(network)
        let text = try XCTUnwrap(bare.metadata.huggingFaceConfiguration)
        var config = try XCTUnwrap(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        let own: [String: Any] = [
            "architectures": ["GPT2Model"], "bos_token_id": 65, "eos_token_id": 66, "n_ctx": 24,
            "activation_function": "gelu_pytorch_tanh", "id2label": ["0": "a"], "label2id": ["a": 0], "num_labels": 1,
        ]
        config.merge(own) { $1 }
        bare.metadata.huggingFaceConfiguration = String(
            decoding: try JSONSerialization.data(withJSONObject: config), as: UTF8.self)
        let made = try WeightLoader.canonical(bare, path: "w").file.metadata.huggingFaceConfiguration
        let written = try XCTUnwrap(
            JSONSerialization.jsonObject(with: Data(try XCTUnwrap(made).utf8)) as? [String: Any])
        XCTAssertEqual(written["architectures"] as? [String], ["GPT2LMHeadModel"])
        for key in ["bos_token_id", "eos_token_id", "n_ctx", "activation_function", "n_embd", "pad_token_id"] {
            XCTAssertEqual(written[key] as? NSObject, config[key] as? NSObject, key)
        }
        // Labels are those of a classifier, which this is none.
        for key in ["id2label", "label2id", "num_labels"] { XCTAssertNil(written[key], key) }
        let classifier = try network.architecture.huggingFaceConfig(keeping: made).replacingOccurrences(
            of: "GPT2LMHeadModel", with: "GPT2ForSequenceClassification")
        let kept = try SmallText.architecture("gpt2", "sequence-classification").huggingFaceConfig(
            classNames: ["bad", "middling", "good"], keeping: classifier)
        XCTAssertTrue(kept.contains("\"eos_token_id\" : 66"), kept)
        XCTAssertEqual(Architecture.classNames(huggingFace: Data(kept.utf8)), ["bad", "middling", "good"])
    }

    /// A folder of Hugging Face through Graft's file: names, and tensors that the network has no place for.
    func testAFolderLeavesAsItCame() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let pooled = try SmallText.network("bert", "sequence-classification")
        var bare = try file(pooled) { $0.hasPrefix("bert.") ? String($0.dropFirst("bert.".count)) : nil }
        bare.tensors.append(
            StoredTensor(
                name: "embeddings.position_ids", shape: [1, 2], elementType: .int64,
                bytes: Data([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])))
        bare.metadata.huggingFaceConfiguration = bare.metadata.huggingFaceConfiguration?
            .replacingOccurrences(of: "BertForSequenceClassification", with: "BertModel")
        let gpt2 = try SmallText.network("gpt2", "language-model")
        var tied = try file(gpt2)
        let words = try XCTUnwrap(tied["transformer.wte.weight"])
        tied.tensors.append(words.renamed("lm_head.weight"))
        tied.tensors.append(StoredTensor(name: "transformer.h.0.attn.bias", shape: [1, 1, 1, 1], scalars: [1]))
        for (name, source) in [("bare", bare), ("tied", tied)] {
            let (first, graft, last) = ("\(folder)/\(name)", "\(folder)/\(name).h5", "\(folder)/\(name)-again")
            try source.write(to: first, as: .huggingFace)
            try WeightLoader.canonical(WeightFile.read(first), path: first).file.write(to: graft, as: .graftHDF5)
            let canonical = try WeightLoader.canonical(WeightFile.read(graft), path: graft)
            try canonical.file.write(to: last, as: .huggingFace)
            let files = try [first, last].map { folder in
                try WeightFile.read(folder).tensors.sorted { $0.name < $1.name }
            }
            XCTAssertEqual(files[0].map(\.name), files[1].map(\.name))
            XCTAssertEqual(files[0], files[1])
            let configurations = try [first, last].map {
                try String(contentsOfFile: $0 + "/config.json", encoding: .utf8)
            }
            XCTAssertEqual(configurations[0], configurations[1])
        }
    }

    func testOldNamesWithAHead() throws {
        let network = try SmallText.network("bert", "token-classification")
        let old = try file(network) { name in
            name.replacingOccurrences(of: "LayerNorm.weight", with: "LayerNorm.gamma")
                .replacingOccurrences(of: "LayerNorm.bias", with: "LayerNorm.beta")
        }
        let copy = try WeightLoader.network(from: old, path: "pytorch_model.bin").network
        XCTAssertEqual(copy.architecture, network.architecture)
        assertSame(network, copy)
    }

    func testHeadsAreReplaced() throws {
        let network = try SmallText.network("bert", "masked-language-model")
        let masked = try file(network)
        let (other, report) = try WeightLoader.network(
            from: masked, path: "w", variant: "sequence-classification", classes: 4, head: .new)
        XCTAssertEqual(other.architecture.classes, 4)
        // The head's dense, norm and bias; the new classifier and pooler.
        XCTAssertEqual([report.count(.refused), report.count(.newlyInitialised)], [5, 4], report.description)
        XCTAssertEqual(
            try WeightLoader.network(from: masked, path: "w", variant: "embedding").report.count(.refused), 5)
    }

    func testCopiesOfTiedWeightsMustBeTheSame() throws {
        let network = try SmallText.network("gpt2", "language-model")
        var twice = try file(network) { String($0.dropFirst("transformer.".count)) }
        let words = try XCTUnwrap(twice.tensors.first { $0.name == "wte.weight" })
        twice.tensors += [
            StoredTensor(name: "lm_head.weight", shape: words.shape, scalars: words.scalars),
            StoredTensor(name: "h.0.attn.bias", shape: [1, 1, 2, 2], scalars: [1, 0, 1, 1]),
            StoredTensor(name: "h.1.attn.masked_bias", shape: [1], scalars: [-1e4]),
        ]
        let (copy, report) = try WeightLoader.network(from: twice, path: "w")
        XCTAssertEqual(report.count(.refused), 3, report.description)
        assertSame(network, copy)
        let place = twice.tensors.count - 3
        var changed = words.scalars
        changed[5] += 1
        twice.tensors[place] = StoredTensor(name: "lm_head.weight", shape: words.shape, scalars: changed)
        XCTAssertThrowsError(try WeightLoader.network(from: twice, path: "w")) {
            XCTAssertEqual("\($0)".contains("unexpected: lm_head.weight"), true, "\($0)")
        }
    }

    func testShapesTellAllButHeads() throws {
        for name in ["bert_tiny-token-classification", "bert_mini-question-answering", "gpt2"] {
            let network = try Architecture(named: name).network()
            let shapes = network.store.parameters.map {
                StoredTensor(
                    name: $0.path, shape: $0.shape, elementType: .float32, bytes: Data(count: 4 * $0.count),
                    role: .parameter)
            }
            let found = try WeightLoader.architecture(
                of: WeightFile(format: .safetensors, tensors: shapes), path: "model.safetensors")
            XCTAssertEqual(found, network.architecture)
        }
        for family in ["bert", "distilbert", "gpt2"] {
            let network = try SmallText.network(family, family == "gpt2" ? "language-model" : "embedding")
            XCTAssertThrowsError(try WeightLoader.network(from: file(network, config: false), path: "w")) {
                XCTAssertEqual(
                    "\($0)",
                    "architecture \(family): heads is not said, expected a divisor of the width 96; weights do not tell "
                        + "it, sizes or config.json must")
            }
        }
    }
}
