import Foundation
import Glibc

/// JPEG and PNG files in one folder per class: `ROOT/CLASS/FILE`.
///
/// Classes are the sub-folders of the root in bytewise order of their names, samples their files in
/// bytewise order. Files count that end in .jpg, .jpeg, .jpe, .jfif or .png, upper or lower case; others,
/// hidden files and folders within class folders are left alone. What a file holds is decided by its
/// contents when it is decoded.
public final class ClassFolders: Dataset, @unchecked Sendable {
    public let source: String
    public let classNames: [String]
    public let labels: [Int32]
    private let names: [String]

    private static let suffixes: Set<String> = ["jpg", "jpeg", "jpe", "jfif", "png"]

    /// Lists the folders; no image is read.
    ///
    /// - Throws: `DatasetError` where the folder cannot be read, has no or one class folder, or where a
    ///   class folder holds no images.
    public init(at root: String) throws {
        source = root
        classNames = try Self.entries(of: root).filter { Self.isFolder("\(root)/\($0)") }
        if classNames.isEmpty { throw DatasetError.noClasses(path: root) }
        var names: [String] = []
        var labels: [Int32] = []
        for (label, className) in classNames.enumerated() {
            let files = try Self.entries(of: "\(root)/\(className)").filter(Self.isImageName)
            if files.isEmpty { throw DatasetError.emptyClass(path: root, className: className) }
            names += files
            labels += [Int32](repeating: Int32(label), count: files.count)
        }
        if classNames.count == 1 {
            throw DatasetError.oneClassOnly(path: root, className: classNames[0])
        }
        self.names = names
        self.labels = labels
    }

    public func name(at index: Int) -> String {
        "\(source)/\(classNames[Int(labels[index])])/\(names[index])"
    }

    public func storedSample(at index: Int) throws -> StoredSample {
        .encoded(try ImageDecoder.bytes(ofFileAt: name(at: index)))
    }

    public func fingerprint() throws -> String {
        var fingerprint = Fingerprint()
        for name in classNames { fingerprint.add(name) }
        for index in names.indices {
            var status = stat()
            let path = name(at: index)
            guard stat(path, &status) == 0 else { throw DatasetError.unreadable(path) }
            fingerprint.add(names[index])
            fingerprint.add(Int(status.st_size))
        }
        fingerprint.add(labels)
        return fingerprint.hexadecimal()
    }

    /// The names in a folder that are not hidden, in bytewise order.
    static func entries(of folder: String) throws -> [String] {
        guard let directory = opendir(folder) else { throw DatasetError.unreadable(folder) }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { field in
                field.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    private static func isImageName(_ name: String) -> Bool {
        guard let dot = name.lastIndex(of: ".") else { return false }
        return suffixes.contains(name[name.index(after: dot)...].lowercased())
    }
}
