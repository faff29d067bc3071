import Foundation

/// A `tokenizer.json`, read or made of vocabulary files, with what `tokenizer_config.json` adds.
struct TokenizerFile {
    /// For messages.
    let path: String
    let json: [UInt8]
    let settings: JSONText?

    static func inFolder(_ folder: String) throws -> TokenizerFile {
        guard let path = path(inFolder: folder) else { throw DatasetError.noTokenizer(path: folder) }
        return try atPath(path)
    }

    /// The file of a folder that says most; nil where there is none.
    static func path(inFolder folder: String) -> String? {
        ["tokenizer.json", "vocab.txt", "vocab.json"]
            .map { URL(fileURLWithPath: folder).appendingPathComponent($0).path }
            .first { FileManager.default.fileExists(atPath: $0) }
    }

    static func atPath(_ path: String) throws -> TokenizerFile {
        let url = URL(fileURLWithPath: path)
        let beside = url.deletingLastPathComponent()
        let settingsPath = beside.appendingPathComponent("tokenizer_config.json").path
        var settings: JSONText?
        if FileManager.default.fileExists(atPath: settingsPath) {
            settings = try JSONText(parsing: bytes(settingsPath), path: settingsPath)
        }
        let json: JSONText
        switch url.lastPathComponent {
        case "merges.txt", "vocab.json":
            try refuse(settings, settingsPath, "of vocab.json and merges.txt, GPT-2's can be read") { name in
                !["GPT2", "CodeGen", "PreTrained", "Tokenizers"].contains { name.hasPrefix($0) }
            }
            settings = try VocabularyFiles.settings(settings, beside: beside)
            json = try VocabularyFiles.bytePair(
                vocabulary: beside.appendingPathComponent("vocab.json").path,
                merges: beside.appendingPathComponent("merges.txt").path, settings: settings)
        case let name where name.hasSuffix(".txt"):
            try refuse(settings, settingsPath, "of vocab.txt, BERT's can be read") { name in
                ["BertJapanese", "Funnel", "MPNet", "Splinter", "Tapas"].contains { name.hasPrefix($0) }
            }
            settings = try VocabularyFiles.settings(settings, beside: beside)
            json = try VocabularyFiles.wordPiece(vocabulary: path, settings: settings)
        default:
            return TokenizerFile(path: path, json: try bytes(path), settings: settings)
        }
        return TokenizerFile(path: path, json: json.serialized(), settings: settings)
    }

    /// Vocabulary files of some models have the same names and are used otherwise.
    private static func refuse(
        _ settings: JSONText?, _ path: String, _ rule: String, where isOther: (String) -> Bool
    ) throws {
        guard let name = settings?["tokenizer_class"]?.string, isOther(name) else { return }
        throw DatasetError.unsupportedTokenizer(
            path: path, key: "tokenizer_class", value: name, rule: "\(rule); give the model's tokenizer.json")
    }

    /// The UTF-8 of a file, without a byte order mark.
    static func bytes(_ path: String) throws -> [UInt8] { Array(try TextFile.read(path).utf8) }

    private func damaged(_ reason: String) -> DatasetError { .damaged(path: path, reason: reason) }

    private func unsupported(_ key: String, _ value: JSONText?, _ rule: String) -> DatasetError {
        .unsupportedTokenizer(path: path, key: key, value: value?.excerpt ?? "nothing", rule: rule)
    }

    // MARK: The parts of the file

    func core() throws -> TokenizerCore {
        let file = try JSONText(parsing: json, path: path)
        guard let modelPart = file["model"], modelPart.members != nil else { throw damaged("no object 'model'") }
        var ids = try modelVocabulary(modelPart)
        let model =
            switch try kind(modelPart) {
            case .wordPiece: try wordPiece(file, modelPart, ids)
            case .bytePair: try bytePair(file, modelPart, ids)
            }
        let addedTokens = try addedTokens(file)
        for added in addedTokens { ids[added.content] = added.token }
        let vocabulary = Vocabulary(ids: ids)
        let (template, trimming) = try postProcessor(file["post_processor"])
        return TokenizerCore(
            json: json, model: model, vocabulary: vocabulary, addedTokens: addedTokens,
            roles: roles(file, modelPart, vocabulary, template), template: template, trimming: trimming,
            decoder: try decoder(file["decoder"]))
    }

    private enum Kind { case wordPiece, bytePair }

    /// Old files do not say it; only byte-pair models have merges.
    private func kind(_ model: JSONText) throws -> Kind {
        switch model["type"]?.string ?? (model["merges"] == nil ? "WordPiece" : "BPE") {
        case "WordPiece": return .wordPiece
        case "BPE": return .bytePair
        default: throw unsupported("model.type", model["type"], "WordPiece and byte-level BPE can be read")
        }
    }

