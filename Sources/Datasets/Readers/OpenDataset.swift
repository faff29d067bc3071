import Foundation

/// Which part of a data set that keeps both side by side.
public enum DatasetSplit: String, Codable, Sendable, CaseIterable { case train, test }

/// Opens the data set at `path`, whatever its kind.
///
/// - A file beginning as HDF5: `HDF5Images`.
/// - Another file: `IDXImages`.
/// - A folder with IDX images files: the one named for `split` (`train…`, or `t10k…` and `test…`); the only
///   one where there is no choice.
/// - A folder of class folders: `ClassFolders`; where `split` is given and the folder holds a `train` or
///   `test` folder, that one.
///
/// - Parameter classNames: names for the labels of files that have numbers only.
/// - Throws: `DatasetError` or `ArchiveError` naming the file or folder.
public func openImageDataset(
    at path: String, split: DatasetSplit? = nil, classNames: [String]? = nil
) throws -> any ImageDataset {
    guard ClassFolders.isFolder(path) else {
        return try FileBytes.beginsAsHDF5(path)
            ? HDF5Images(at: path, classNames: classNames) : IDXImages(imagesAt: path, classNames: classNames)
    }
    let entries = try ClassFolders.entries(of: path)
    let idx = entries.filter { $0.contains("images") && $0.contains("idx3") }
    if !idx.isEmpty {
        let prefixes = split == .test ? ["t10k", "test"] : ["train"]
        let wanted = idx.filter { name in prefixes.contains { name.contains($0) } }
        guard let name = wanted.first ?? (idx.count == 1 && split == nil ? idx.first : nil) else {
            throw DatasetError.noDataset(path: "\(path) (\(split?.rawValue ?? "train") of \(idx.joined(separator: ", ")))")
        }
        return try IDXImages(imagesAt: "\(path)/\(name)", classNames: classNames)
    }
    if let split {
        let names = split == .train ? ["train", "training"] : ["test", "validation", "valid", "val"]
        if let part = names.first(where: { ClassFolders.isFolder("\(path)/\($0)") }) {
            return try ClassFolders(at: "\(path)/\(part)")
        }
    }
    if !entries.contains(where: { ClassFolders.isFolder("\(path)/\($0)") }) {
        throw DatasetError.noDataset(path: path)
    }
    return try ClassFolders(at: path)
}
