import Foundation
import Glibc

extension HuggingFaceFolder {
    /// Writes `model.safetensors` and, where the notes have it, `config.json` into a new folder that appears as a
    /// whole: it is made beside its place and renamed. Tensors get the names that they came with.
    ///
    /// - Parameter tokenizerFolder: where to take the files from that say how text becomes tokens, as far as they are
    ///   there.
    /// - Throws: `ArchiveError.writeFailed`, also where there is a folder of that name that is not empty: other files
    ///   in it may not fit the new weights.
    static func write(_ file: WeightFile, to path: String, tokenizerFolder: String? = nil) throws {
        var file = file
        let configuration = file.metadata.huggingFaceConfiguration
        file.metadata.huggingFaceConfiguration = nil
        let names = file.metadata.sourceNames
        file.metadata.sourceNames = [:]
        file.tensors = file.tensors.map { $0.renamed(names[$0.name] ?? $0.name) }
        let url = URL(fileURLWithPath: path)
        if let present = try? FileManager.default.contentsOfDirectory(atPath: url.path), !present.isEmpty {
            throw ArchiveError.writeFailed(
                path: path, call: "rename", reason: "there is such a folder and it is not empty")
        }
        let temporary = url.deletingLastPathComponent().path + "/.\(url.lastPathComponent).\(getpid()).partial"
        guard mkdir(temporary, 0o777) == 0 else {
            throw ArchiveError.writeFailed(path: path, call: "mkdir", reason: FileBytes.reason(errno))
        }
        do {
            try AtomicFile.write(try Safetensors.encode(file, path: path), to: "\(temporary)/\(weights)")
            if let configuration {
                try AtomicFile.write(Data(configuration.utf8), to: "\(temporary)/\(Self.configuration)")
            }
            for name in tokenizerFolder == nil ? [] : tokenizerFiles {
                let source = "\(tokenizerFolder ?? "")/\(name)"
                guard FileManager.default.fileExists(atPath: source) else { continue }
                let bytes = try ByteSource(path: source)
                try AtomicFile.write(try bytes.read(0..<bytes.count), to: "\(temporary)/\(name)")
            }
            guard rename(temporary, url.path) == 0 else {
                throw ArchiveError.writeFailed(path: path, call: "rename", reason: FileBytes.reason(errno))
            }
        } catch {
            try? FileManager.default.removeItem(atPath: temporary)
            throw error
        }
        try AtomicFile.synchroniseFolder(url.deletingLastPathComponent().path, path: path)
    }
}

extension WeightFile {
    /// Writes a Hugging Face folder, with the files of `tokenizerFolder` that say how text becomes tokens.
    ///
    /// - Throws: `ArchiveError.writeFailed`, also where there is a folder of that name that is not empty.
    public func writeHuggingFace(to path: String, tokenizerFolder: String?) throws {
        try HuggingFaceFolder.write(self, to: path, tokenizerFolder: tokenizerFolder)
    }
}
