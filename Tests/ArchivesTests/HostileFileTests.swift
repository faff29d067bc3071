import Archives
import Foundation
import Models
import Tensors
import XCTest

/// Files that are broken, or were made to do harm: always an error, never a crash, nothing executed.
final class HostileFileTests: ArchiveTestCase {
    private let latin = { (text: String) in Data(text.utf8) }

    /// A file of the older PyTorch format around one pickled object.
    private func legacy(_ object: Data, keys: Data = Data([0x80, 2, 0x5d, 0x2e]), rest: Data = Data()) throws
        -> String
    {
        let magic = Data([
            0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e,
        ])
        let version = Data([0x80, 2, 0x4d, 0xe9, 3, 0x2e])
        let system = Data([0x80, 2, 0x7d, 0x2e])
        let file = path("hostile.pt")
        try (magic + version + system + object + keys + rest).write(to: URL(fileURLWithPath: file))
        return file
    }

    private func refused(_ name: String) -> String {
        "\(path("hostile.pt")): refused: the pickle asks for \(name), which is not a tensor or a plain value; "
            + "save the state_dict alone"
    }

    private func damaged(_ reason: String) -> String {
        "\(path("hostile.pt")): damaged PyTorch (before 1.6) file: \(reason)"
    }

    func testNoCodeIsEverRun() throws {
        let command = "(S'touch \(path("executed"))'\ntR."
        for module in ["os", "posix"] {
            let file = try legacy(latin("c\(module)\nsystem\n" + command))
            assertThrows(refused("\(module).system")) { _ = try WeightFile.read(file) }
        }
        for name in ["eval", "exec", "getattr", "__import__"] {
            let file = try legacy(latin("c__builtin__\n\(name)\n(S'1'\ntR."))
            assertThrows(refused("__builtin__.\(name)")) { _ = try WeightFile.read(file) }
        }
        let stacked =
            Data([0x80, 4, 0x8c, 2]) + latin("os") + Data([0x8c, 6]) + latin("system") + Data([0x93, 0x2e])
        let file = try legacy(stacked)
        assertThrows(refused("os.system")) { _ = try WeightFile.read(file) }
        let instance = try legacy(latin("(S'x'\nios\nsystem\n."))
        assertThrows(refused("os.system")) { _ = try WeightFile.read(instance) }
        let module = try legacy(latin("ctorch.nn.modules.linear\nLinear\n."))
        assertThrows(refused("torch.nn.modules.linear.Linear")) { _ = try WeightFile.read(module) }
        let load = try legacy(latin("ctorch\nload\n."))
        assertThrows(refused("torch.load")) { _ = try WeightFile.read(load) }
        let called = try legacy(latin("ctorch\nFloatStorage\n(tR."))
        assertThrows(refused("a call of torch.float32")) { _ = try WeightFile.read(called) }
        XCTAssertFalse(FileManager.default.fileExists(atPath: path("executed")))
    }

    func testDeepNestingCostsNoStack() throws {
        let depth = 1_000_000
        let lists = try legacy(
            Data(repeating: UInt8(ascii: "]"), count: depth)
                + Data(repeating: UInt8(ascii: "a"), count: depth - 1) + latin("."))
        assertThrows("\(lists): a PyTorch file whose content is no dictionary is not supported") {
            _ = try WeightFile.read(lists)
        }
        let tuples = try legacy(latin("N") + Data(repeating: 0x85, count: depth) + latin("."))
        XCTAssertThrowsError(try WeightFile.read(tuples))
        var dictionaries = latin("}")
        for _ in 0..<100 { dictionaries = latin("}S'a'\n") + dictionaries + latin("s") }
        let nested = try legacy(dictionaries + latin("."))
        assertThrows(damaged("dictionaries too deep within each other")) { _ = try WeightFile.read(nested) }
        // A dictionary that holds itself.
        let cycle = try legacy(latin("}q\0S'a'\nh\0s."))
        assertThrows(damaged("dictionaries too deep within each other")) { _ = try WeightFile.read(cycle) }
        // Few bytes, 16 to the power of 14 paths.
        var bomb = latin("}q\0")
        for level in UInt8(1)..<15 {
            bomb += latin("}") + Data([0x71, level])
            for key in 0..<16 { bomb += latin("S'\(key)'\nh") + Data([level - 1]) + latin("s") }
        }
        let exponential = try legacy(bomb + latin("."))
        assertThrows(damaged("dictionaries too deep within each other")) {
            _ = try WeightFile.read(exponential)
        }
    }

