import Archives
import Foundation
import Glibc
import Models
import Tensors
import XCTest

/// What reading, inspecting and converting large files takes of memory: at most 1.2 times the file and the parameters.
final class MemoryTests: CommandTestCase {
    /// Some hundred tensors of up to 9 MB each, of a network that Keras has too.
    private static let name = "resnet101"

    /// The most memory that the command and the processes it starts have at one time, in bytes, and its exit code.
    private func peak(_ arguments: [String]) throws -> (bytes: Int, code: Int32) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.command)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        let id = process.processIdentifier
        var most = 0
        while process.isRunning {
            // What the process itself has had at most is known to the end; what it and its child have together, sampled.
            let children = (try? String(contentsOfFile: "/proc/\(id)/task/\(id)/children", encoding: .utf8)) ?? ""
            let together = children.split(separator: " ").reduce(resident(id, "VmRSS")) {
                $0 + resident(Int32($1) ?? 0, "VmRSS")
            }
            most = max(most, together, resident(id, "VmHWM"))
            usleep(2_000)
        }
        process.waitUntilExit()
        return (most, process.terminationStatus)
    }

    private func resident(_ process: Int32, _ field: String) -> Int {
        let status = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix(field + ":") }
        return (line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) << 10
    }

    /// The network in every format that can be read.
    private func makeFiles() throws -> (files: [String], parameters: Int) {
        let parameters: Int
        do {
            let network = try Architecture(named: Self.name).network()
            parameters = 4 * network.store.parameterCount
            let file = WeightFile(network)
            try file.write(to: "\(folder)/w.h5", as: .graftHDF5)
            try file.write(to: "\(folder)/w.safetensors", as: .safetensors)
            try PyTorchFile.write(file.tensors, to: "\(folder)/w.pth", legacy: false)
            try PyTorchFile.write(file.tensors, to: "\(folder)/old.pth", legacy: true)
        }
        let network = try Architecture(named: Self.name, variant: "keras").network()
        let file = WeightFile(network)
        try file.write(to: "\(folder)/k.h5", as: .kerasHDF5)
        try file.write(to: "\(folder)/k.weights.h5", as: .kerasWeights)
        StoragePool.shared.trim()
        return (["w.h5", "w.safetensors", "w.pth", "old.pth", "k.h5", "k.weights.h5"], parameters)
    }

    func testLargeFiles() throws {
        let (files, parameters) = try makeFiles()
        XCTAssertGreaterThan(parameters, 150_000_000)
        for file in files {
            let size = try FileBytes.size("\(folder)/\(file)")
            let limit = (12 * size) / 10 + parameters
            func check(_ code: Int32, _ arguments: String...) throws {
                let (bytes, ended) = try peak(arguments)
                let command = arguments.joined(separator: " ")
                XCTAssertEqual(ended, code, "graft \(command)")
                print("graft \(command): \(bytes >> 20) MB of memory, \(size >> 20) MB file")
                XCTAssertGreaterThan(bytes, 10 << 20, "graft \(command): not measured")
                XCTAssertLessThan(
                    bytes, limit,
                    "graft \(command): \(bytes >> 20) MB for a file of \(size >> 20), \(limit >> 20) allowed")
            }
            // The weights are loaded before the image is missed.
            try check(3, "predict", "--weights", file, "nowhere.jpg")
            try check(0, "inspect", file)
            for output in ["out.h5", "out.safetensors", "out.weights.h5"] {
                if output == "out.weights.h5", !file.hasPrefix("k.") { continue }
                try check(0, "convert", file, output)
                try FileManager.default.removeItem(atPath: "\(folder)/\(output)")
            }
        }
    }
}

/// Weight files as `torch.save` writes a state dict of float32 and int64 tensors.
private enum PyTorchFile {
    static func write(_ tensors: [StoredTensor], to path: String, legacy: Bool) throws {
        _ = FileManager.default.createFile(atPath: path, contents: nil)
        let file = try XCTUnwrap(FileHandle(forWritingAtPath: path))
        defer { try? file.close() }
        legacy ? try writeLegacy(tensors, file) : try writeZip(tensors, file)
    }

    /// `{name: _rebuild_tensor_v2((storage, …), 0, shape, strides, False, {})}`
    private static func pickle(_ tensors: [StoredTensor]) -> Data {
        func numbers(_ values: [Int]) -> String { "(" + values.map { "I\($0)\n" }.joined() + "t" }
        let items = tensors.enumerated().map { key, tensor in
            let type = tensor.elementType == .int64 ? "LongStorage" : "FloatStorage"
            let strides = tensor.shape.indices.map { tensor.shape[($0 + 1)...].reduce(1, *) }
            return "S'\(tensor.name)'\nctorch._utils\n_rebuild_tensor_v2\n"
                + "((S'storage'\nctorch\n\(type)\nS'\(key)'\nS'cpu'\nI\(tensor.count)\ntQI0\n"
                + numbers(tensor.shape) + numbers(strides) + "I00\n}tR"
        }
        return Data([0x80, 2]) + Data(("}(" + items.joined() + "u.").utf8)
    }

    private static func writeLegacy(_ tensors: [StoredTensor], _ file: FileHandle) throws {
        let magic: [UInt8] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]
        try file.write(contentsOf: Data(magic + [0x80, 2, 0x4d, 0xe9, 3, 0x2e, 0x80, 2, 0x7d, 0x2e]))
        try file.write(contentsOf: pickle(tensors))
        let keys = tensors.indices.map { "S'\($0)'\n" }.joined()
        try file.write(contentsOf: Data([0x80, 2]) + Data("(\(keys)l.".utf8))
        for tensor in tensors {
            try file.write(contentsOf: little(tensor.count, 8))
            try file.write(contentsOf: tensor.bytes)
        }
    }

    private static func writeZip(_ tensors: [StoredTensor], _ file: FileHandle) throws {
        var (position, directory) = (0, Data())
        func put(_ name: String, _ bytes: Data) throws {
            let sizes = little(Int(checksum(bytes)), 4) + little(bytes.count, 4) + little(bytes.count, 4)
            let fields = little(0, 8) + sizes + little(name.utf8.count, 2) + little(0, 2)
            directory += little(0x0201_4b50, 4) + little(20, 2) + little(20, 2) + fields + little(0, 10)
            directory += little(position, 4) + Data(name.utf8)
            let header = little(0x0403_4b50, 4) + little(20, 2) + fields + Data(name.utf8)
            try file.write(contentsOf: header)
            try file.write(contentsOf: bytes)
            position += header.count + bytes.count
        }
        try put("w/data.pkl", pickle(tensors))
        for (key, tensor) in tensors.enumerated() { try put("w/data/\(key)", tensor.bytes) }
        let counts = little(tensors.count + 1, 2) + little(tensors.count + 1, 2)
        let end = little(0x0605_4b50, 4) + little(0, 4) + counts + little(directory.count, 4) + little(position, 4)
        try file.write(contentsOf: directory + end + little(0, 2))
    }

    private static func little(_ value: Int, _ width: Int) -> Data {
        Data((0..<width).map { UInt8(truncatingIfNeeded: $0 < 8 ? value >> (8 * $0) : 0) })
    }

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xedb8_8320 : value >> 1 }
    }

    private static func checksum(_ bytes: Data) -> UInt32 {
        bytes.withUnsafeBytes { bytes in
            var value = ~UInt32(0)
            for byte in bytes { value = table[Int(UInt8(truncatingIfNeeded: value) ^ byte)] ^ value >> 8 }
            return ~value
        }
    }
}
