import Foundation
import Models

/// Weights as Hugging Face's libraries keep them: a folder with `config.json` and the tensors in one file
/// (`model.safetensors`, `pytorch_model.bin`) or in several with a list of them (`model.safetensors.index.json`).
///
/// Every tensor that the list names must be where it says, once, and no other: what is missing is an error and not a
/// layer of random values. `config.json` is kept as it is, under that name in the notes of the metadata.
struct HuggingFaceFolder {
    /// What a network is called and how large it is, in the words of transformers.
    static let configuration = "config.json"
    static let weights = "model.safetensors"
    /// In the order in which transformers looks for them.
    private static let candidates = [
        weights, "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
    ]
    /// Files that say how text becomes tokens, and travel with the weights.
    static let tokenizerFiles = [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
        "vocab.json", "merges.txt",
    ]
    private static let longestConfiguration = 1 << 24

    private let folder: String
    /// The one file of all tensors, or the list of several.
    private let main: String
    private let index: HuggingFaceIndex?

    /// nil where `path` is no folder, or one that does not look like Hugging Face's.
    ///
    /// - Throws: `ArchiveError.missing` where there is a configuration and no weights, or why the list cannot be read.
    init?(folder path: String) throws {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue else {
            return nil
        }
        func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(path)/\(name)") }
        guard let main = Self.candidates.first(where: exists) else {
            guard exists(Self.configuration) else { return nil }
            throw ArchiveError.missing(path: path, name: Self.candidates.joined(separator: ", nor "))
        }
        folder = path
        self.main = "\(path)/\(main)"
        index = try main.hasSuffix(".json") ? HuggingFaceIndex(ByteSource(path: self.main)) : nil
    }

    /// A list of shards; they lie beside it.
    init(index source: ByteSource) throws {
        folder = URL(fileURLWithPath: source.path).deletingLastPathComponent().path
        main = source.path
        index = try HuggingFaceIndex(source)
    }

    /// Whether a file that begins so may be a list of shards.
    static func recognisesIndex(_ head: Data) -> Bool {
        head.first { ![0x20, 0x09, 0x0a, 0x0d].contains($0) } == UInt8(ascii: "{")
    }

    /// Bytes of all files of weights.
    func size() throws -> Int {
        try files.reduce(0) { try $0 + FileBytes.size($1) }
    }

    private var files: [String] { index.map { $0.shards.map(path) } ?? [main] }

    private func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// - Parameter listing: whether tensors come without their values.
    /// - Throws: `ArchiveError`, naming the file and the tensor.
    func read(listing: Bool) throws -> WeightFile {
        var file = WeightFile(format: .huggingFace, tensors: [])
        if let index {
            for shard in index.shards {
                let part = try read(shard, of: index, listing: listing)
                file.tensors += part.tensors
                file.metadata.notes.merge(part.metadata.notes) { first, _ in first }
            }
        } else {
            file = try readPart(main, listing: listing)
            file.format = .huggingFace
        }
        if let text = try configurationText() {
            file.metadata.huggingFaceConfiguration = text
            let timm = try TimmConfiguration(text, path: self.path(Self.configuration))
            file.metadata.preprocessing = file.metadata.preprocessing ?? timm?.preprocessing
            file.metadata.classNames =
                file.metadata.classNames ?? timm?.classNames ?? Architecture.classNames(huggingFace: Data(text.utf8))
        }
        return file
    }

    /// One of several files, with all the tensors that the list says it has and no others.
    private func read(_ shard: String, of index: HuggingFaceIndex, listing: Bool) throws -> WeightFile {
        let name = path(shard)
        guard FileManager.default.fileExists(atPath: name) else {
            throw ArchiveError.missing(path: main, name: "file \(shard) beside it, which it lists")
        }
        let part = try readPart(name, listing: listing)
        var found: Set<String> = []
        for tensor in part.tensors {
            found.insert(tensor.name)
            guard let place = index.places[tensor.name] else {
                throw damaged(name, "it holds \(tensor.name), which \(main) does not list")
            }
            guard place == shard else {
                throw damaged(name, "it holds \(tensor.name), which \(main) lists in \(place)")
            }
        }
        if let absent = index.places.filter({ $0.value == shard && !found.contains($0.key) }).keys.min() {
            throw ArchiveError.missing(path: name, name: "tensor \(absent), which \(main) lists there")
        }
        return part
    }

    /// Never another list: it could name itself.
    private func readPart(_ path: String, listing: Bool) throws -> WeightFile {
        let source = try ByteSource(path: path)
        let kind = try FileKind(of: source)
        guard let file = try WeightFile.readHere(kind, source, listing: listing) else {
            let what = kind == .index ? "a list of files" : kind == .zip ? "Keras's archive" : "HDF5"
            throw damaged(path, "it is \(what), neither safetensors nor PyTorch")
        }
        return file
    }

    private func configurationText() throws -> String? {
        let name = path(Self.configuration)
        guard FileManager.default.fileExists(atPath: name) else { return nil }
        let source = try ByteSource(path: name)
        guard source.count <= Self.longestConfiguration,
            let text = String(data: try source.read(0..<source.count), encoding: .utf8)
        else { throw damaged(name, "it is not a text of a few kilobytes") }
        guard (try? JSONSerialization.jsonObject(with: Data(text.utf8))) is [String: Any] else {
            throw damaged(name, "it is not JSON")
        }
        return text
    }

    private func damaged(_ path: String, _ reason: String) -> ArchiveError {
        .damaged(path: path, format: WeightFormat.huggingFace.title, reason: reason)
    }
}

/// The list of a folder's shards: which file holds which tensor.
package struct HuggingFaceIndex {
    /// The file of each tensor.
    let places: [String: String]

    /// The files, each once, in alphabetical order: that of their numbers.
    var shards: [String] { Set(places.values).sorted() }

    private static let longest = 1 << 26

    private struct Content: Decodable {
        let weight_map: [String: String]
    }

    package init(_ bytes: Data, path: String) throws { try self.init(ByteSource(bytes, path: path)) }

    /// - Throws: `ArchiveError.notRecognised` where it is other JSON, `.damaged` where it names files elsewhere.
    init(_ source: ByteSource) throws {
        guard source.count <= Self.longest,
            let content = try? JSONDecoder().decode(Content.self, from: try source.read(0..<source.count))
        else { throw ArchiveError.notRecognised(path: source.path) }
        guard !content.weight_map.isEmpty else { throw ArchiveError.noTensors(path: source.path) }
        // A list may not lead to any file of this machine.
        for (tensor, file) in content.weight_map.sorted(by: { $0.key < $1.key })
        where file.isEmpty || file.contains("/") || file.contains("\0") || file.hasPrefix(".") {
            throw ArchiveError.damaged(
                path: source.path, format: WeightFormat.huggingFace.title,
                reason: "it lists \(tensor) in \"\(file)\", which is not the name of a file beside it")
        }
        places = content.weight_map
    }
}
