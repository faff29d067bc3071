import Archives
import Crypto
import Foundation

/// What a weight file says about the texts of its network, beside the tokenizer.
public struct TextSettings: Codable, Equatable, Sendable {
    /// The most tokens of a sample; of running text, the tokens of a block.
    public var length: Int
    /// Which columns of a table hold text and label.
    public var columns: TextColumns
    /// The tokens that two windows of a passage share; of questions only.
    public var stride: Int?
    /// Whether some questions that the network was trained with have no answer.
    public var mayHaveNoAnswer: Bool?

    public init(
        length: Int, columns: TextColumns = TextColumns(), stride: Int? = nil, mayHaveNoAnswer: Bool? = nil
    ) {
        (self.length, self.columns) = (length, columns)
        (self.stride, self.mayHaveNoAnswer) = (stride, mayHaveNoAnswer)
    }
}

extension WeightMetadata {
    private static let tokenizerNote = "tokenizer.json"
    private static let settingsNote = "text"

    /// Notes the tokenizer and settings, so that whoever has the weights needs nothing else.
    ///
    /// - Parameter mayHaveNoAnswer: of questions, whether some of the training data have none.
    public mutating func note(
        _ input: TextInput, _ columns: TextColumns, mayHaveNoAnswer: Bool? = nil
    ) throws {
        notes[Self.tokenizerNote] = String(decoding: input.tokenizer.json(), as: UTF8.self)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let settings = TextSettings(
            length: input.length, columns: columns, stride: input.labels == .spans ? input.stride : nil,
            mayHaveNoAnswer: mayHaveNoAnswer)
        notes[Self.settingsNote] = String(decoding: try encoder.encode(settings), as: UTF8.self)
    }

    /// The settings that a run of Graft has noted; nil where there are none.
    public var textSettings: TextSettings? {
        notes[Self.settingsNote].flatMap { try? JSONDecoder().decode(TextSettings.self, from: Data($0.utf8)) }
    }

    fileprivate var tokenizerText: String? { notes[Self.tokenizerNote] }
}

extension WeightFile {
    /// The tokenizer that belongs to the weights: noted in the file, or beside it in its folder; nil where there is none.
    ///
    /// - Parameter path: where the weights were read from, a file or a folder.
    /// - Throws: `DatasetError` where it is there and cannot be read.
    public func tokenizer(path: String) throws -> Tokenizer? {
        if let text = metadata.tokenizerText {
            return try Tokenizer(json: Data(text.utf8), name: "\(path): tokenizer.json")
        }
        let folder =
            ClassFolders.isFolder(path) ? path : URL(fileURLWithPath: path).deletingLastPathComponent().path
        return try TokenizerFile.path(inFolder: folder).map { try Tokenizer(file: $0) }
    }
}

extension Tokenizer {
    /// The tokenizer that a recipe or an option names: a file, a folder, or `bytes`.
    public init(named name: String) throws {
        if name == "bytes", !FileManager.default.fileExists(atPath: name) {
            try self.init(json: Data(Self.bytes.utf8), name: name)
        } else if ClassFolders.isFolder(name) {
            try self.init(folder: name)
        } else {
            try self.init(file: name)
        }
    }

    /// SHA-256 of `json()`, in hexadecimal.
    public func digest() -> String { SHA256.hash(data: json()).hexadecimal }

    /// A byte-level BPE without merges: each byte is the token of its value.
    private static var bytes: String {
        let entries = ByteLevel.alphabet.enumerated().map { byte, letter in
            "\"\\u\(String(format: "%04x", letter.value))\":\(byte)"
        }
        return """
            {"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,\
            "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},\
            "post_processor":null,\
            "decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},\
            "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,\
            "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,\
            "vocab":{\(entries.joined(separator: ","))},"merges":[]}}
            """
    }
}
