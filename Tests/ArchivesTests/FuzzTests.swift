import Archives
import Crypto
import Foundation
import Glibc
import Tensors
import XCTest

/// Every reader against many damaged files: an `ArchiveError` or a result, never a crash, never more memory than the
/// file accounts for, never a long time.
///
/// 20,000 mutants of each kind by default, 150 of HDF5, which is read in a process of its own; GRAFT_FUZZ=100000 in the
/// environment makes it that many of all (run this class alone then: of HDF5 they are read by copies of this process,
/// which start sooner). The seeds are fixed. What was found stays in `Corpus`.
final class FuzzTests: ArchiveTestCase {
    private var asked: Int? { ProcessInfo.processInfo.environment["GRAFT_FUZZ"].flatMap { Int($0) } }
    private var rounds: Int { asked ?? 20_000 }

    private func bytes(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: fixture(name))))
    }

    /// Kilobytes of memory that the process has or had (`VmRSS`, `VmHWM`, `VmSize`).
    private func memory(_ field: String) -> Int {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix(field + ":") }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    }

    /// Lets this process take at most so many bytes more than it has: an allocation on the word of a header ends it.
    private func limitMemory(_ more: Int) {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
        limit.rlim_cur = min(limit.rlim_max, rlim_t(memory("VmSize") << 10 + more))
        setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
    }

    /// Makes mutants and reads them.
    ///
    /// - Parameters:
    ///   - isHere: whether this process reads them: then its memory is limited. A limit goes to children too, which set
    ///     their own.
    ///   - make: a damaged file.
    ///   - read: what is tested.
    private func fuzz(
        rounds: Int, seed: UInt64, isHere: Bool = true, file: StaticString = #filePath, line: UInt = #line,
        make: (inout Mutator) -> [UInt8], read: (Data) throws -> Void
    ) {
        var old = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &old)
        if isHere { limitMemory(512 << 20) }
        defer { setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &old) }
        try? "5".write(toFile: "/proc/self/clear_refs", atomically: false, encoding: .utf8)
        let before = memory("VmRSS")
        let trace = ProcessInfo.processInfo.environment["GRAFT_FUZZ_TRACE"]
        var mutator = Mutator(seed: seed)
        var (refused, slowest) = (0, 0.0)
        for round in 0..<rounds {
            let mutant = Data(make(&mutator))
            // The one that ends the process is the last one there.
            if let trace { try? mutant.write(to: URL(fileURLWithPath: trace)) }
            let start = DispatchTime.now().uptimeNanoseconds
            do {
                try read(mutant)
            } catch is ArchiveError {
                refused += 1
            } catch {
                XCTFail("round \(round): \(type(of: error)) \(error)", file: file, line: line)
            }
            let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
            if seconds > slowest, seconds > 1, let trace {
                try? mutant.write(to: URL(fileURLWithPath: "\(trace).slowest-\(seed)"))
            }
            slowest = max(slowest, seconds)
        }
        let peak = memory("VmHWM") - before
        print(
            "\(rounds) mutants from \(seed): \(refused) refused, slowest \(slowest) s, \(peak) KB more memory at most")
        XCTAssertGreaterThan(refused, rounds / 4, file: file, line: line)
        if !isHere {
            // Some damage is to values alone: where nothing is read, the other process did not start.
            XCTAssertLessThan(refused, rounds, file: file, line: line)
        }
        // The other process may compute for five seconds and a little.
        XCTAssertLessThan(slowest, isHere ? 5 : 20, file: file, line: line)
        XCTAssertLessThan(peak, 64 << 10, file: file, line: line)
    }

    // MARK: Read in this process

    private func readHere(_ bytes: Data) throws { _ = try WeightFile.read(bytes, path: "mutant") }

    func testSafetensors() throws {
        let seed = try bytes("small.safetensors")
        fuzz(rounds: rounds, seed: 101, make: { $0.mutate(seed, with: seed) }, read: readHere)
    }

    func testPyTorchLegacy() throws {
        let (seed, other) = (try bytes("checkpoint-legacy.pt"), try bytes("checkpoint.pt"))
        fuzz(rounds: rounds, seed: 102, make: { $0.mutate(seed, with: other) }, read: readHere)
    }

    /// The archive as a whole: headers, directory, zip64 records, deflated entries.
    func testPyTorchZipDirectory() throws {
        let seeds = try ["checkpoint.pt", "checkpoint-deflated.pt", "checkpoint-zip64.pt"].map(bytes)
        var turn = 0
        fuzz(
            rounds: rounds, seed: 103,
            make: {
                turn += 1
                return $0.mutate(seeds[turn % 3], with: seeds[(turn + 1) % 3])
            }, read: readHere)
    }

    /// The pickle within an archive whose checksums are right.
    func testPyTorchZipPickle() throws {
        let entries = StoredZip.entries(try bytes("checkpoint.pt"))
        let index = try XCTUnwrap(entries.firstIndex { $0.name.hasSuffix("data.pkl") })
        XCTAssertEqual(
            try WeightFile.read(Data(StoredZip.make(entries)), path: "x").tensors,
            try WeightFile.read(fixture("checkpoint.pt")).tensors)
        let legacy = try bytes("checkpoint-legacy.pt")
        fuzz(
            rounds: rounds, seed: 104,
            make: {
                var damaged = entries
                damaged[index].bytes = $0.mutate(entries[index].bytes, with: legacy)
                return StoredZip.make(damaged)
            }, read: readHere)
    }

    private let configuration = Array(
        #"{"class_name":"Sequential","config":{"name":"m","layers":[{"class_name":"Conv2D","config":{"name":"a"}},{"class_name":"Functional","config":{"layers":[{"class_name":"Dense","config":{"name":"b","activation":{"class_name":"function","module":"builtins","config":"f"}}}]}}]}}"#
            .utf8)

    /// The archive around a `.weights.h5`, and its configuration.
    func testKerasArchives() throws {
        let configuration = self.configuration
        let zip = StoredZip.make([
            ("config.json", configuration), ("metadata.json", Array(#"{"keras_version":"3.9.0"}"#.utf8)),
            ("model.weights.h5", [1, 2, 3]),
        ])
        var turn = 0
        fuzz(
            rounds: rounds, seed: 105,
            make: {
                turn += 1
                if turn.isMultiple(of: 2) { return $0.mutate(zip, with: configuration) }
                return StoredZip.make([
                    ("config.json", $0.mutate(configuration, with: zip)), ("model.weights.h5", [1, 2, 3]),
                ])
            },
            read: { _ = try KerasArchive.contents($0, path: "mutant").configuration.layerNames })
    }

    func testIndicesOfFolders() throws {
        let list =
            #"{"metadata":{"total_size":3},"weight_map":{"a":"m-1-of-2.safetensors","b":"m-2-of-2.safetensors"}}"#
        let seed = Array(list.utf8)
        fuzz(
            rounds: rounds, seed: 106, make: { $0.mutate(seed, with: seed) },
            read: { _ = try HuggingFaceIndex($0, path: "mutant") })
    }

    /// A folder on the disk: its index, its configuration or a shard is damaged.
    func testFolders() throws {
        let (folder, shards) = (path("m"), ["m-1-of-2.safetensors", "m-2-of-2.safetensors"])
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for (name, shard) in zip(["a", "b"], shards) {
            try WeightFile(format: .safetensors, tensors: [StoredTensor(name: name, shape: [1], scalars: [1])])
                .write(to: "\(folder)/\(shard)", as: .safetensors)
        }
        let index = #"{"weight_map":{"a":"\#(shards[0])","b":"\#(shards[1])"}}"#
        var files = ["model.safetensors.index.json": Array(index.utf8), "config.json": configuration]
        files[shards[0]] = Array(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(shards[0])")))
        let names = files.keys.sorted()
        func put(_ bytes: [UInt8], _ name: String) {
            try? Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
        }
        for (name, bytes) in files { put(bytes, name) }
        XCTAssertEqual(try WeightFile.read(folder).tensors.count, 2)
        var turn = 0
        fuzz(
            rounds: rounds, seed: 107,
            make: { mutator in
                turn += 1
                let (name, last) = (names[turn % 3], names[(turn + 2) % 3])
                put(files[last] ?? [], last)
                let mutant = mutator.mutate(files[name] ?? [], with: self.configuration)
                put(mutant, name)
                return mutant
            }, read: { _ in _ = try WeightFile.read(folder) })
    }

    /// What a changed bit does to a file that carries its digest. Where the seal itself goes, the rest is read in
    /// another process.
    func testGraftFilesAsTheyAre() throws {
        let tensor = StoredTensor(name: "w", shape: [2], scalars: [1, 2])
        let seed = Array(try GraftArchive(WeightFile(format: .graftHDF5, tensors: [tensor])).encoded())
        let name = path("mutant.h5")
        fuzz(
            rounds: min(10_000, rounds / 10), seed: 108, isHere: false, make: { $0.mutate(seed, with: seed) },
            read: {
                try $0.write(to: URL(fileURLWithPath: name))
                _ = try WeightFile.read(name)
            })
    }

    // MARK: Read in another process

    private func fuzzHDF5(_ seed: [UInt8], _ number: UInt64, seal: Bool = false) throws {
        let name = path("mutant.h5")
        let make = { (mutator: inout Mutator) in
            seal ? Self.sealed(mutator.mutate(Array(seed[512...]), with: seed)) : mutator.mutate(seed, with: seed)
        }
        if let asked { return try fuzzCopies(rounds: asked, seed: number, make: make) }
        fuzz(
            rounds: 150, seed: number, isHere: false, make: make,
            read: {
                try $0.write(to: URL(fileURLWithPath: name))
                _ = try WeightFile.read(name)
            })
    }

    /// Has each mutant read by a copy of this process, as the process of its own does it.
    ///
    /// libhdf5 may crash; what Graft has of its own may not, nor may anything run into the limits of memory or time.
    private func fuzzCopies(rounds: Int, seed: UInt64, make: (inout Mutator) -> [UInt8]) throws {
        // Tensors reserve more address space than the limit of the copies has.
        guard memory("VmSize") < 1 << 20 else { throw XCTSkip("run FuzzTests alone") }
        let (name, trace) = (path("mutant.h5"), ProcessInfo.processInfo.environment["GRAFT_FUZZ_TRACE"])
        var mutator = Mutator(seed: seed)
        var counts: [String: Int] = [:]
        // Most kilobytes by outcome. libhdf5 makes room for a text of variable length twice on the word of the file, which
        // the limit of the process alone bounds; so it does for what comes before a crash, and for circles.
        var (slowest, largest) = (0.0, [String: Int]())
        let most = 2 << 20
        for round in 0..<rounds {
            let mutant = Data(make(&mutator))
            try mutant.write(to: URL(fileURLWithPath: name))
            let copy = try ReadingCopy(of: name)
            counts[copy.outcome, default: 0] += 1
            slowest = max(slowest, copy.seconds)
            largest[copy.outcome] = max(largest[copy.outcome, default: 0], copy.kilobytes)
            let endedWell = ["read", "refused"].contains(copy.outcome)
            let isOurs = [SIGILL, SIGTRAP].contains(copy.signal) || endedWell && copy.kilobytes > most
            if isOurs, let trace {
                try mutant.write(to: URL(fileURLWithPath: "\(trace).\(seed)-\(round)-\(copy.outcome)"))
            }
            XCTAssertFalse(isOurs, "round \(round): \(copy.outcome), \(copy.kilobytes) KB")
        }
        print(
            "\(rounds) mutants of HDF5 from \(seed): \(counts.sorted { $0.key < $1.key }), slowest \(slowest) s, "
                + "at most KB of memory: \(largest.sorted { $0.key < $1.key })")
        XCTAssertGreaterThan(counts["refused", default: 0], rounds / 4)
        XCTAssertGreaterThan(counts["read", default: 0], 0)
        XCTAssertLessThan(slowest, 20)
    }

    func testKerasHDF5() throws { try fuzzHDF5(try small("k.h5", .kerasHDF5), 201) }
    func testKeras3HDF5() throws { try fuzzHDF5(try bytes("keras3.weights.h5"), 202) }

    /// Damaged content under a digest that is right: made to do harm.
    func testSealedHDF5() throws {
        let tensor = StoredTensor(name: "w", shape: [2], scalars: [1, 2])
        let image = Array(try GraftArchive(WeightFile(format: .graftHDF5, tensors: [tensor])).encoded())
        try Self.sealed(Array(image[512...])).withUnsafeBytes { Data($0) }.write(to: URL(fileURLWithPath: path("s.h5")))
        XCTAssertEqual(try WeightFile.read(path("s.h5")).tensors.count, 1)
        try fuzzHDF5(image, 203, seal: true)
    }

    /// A legacy file of one layer.
    private func small(_ name: String, _ format: WeightFormat) throws -> [UInt8] {
        let file = try HDF5File(creating: path(name))
        let group = try file.root.createGroup("a")
        try file.root.setAttribute("layer_names", "a")
        try group.setAttribute("weight_names", "kernel:0")
        let dataset = try group.createDataset("kernel:0", shape: [2, 2], elementType: .float32)
        try [Float](repeating: 1, count: 4).withUnsafeBytes { try dataset.write($0, as: .float32) }
        try file.close()
        XCTAssertEqual(try WeightFile.read(path(name)).tensors.map(\.name), ["kernel:0"])
        return Array(try Data(contentsOf: URL(fileURLWithPath: path(name))))
    }

    private static func sealed(_ rest: [UInt8]) -> [UInt8] {
        let digest = SHA256.hash(data: rest).map { String(format: "%02x", $0) }.joined()
        let seal = "GRAFT HDF5 1\nlength \(rest.count + 512)\nsha256 \(digest)\n"
        return Array(seal.utf8) + [UInt8](repeating: 0, count: 512 - seal.utf8.count) + rest
    }

    // MARK: Findings

    /// Files that were, or would have been, trouble once: `NAME.expected` has the beginning of the message.
    func testCorpus() throws {
        let corpus = Self.packageRoot.appendingPathComponent("Tests/ArchivesTests/Corpus")
        let names = try FileManager.default.contentsOfDirectory(atPath: corpus.path).filter {
            !$0.hasSuffix(".expected") && !$0.hasSuffix(".py") && !$0.hasPrefix("__")
        }
        XCTAssertGreaterThanOrEqual(names.count, 12)
        for name in names.sorted() {
            let file = corpus.appendingPathComponent(name).path
            let expected = try String(contentsOfFile: file + ".expected", encoding: .utf8)
                .trimmingCharacters(in: .whitespacesAndNewlines)
            XCTAssertThrowsError(try WeightFile.read(file), name) {
                XCTAssertTrue($0 is ArchiveError, "\(name): \($0)")
                XCTAssertTrue("\($0)".hasPrefix("\(file): \(expected)"), "\(name): \($0)")
            }
        }
    }
}