    private func modelVocabulary(_ model: JSONText) throws -> [[UInt8]: Int32] {
        guard let members = model["vocab"]?.members else { throw damaged("no object 'model.vocab'") }
        var ids: [[UInt8]: Int32] = [:]
        ids.reserveCapacity(members.count)
        for (name, value) in members {
            guard let token = value.token else {
                throw damaged(
                    "model.vocab: '\(String(decoding: name, as: UTF8.self))' is \(value.excerpt), not a token")
            }
            ids[name] = token
        }
        if ids.isEmpty { throw damaged("'model.vocab' is empty") }
        return ids
    }

    private func wordPiece(
        _ file: JSONText, _ model: JSONText, _ vocabulary: [[UInt8]: Int32]
    ) throws -> TokenizerModel {
        let unknown = model["unk_token"]?.bytes ?? Array("[UNK]".utf8)
        guard let unknownToken = vocabulary[unknown] else {
            throw damaged("the unknown token '\(String(decoding: unknown, as: UTF8.self))' is not in the vocabulary")
        }
        let splitter = file["pre_tokenizer"]
        guard splitter?["type"]?.string == "BertPreTokenizer" else {
            throw unsupported("pre_tokenizer", splitter, "with WordPiece it has to be BertPreTokenizer")
        }
        let normalizer = file["normalizer"] ?? .null
        var normalization: BERTNormalization?
        if !normalizer.isNull {
            guard normalizer["type"]?.string == "BertNormalizer" else {
                throw unsupported("normalizer", normalizer, "with WordPiece it has to be BertNormalizer or null")
            }
            let lowercases = normalizer["lowercase"]?.flag ?? true
            normalization = BERTNormalization(
                cleansText: normalizer["clean_text"]?.flag ?? true,
                separatesChinese: normalizer["handle_chinese_chars"]?.flag ?? true,
                stripsAccents: normalizer["strip_accents"]?.flag ?? lowercases, lowercases: lowercases)
        }
        return .wordPiece(
            WordPiece(
                vocabulary: vocabulary, unknown: unknownToken,
                continuationPrefix: model["continuing_subword_prefix"]?.bytes ?? Array("##".utf8),
                longestWord: model["max_input_chars_per_word"]?.token.map(Int.init) ?? 100),
            normalization: normalization)
    }

