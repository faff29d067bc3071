import Archives
import Foundation

/// Which part of a data set that keeps both side by side.
public enum DatasetSplit: String, Codable, Sendable, CaseIterable {
    case train, test

    /// What the folder of this part may be called.
    fileprivate var folderNames: [String] {
        self == .train ? ["train", "training"] : ["test", "validation", "valid", "val"]
    }

    /// What tells an IDX file of this part by its name.
    fileprivate var fileMarks: [String] { self == .train ? ["train"] : ["t10k", "test"] }
}

/// Opens the data set at `path`, whatever its kind.
///
/// - A file beginning as HDF5: `HDF5Images`.
/// - Another file: `IDXImages`.
/// - A folder with IDX images files: the one named for `split` (`train…`, or `t10k…` and `test…`); the only
///   one where there is no choice.
/// - A folder of class folders: `ClassFolders`; where `split` is given and the folder holds a `train` or
///   `test` folder of class folders, that one.
///
/// - Throws: `DatasetError` or `ArchiveError` naming the file or folder; `.severalParts` where there is a choice and
///   `split` is nil.
public func openImageDataset(at path: String, split: DatasetSplit? = nil) throws -> any Dataset {
    let source = try imageSource(at: path, split: split)
    if ClassFolders.isFolder(source) { return try ClassFolders(at: source) }
    if textSuffixes.contains(URL(fileURLWithPath: source).pathExtension) { throw DatasetError.noDataset(path: path) }
    return try FileBytes.beginsAsHDF5(source) ? HDF5Images(at: source) : IDXImages(imagesAt: source)
}

/// The file or folder that `openImageDataset` takes: `path`, or a part of it. Reads names only.
package func imageSource(at path: String, split: DatasetSplit?) throws -> String {
    var status = stat()
    guard stat(path, &status) == 0 else { throw DatasetError.unreadable(path) }
    guard ClassFolders.isFolder(path) else { return path }
    let entries = try ClassFolders.entries(of: path)
    let files = entries.filter { $0.contains("images") && $0.contains("idx3") }
    if !files.isEmpty { return try "\(path)/\(idxFile(files, of: path, split))" }

    func folder(_ split: DatasetSplit) throws -> String? {
        // A class may be called "train": a part holds folders, a class holds images.
        try split.folderNames.first { name in
            try entries.contains(name) && ClassFolders.isFolder("\(path)/\(name)")
                && holdsFolders("\(path)/\(name)")
        }
    }
    if let split {
        if let part = try folder(split) { return "\(path)/\(part)" }
    } else if let train = try folder(.train), let test = try folder(.test) {
        throw DatasetError.severalParts(path: path, parts: [train, test])
    }
    guard try holdsFolders(path) else { throw DatasetError.noDataset(path: path) }
    return path
}

/// The text file at `path`, or in that folder the one named for `split` (`train.tsv`, or `test…`, `validation…`, `dev…`).
package func textSource(at path: String, split: DatasetSplit?) throws -> String {
    var status = stat()
    guard stat(path, &status) == 0 else { throw DatasetError.unreadable(path) }
    guard ClassFolders.isFolder(path) else { return path }
    let files = try ClassFolders.entries(of: path).filter {
        textSuffixes.contains(URL(fileURLWithPath: $0).pathExtension)
    }
    guard !files.isEmpty else { throw DatasetError.noTexts(path: path) }
    guard let split else { throw DatasetError.severalParts(path: path, parts: files) }
    let stems = split.folderNames + (split == .test ? ["dev"] : [])
    let found = stems.lazy.compactMap { stem in
        files.first { URL(fileURLWithPath: $0).deletingPathExtension().lastPathComponent == stem }
    }.first
    guard let found else { throw DatasetError.noTexts(path: path) }
    return "\(path)/\(found)"
}

private let textSuffixes = ["tsv", "csv", "jsonl", "ndjson", "json", "txt", "conll", "bio"]

private func idxFile(_ files: [String], of folder: String, _ split: DatasetSplit?) throws -> String {
    guard let split else {
        guard files.count == 1 else { throw DatasetError.severalParts(path: folder, parts: files) }
        return files[0]
    }
    guard let file = files.first(where: { name in split.fileMarks.contains { name.contains($0) } }) else {
        throw DatasetError.noDataset(path: "\(folder) (\(split.rawValue) of \(files.joined(separator: ", ")))")
    }
    return file
}

private func holdsFolders(_ folder: String) throws -> Bool {
    try ClassFolders.entries(of: folder).contains { ClassFolders.isFolder("\(folder)/\($0)") }
}