    /// `{'w': tensor}` over storage `0` of four floats.
    private func tensorFile(offset: String = "I0\n", shape: String, strides: String, count: String = "I4\n")
        throws -> String
    {
        let storage = "(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\n\(count)NtQ"
        let object =
            "}S'w'\nctorch._utils\n_rebuild_tensor_v2\n(\(storage)\(offset)(\(shape)t(\(strides)tI00\n}tRs."
        let values = withUnsafeBytes(of: UInt64(4).littleEndian) { Data($0) } + Data(repeating: 0, count: 16)
        return try legacy(latin(object), keys: latin("(S'0'\nl."), rest: values)
    }

    func testAbsurdShapes() throws {
        XCTAssertEqual(
            try WeightFile.read(try tensorFile(shape: "I2\nI2\n", strides: "I2\nI1\n")).tensors.map(\.shape),
            [[2, 2]])
        // The stride of a dimension of size 1 leads nowhere.
        XCTAssertEqual(
            try WeightFile.read(try tensorFile(shape: "I2\nI1\n", strides: "I2\nI9223372036854775807\n"))
                .tensors.map(\.scalars), [[0, 0]])
        let cases: [(file: String, reason: String)] = [
            (
                try tensorFile(shape: "I5\n", strides: "I1\n"),
                "w of shape [5] at 0 leaves its storage of 16 bytes"
            )
        ]
        for (file, reason) in cases { assertThrows(damaged(reason)) { _ = try WeightFile.read(file) } }
        var file = try tensorFile(offset: "I3\n", shape: "I2\n", strides: "I1\n")
        assertThrows(damaged("w of shape [2] at 3 leaves its storage of 16 bytes")) {
            _ = try WeightFile.read(file)
        }
        file = try tensorFile(shape: "I1000000000\nI1000\n", strides: "I0\nI0\n")
        assertThrows(damaged("w claims 4000000000000 bytes, more than the file has")) {
            _ = try WeightFile.read(file)
        }
        file = try tensorFile(shape: "I4611686018427387904\nI4\n", strides: "I0\nI0\n")
        assertThrows(damaged("w has the shape [4611686018427387904, 4]")) { _ = try WeightFile.read(file) }
        file = try tensorFile(shape: "I-1\n", strides: "I1\n")
        assertThrows(damaged("w has the shape [-1]")) { _ = try WeightFile.read(file) }
        file = try tensorFile(shape: "I2\n", strides: "I-1\n")
        assertThrows(damaged("w has the strides [-1]")) { _ = try WeightFile.read(file) }
        file = try tensorFile(
            offset: "I9223372036854775807\n", shape: "I2\n", strides: "I9223372036854775807\n")
        XCTAssertThrowsError(try WeightFile.read(file))
    }

    func testNamesThatGrowAreRefused() throws {
        let name = String(repeating: "x", count: 1_500)
        var object = latin("}")
        for _ in 0..<4 { object = latin("}S'\(name)'\n") + object + latin("s") }
        let file = try legacy(object + latin("."))
        assertThrows(damaged("a name of more than 4096 bytes")) { _ = try WeightFile.read(file) }
    }