    private func bytePair(
        _ file: JSONText, _ model: JSONText, _ vocabulary: [[UInt8]: Int32]
    ) throws -> TokenizerModel {
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] where model[key]?.bytes?.isEmpty == false {
            throw unsupported("model.\(key)", model[key], "only byte-level BPE without affixes can be read")
        }
        for key in ["dropout", "byte_fallback", "fuse_unk"] {
            if let value = model[key], !value.isNull, value.flag != false, value.token != 0 {
                throw unsupported("model.\(key)", value, "it has to be false or null")
            }
        }
        if let normalizer = file["normalizer"], !normalizer.isNull {
            throw unsupported("normalizer", normalizer, "with byte-level BPE it has to be null")
        }
        let splitter = file["pre_tokenizer"]
        guard splitter?["type"]?.string == "ByteLevel" else {
            throw unsupported("pre_tokenizer", splitter, "with BPE it has to be ByteLevel")
        }
        let unknown = try model["unk_token"]?.bytes.map { name in
            guard let token = vocabulary[name] else {
                throw damaged("the unknown token '\(String(decoding: name, as: UTF8.self))' is not in the vocabulary")
            }
            return token
        }
        let bytePair = try BytePair(
            vocabulary: vocabulary, merges: merges(model["merges"]), unknown: unknown,
            ignoresMerges: model["ignore_merges"]?.flag ?? false, path: path)
        return .bytePair(
            bytePair, addsPrefixSpace: splitter?["add_prefix_space"]?.flag ?? true,
            splits: splitter?["use_regex"]?.flag ?? true)
    }

    /// Merges are written "a b", or as lists of two since version 0.20 of Hugging Face tokenizers.
    private func merges(_ part: JSONText?) throws -> [([UInt8], [UInt8])] {
        guard let list = part?.list else { throw damaged("no list 'model.merges'") }
        return try list.enumerated().map { index, merge in
            let halves: [[UInt8]]
            switch merge {
            case .text(let text):
                halves = text.split(separator: 0x20, omittingEmptySubsequences: false).map(Array.init)
            case .list(let list): halves = list.compactMap(\.bytes)
            default: halves = []
            }
            guard halves.count == 2 else { throw damaged("model.merges[\(index)] is \(merge.excerpt), not two tokens") }
            return (halves[0], halves[1])
        }
    }

    private func addedTokens(_ file: JSONText) throws -> [AddedToken] {
        try (file["added_tokens"]?.list ?? []).enumerated().compactMap { index, entry in
            guard let content = entry["content"]?.bytes, let token = entry["id"]?.token else {
                throw damaged("added_tokens[\(index)] has no content or no id")
            }
            if content.isEmpty { return nil }
            let isSpecial = entry["special"]?.flag ?? false
            return AddedToken(
                content: content, token: token, isSingleWord: entry["single_word"]?.flag ?? false,
                stripsLeft: entry["lstrip"]?.flag ?? false, stripsRight: entry["rstrip"]?.flag ?? false,
                isNormalized: entry["normalized"]?.flag ?? !isSpecial, isSpecial: isSpecial)
        }
    }

    private func postProcessor(_ part: JSONText?) throws -> (SpecialTokenTemplate, OffsetTrimming) {
        guard let part, !part.isNull else { return (SpecialTokenTemplate(), .none) }
        switch part["type"]?.string {
        case "ByteLevel":
            let trims = part["trim_offsets"]?.flag ?? true
            let prefix = part["add_prefix_space"]?.flag ?? true
            return (SpecialTokenTemplate(), trims ? .spaces(keepingPrefix: prefix) : .none)
        case "BertProcessing":
            guard let begin = part["cls"]?.list?.last?.token, let separator = part["sep"]?.list?.last?.token else {
                throw damaged("post_processor has no cls or no sep")
            }
            return (.bert(begin: begin, separator: separator), .none)
        case "TemplateProcessing":
            let template = SpecialTokenTemplate(
                single: try template(part, "single", texts: 1), pair: try template(part, "pair", texts: 2))
            return (template, .none)
        default:
            throw unsupported(
                "post_processor", part, "TemplateProcessing, BertProcessing, ByteLevel and null can be read")
        }
    }

    private func template(_ part: JSONText, _ name: String, texts: Int) throws -> [SpecialTokenTemplate.Piece] {
        guard let list = part[name]?.list else { throw damaged("post_processor has no list '\(name)'") }
        let pieces = try list.map { piece -> SpecialTokenTemplate.Piece in
            if let text = piece["Sequence"] {
                return .text(text["id"]?.string == "B" ? 1 : 0, segment: text["type_id"]?.token ?? 0)
            }
            guard let special = piece["SpecialToken"], let id = special["id"]?.string,
                let tokens = part["special_tokens"]?[id]?["ids"]?.list?.map(\.token), !tokens.contains(nil)
            else { throw damaged("post_processor.\(name): \(piece.excerpt) is neither a text nor a special token") }
            return .special(tokens: tokens.compactMap { $0 }, segment: special["type_id"]?.token ?? 0)
        }
        for text in 0..<texts where !pieces.contains(where: { if case .text(text, _) = $0 { true } else { false } }) {
            throw damaged("post_processor.\(name) leaves out text \(text == 0 ? "A" : "B")")
        }
        return pieces
    }

    private func decoder(_ part: JSONText?) throws -> TokenDecoder {
        guard let part, !part.isNull else { return .spaces }
        switch part["type"]?.string {
        case "ByteLevel": return .byteLevel
        case "WordPiece":
            return .wordPiece(
                prefix: part["prefix"]?.bytes ?? Array("##".utf8), cleansUp: part["cleanup"]?.flag ?? true)
        default: throw unsupported("decoder", part, "WordPiece, ByteLevel and null can be read")
        }
    }

    // MARK: What special tokens are for

    /// As `tokenizer_config.json` says; else as the file's other parts show; else by their usual names.
    private func roles(
        _ file: JSONText, _ model: JSONText, _ vocabulary: Vocabulary, _ template: SpecialTokenTemplate
    ) -> TokenRoles {
        func named(_ names: String...) -> Int32? {
            names.lazy.compactMap { vocabulary.ids[Array($0.utf8)] }.first
        }
        func stated(_ keys: String...) -> Int32? {
            keys.lazy.compactMap { Self.content(settings?[$0]).flatMap { vocabulary.ids[$0] } }.first
        }
        let special = SpecialTokenTemplate.specialTokens(template.single)
        let unknown = model["unk_token"]?.bytes.flatMap { vocabulary.ids[$0] }
        return TokenRoles(
            padding: stated("pad_token") ?? file["padding"]?["pad_token"]?.bytes.flatMap { vocabulary.ids[$0] }
                ?? named("[PAD]", "<pad>"),
            unknown: stated("unk_token") ?? unknown,
            begin: stated("cls_token", "bos_token") ?? special.first ?? named("<|endoftext|>"),
            separator: stated("sep_token", "eos_token") ?? special.last ?? named("<|endoftext|>"),
            mask: stated("mask_token") ?? named("[MASK]", "<mask>"))
    }

    /// A token's text in `tokenizer_config.json`: the text, or an object that has it.
    static func content(_ value: JSONText?) -> [UInt8]? { value?.bytes ?? value?["content"]?.bytes }
}

extension SpecialTokenTemplate {
    /// `[CLS] A [SEP]`, and `[CLS] A [SEP] B [SEP]` with the second text and its separator in segment 1.
    static func bert(begin: Int32, separator: Int32) -> SpecialTokenTemplate {
        let single: [Piece] = [
            .special(tokens: [begin], segment: 0), .text(0, segment: 0), .special(tokens: [separator], segment: 0),
        ]
        return SpecialTokenTemplate(
            single: single,
            pair: single + [.text(1, segment: 1), .special(tokens: [separator], segment: 1)])
    }
}
