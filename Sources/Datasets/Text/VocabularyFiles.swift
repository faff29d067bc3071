import Foundation

/// Vocabulary files from before `tokenizer.json`, made into one as Hugging Face makes it of them.
enum VocabularyFiles {
    /// `vocab.txt` of BERT: a token per line, numbered from 0.
    ///
    /// - Parameter settings: `tokenizer_config.json`: `do_lower_case`, `strip_accents`, `tokenize_chinese_chars`, and
    ///   the names of special tokens.
    /// - Throws: `DatasetError` where the file cannot be read or lacks a special token.
    static func wordPiece(vocabulary path: String, settings: JSONText?) throws -> JSONText {
        let text = try TextFile.read(path)
        var lines = text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false).map(withoutTrailingSpace)
        if lines.last?.isEmpty == true { lines.removeLast() }
        var ids: [[UInt8]: Int] = [:]
        for (number, line) in lines.enumerated() { ids[line] = number }

        func special(_ key: String, _ usual: String) -> [UInt8] {
            TokenizerFile.content(settings?[key]) ?? Array(usual.utf8)
        }
        func token(_ name: [UInt8]) throws -> JSONText {
            guard let id = ids[name] else {
                throw DatasetError.damaged(
                    path: path, reason: "no line '\(String(decoding: name, as: UTF8.self))', which is a special token")
            }
            return .number(Double(id))
        }
        let unknown = special("unk_token", "[UNK]")
        let begin = special("cls_token", "[CLS]")
        let separator = special("sep_token", "[SEP]")
        let lowercases = settings?["do_lower_case"]?.flag ?? !hasUpperCase(text)
        let names = [special("pad_token", "[PAD]"), unknown, begin, separator, special("mask_token", "[MASK]")]
        let vocabulary = lines.enumerated().map { number, line -> (name: [UInt8], value: JSONText) in
            (line, .number(Double(number)))
        }
        _ = try token(unknown)
        return [
            "version": "1.0", "truncation": .null, "padding": .null,
            "added_tokens": addedTokens(names, ids, settings),
            "normalizer": [
                "type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": .flag(settings?["tokenize_chinese_chars"]?.flag ?? true),
                "strip_accents": settings?["strip_accents"]?.flag.map(JSONText.flag) ?? .null,
                "lowercase": .flag(lowercases),
            ],
            "pre_tokenizer": ["type": "BertPreTokenizer"],
            "post_processor": template(begin, try token(begin), separator, try token(separator)),
            "decoder": ["type": "WordPiece", "prefix": "##", "cleanup": true],
            "model": [
                "type": "WordPiece", "unk_token": .text(unknown), "continuing_subword_prefix": "##",
                "max_input_chars_per_word": .number(100), "vocab": .object(vocabulary),
            ],
        ]
    }

    /// `vocab.json` and `merges.txt` of GPT-2.
    ///
    /// - Parameter settings: `tokenizer_config.json`: `add_prefix_space` and the names of special tokens.
    /// - Throws: `DatasetError` where a file cannot be read or is not of this form.
    static func bytePair(vocabulary path: String, merges mergesPath: String, settings: JSONText?) throws -> JSONText {
        let vocabulary = try JSONText(parsing: TokenizerFile.bytes(path), path: path)
        guard let members = vocabulary.members else {
            throw DatasetError.damaged(path: path, reason: "not an object of tokens")
        }
        var ids: [[UInt8]: Int] = [:]
        for (name, value) in members { ids[name] = value.token.map(Int.init) }
        let lines = try TextFile.lines(mergesPath).map { Array($0.utf8) }
        let merges = lines.filter { !$0.starts(with: "#version".utf8) }.map(JSONText.text)
        let names =
            [Array("<|endoftext|>".utf8)]
            + ["bos_token", "eos_token", "unk_token", "pad_token"].compactMap { TokenizerFile.content(settings?[$0]) }
        return [
            "version": "1.0", "truncation": .null, "padding": .null,
            "added_tokens": addedTokens(names, ids, settings), "normalizer": .null,
            "pre_tokenizer": byteLevel(addsPrefixSpace: settings?["add_prefix_space"]?.flag ?? false, trims: true),
            "post_processor": byteLevel(addsPrefixSpace: true, trims: false),
            "decoder": byteLevel(addsPrefixSpace: true, trims: true),
            "model": [
                "type": "BPE", "dropout": .null, "unk_token": .null, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": false, "vocab": vocabulary, "merges": .list(merges),
            ],
        ]
    }

    /// `tokenizer_config.json`, and from before it listed added tokens what lies beside it, put together as Hugging Face
    /// does: `special_tokens_map.json` says more of special tokens, `added_tokens.json` has the numbers of added ones.
    ///
    /// - Throws: `DatasetError` where a file cannot be read or is not of this form.
    static func settings(_ settings: JSONText?, beside folder: URL) throws -> JSONText? {
        guard settings?["added_tokens_decoder"] == nil else { return settings }
        func members(_ name: String) throws -> [(name: [UInt8], value: JSONText)] {
            let path = folder.appendingPathComponent(name).path
            guard FileManager.default.fileExists(atPath: path) else { return [] }
            let file = try JSONText(parsing: TokenizerFile.bytes(path), path: path)
            guard let members = file.members else {
                throw DatasetError.damaged(path: path, reason: "not an object of tokens")
            }
            return members
        }
        var whole = (settings?.members ?? []) + (try members("special_tokens_map.json"))
        // As transformers 5 has it: those of `additional_special_tokens` are added like any other.
        let special = Set(
            whole.filter { $0.name.suffix(6) == Array("_token".utf8) || $0.name == Array("extra_special_tokens".utf8) }
                .flatMap { $0.value.list ?? [$0.value] }.compactMap(TokenizerFile.content))
        let added = try members("added_tokens.json").map { content, number -> (name: [UInt8], value: JSONText) in
            guard let id = number.token else {
                throw DatasetError.damaged(
                    path: folder.appendingPathComponent("added_tokens.json").path,
                    reason: "'\(String(decoding: content, as: UTF8.self))' has the number \(number.excerpt)")
            }
            let isSpecial = special.contains(content)
            return (
                Array("\(id)".utf8),
                ["content": .text(content), "normalized": .flag(!isSpecial), "special": .flag(isSpecial)]
            )
        }
        if !added.isEmpty { whole.append((Array("added_tokens_decoder".utf8), .object(added))) }
        return whole.isEmpty ? settings : .object(whole)
    }

    /// Special tokens that are in the vocabulary, and what `added_tokens_decoder` of the settings lists.
    private static func addedTokens(_ special: [[UInt8]], _ ids: [[UInt8]: Int], _ settings: JSONText?) -> JSONText {
        var entries: [Int: JSONText] = [:]
        func add(_ content: [UInt8], _ id: Int, _ options: JSONText?) {
            func option(_ key: String, _ usual: Bool) -> JSONText { .flag(options?[key]?.flag ?? usual) }
            entries[id] = [
                "id": .number(Double(id)), "content": .text(content), "single_word": option("single_word", false),
                "lstrip": option("lstrip", false), "rstrip": option("rstrip", false),
                "normalized": option("normalized", false), "special": option("special", options == nil),
            ]
        }
        for content in special {
            if let id = ids[content] { add(content, id, nil) }
        }
        for (name, options) in settings?["added_tokens_decoder"]?.members ?? [] {
            if let id = Int32(String(decoding: name, as: UTF8.self)), id >= 0, let content = options["content"]?.bytes {
                add(content, Int(id), options)
            }
        }
        return .list(entries.sorted { $0.key < $1.key }.map(\.value))
    }

    private static func template(
        _ begin: [UInt8], _ beginToken: JSONText, _ separator: [UInt8], _ separatorToken: JSONText
    ) -> JSONText {
        func special(_ name: [UInt8], _ segment: Double) -> JSONText {
            ["SpecialToken": ["id": .text(name), "type_id": .number(segment)]]
        }
        func text(_ name: JSONText, _ segment: Double) -> JSONText {
            ["Sequence": ["id": name, "type_id": .number(segment)]]
        }
        func definition(_ name: [UInt8], _ token: JSONText) -> JSONText {
            ["id": .text(name), "ids": .list([token]), "tokens": .list([.text(name)])]
        }
        let single = [special(begin, 0), text("A", 0), special(separator, 0)]
        return [
            "type": "TemplateProcessing", "single": .list(single),
            "pair": .list(single + [text("B", 1), special(separator, 1)]),
            "special_tokens": .object([
                (begin, definition(begin, beginToken)), (separator, definition(separator, separatorToken)),
            ]),
        ]
    }

    private static func byteLevel(addsPrefixSpace: Bool, trims: Bool) -> JSONText {
        [
            "type": "ByteLevel", "add_prefix_space": .flag(addsPrefixSpace), "trim_offsets": .flag(trims),
            "use_regex": true,
        ]
    }

    private static func withoutTrailingSpace(_ line: Substring.UTF8View) -> [UInt8] {
        var scalars = Substring(line).unicodeScalars
        while let last = scalars.last, last.properties.isWhitespace { scalars.removeLast() }
        return Array(String(scalars).utf8)
    }

    /// Whether some token other than a special one, in brackets, has an upper-case letter.
    private static func hasUpperCase(_ text: String) -> Bool {
        text.split(whereSeparator: \.isNewline).contains { line in
            !line.hasPrefix("[") && line.unicodeScalars.contains { $0.properties.changesWhenLowercased }
        }
    }
}