    /// A directory of deflated entries of 2 GB each in a file of some bytes.
    func testAZipBombIsRefusedByItsDirectory() throws {
        func little(_ value: Int, _ bytes: Int = 4) -> Data {
            withUnsafeBytes(of: value.littleEndian) { Data($0.prefix(bytes)) }
        }
        let name = latin("a/data.pkl")
        let start = [little(0x0403_4b50), Data(count: 26)].reduce(Data(), +)
        let entry = [
            little(0x0201_4b50), Data(count: 6), little(8, 2), Data(count: 8), little(0x7fff_ffff), little(0x7fff_ffff),
            little(name.count, 2), Data(count: 16), name,
        ].reduce(Data(), +)
        let end = [
            little(0x0605_4b50), Data(count: 4), little(1, 2), little(1, 2), little(entry.count), little(start.count),
            Data(count: 2),
        ].reduce(Data(), +)
        try (start + entry + end).write(to: URL(fileURLWithPath: path("bomb.pt")))
        assertThrows("\(path("bomb.pt")): damaged PyTorch file: entries of absurd sizes") {
            _ = try WeightFile.read(self.path("bomb.pt"))
        }
    }

    func testPreprocessingThatCannotBeIsRefused() throws {
        let good = Preprocessing(inputSize: 8, mean: [0.5], standardDeviation: [0.5])
        let cases: [(change: (inout Preprocessing) -> Void, problem: String)] = [
            ({ $0.inputSize = 0 }, "inputSize is 0, not 1 to 65536"),
            ({ $0.inputSize = 1 << 40 }, "inputSize is 1099511627776, not 1 to 65536"),
            ({ $0.resize = -1 }, "resize is -1, not 1 to 65536"),
            ({ $0.mean = [] }, "mean has 0 numbers for 3 channels"),
            ({ $0.mean = [0, 0] }, "mean has 2 numbers for 3 channels"),
            ({ $0.standardDeviation = [0] }, "standardDeviation is [0.0]"),
        ]
        for (change, problem) in cases {
            var preprocessing = good
            change(&preprocessing)
            let tensor = StoredTensor(name: "w", shape: [1], scalars: [1])
            let file = WeightFile(
                format: .graftHDF5, tensors: [tensor], metadata: WeightMetadata(preprocessing: preprocessing))
            for (name, format) in [("p.h5", WeightFormat.graftHDF5), ("p.safetensors", .safetensors)] {
                try file.write(to: path(name), as: format)
                assertThrows(
                    "\(path(name)): damaged \(format.title) file: its metadata's preprocessing cannot be: \(problem)"
                ) { _ = try WeightFile.read(self.path(name)) }
            }
        }
    }

    func testNoPyTorchAndNoTensors() throws {
        let pickle = path("x.pkl")
        try Data([0x80, 2, 0x4b, 1, 0x2e]).write(to: URL(fileURLWithPath: pickle))
        assertThrows("\(pickle): a pickle that torch.save did not write is not supported") {
            _ = try WeightFile.read(pickle)
        }
        let empty = try legacy(latin("}."))
        assertThrows("\(empty): holds no tensors") { _ = try WeightFile.read(empty) }
        let short = try legacy(latin("}"), keys: Data())
        assertThrows(damaged("it ends too early: 1 bytes wanted at 26 of 26")) {
            _ = try WeightFile.read(short)
        }
    }

    private func safetensors(_ header: String, _ values: Int) throws -> String {
        let file = path("x.safetensors")
        let length = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Data($0) }
        try (length + latin(header) + Data(repeating: 0, count: values)).write(to: URL(fileURLWithPath: file))
        return file
    }

    func testSafetensorsThatLie() throws {
        let cases: [(header: String, values: Int, reason: String)] = [
            (
                #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                12,
                "b lies at 4..<12, where 8 was expected"
            ),
            (
                #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12,
                "a lies at 4..<12, where 0 was expected"
            ),
            (
                #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 7,
                "a lies at 0..<8, where 0 was expected"
            ),
            (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 9, "1 bytes belong to no tensor"),
            (#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8, "a of shape [3] has 8 bytes"),
            (
                #"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#, 8,
                "a of shape [4611686018427387904, 4] has 8 bytes"
            ),
            (
                #"{"a":{"dtype":"F8_E5M2","shape":[8],"data_offsets":[0,8]}}"#, 8,
                "a has the element type F8_E5M2, which Graft does not know"
            ),
            (
                #"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,-8]}}"#, 8,
                "the header is not the JSON that it should be"
            ),
            (
                #"{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,8]}}"#, 8,
                "the header is not the JSON that it should be"
            ),
            (#"{"a":"#, 8, "the header is not the JSON that it should be"),
            (String(repeating: #"{"a":"#, count: 100_000), 0, "the header is not the JSON that it should be"),
        ]
        for (header, values, reason) in cases {
            let file = try safetensors(header, values)
            assertThrows("\(file): damaged safetensors file: \(reason)") { _ = try WeightFile.read(file) }
        }
        let file = try safetensors("{}", 0)
        assertThrows("\(file): holds no tensors") { _ = try WeightFile.read(file) }
    }

    // MARK: Mutations

    /// Reads seeded mutations and truncations of a file; a crash would end the test process.
    private func mutate(_ original: String, rounds: Int, seed: UInt64, headOnly: Int? = nil) throws -> (
        read: Int, refused: Int
    ) {
        let bytes = try Data(contentsOf: URL(fileURLWithPath: original))
        var generator = SeededGenerator(state: seed)
        let file = path("mutant")
        var counts = (read: 0, refused: 0)
        for round in 0..<rounds {
            var mutant = bytes
            if round % 4 == 0 {
                mutant = mutant.prefix(Int.random(in: 0..<bytes.count, using: &generator))
            } else {
                for _ in 0..<Int.random(in: 1...8, using: &generator) {
                    let position = Int.random(
                        in: 0..<min(headOnly ?? bytes.count, bytes.count), using: &generator)
                    mutant[position] = UInt8.random(in: 0...255, using: &generator)
                }
            }
            try mutant.write(to: URL(fileURLWithPath: file))
            do {
                _ = try WeightFile.read(file)
                counts.read += 1
            } catch is ArchiveError {
                counts.refused += 1
            }
        }
        XCTAssertEqual(counts.read + counts.refused, rounds)
        XCTAssertGreaterThan(counts.refused, rounds / 5)
        return counts
    }

    func testMutationsOfSmallFiles() throws {
        _ = try mutate(fixture("checkpoint.pt"), rounds: 3_000, seed: 1)
        _ = try mutate(fixture("checkpoint-legacy.pt"), rounds: 3_000, seed: 2)
        _ = try mutate(fixture("small.safetensors"), rounds: 3_000, seed: 3)
    }

    func testMutationsOfRealFiles() throws {
        _ = try mutate(
            try weights("speech-commands-res8-pytorch/res8.pt"), rounds: 400, seed: 4, headOnly: 4_000)
        _ = try mutate(try weights("fastestdet-pytorch/shufflenetv2.pth"), rounds: 400, seed: 5)
        _ = try mutate(
            try weights("silero-vad-safetensors/silero_vad_16k.safetensors"), rounds: 200, seed: 6,
            headOnly: 1_600)
    }

    func testMutationsOfHDF5() throws {
        _ = try mutate(fixture("keras.h5"), rounds: 300, seed: 7)
    }

    func testMutationsOfRealHDF5() throws {
        _ = try mutate(
            try weights("imagenet-mobilenetv1-0.25-keras/mobilenet_2_5_224_tf_no_top.h5"), rounds: 60,
            seed: 8, headOnly: 60_000)
    }

    func testMutationsOfGraftFiles() throws {
        let tensors = (0..<4).map {
            StoredTensor(name: "w\($0)", shape: [8], scalars: Array(repeating: 1, count: 8))
        }
        try WeightFile(format: .graftHDF5, tensors: tensors).write(to: path("w.h5"), as: .graftHDF5)
        let counts = try mutate(path("w.h5"), rounds: 500, seed: 9)
        // Only bytes of the first 512 that say nothing may change unnoticed.
        XCTAssertLessThan(counts.read, 50)
    }
}
