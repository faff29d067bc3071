import Collections
import Foundation

/// Reads the pickles that PyTorch writes, without executing anything.
///
/// Python's pickle is a stack machine that can call any function. This one knows a fixed list of names
/// (`PickleGlobal`), treats each in its own way, and refuses everything else by name. Protocols 0 to 5 as far
/// as PyTorch uses them. Work and memory are bounded by the size of the pickle.
struct Unpickler {
    /// Instructions a pickle may have: a state dict of ten thousand tensors takes half a million.
    private static let mostInstructions = 8_000_000

    private(set) var reader: ByteReader
    private let path: String
    private(set) var lists: [[PickleValue]] = []
    private(set) var tuples: [[PickleValue]] = []
    private(set) var dictionaries: [OrderedDictionary<String, PickleValue>] = []
    private(set) var tensors: [PickleTensor] = []
    /// Every storage that was referred to, by key.
    private(set) var storages: [String: StorageType] = [:]

    private var stack: [PickleValue] = []
    private var marks: [Int] = []
    private var memo: [Int: PickleValue] = [:]
    /// Items that calls may still copy: one list can be given to any number of calls.
    private var copiesLeft = 8_000_000

    init(_ reader: ByteReader, path: String) {
        self.reader = reader
        self.path = path
    }

    /// Reads one pickle, up to and including its STOP.
    mutating func load() throws -> PickleValue {
        for _ in 0..<Unpickler.mostInstructions {
            let code = try reader.byte()
            if code == Opcode.stop { return try pop() }
            try execute(code)
        }
        throw reader.damaged("the pickle has more than \(Unpickler.mostInstructions) instructions")
    }

    // MARK: Instructions

    private mutating func execute(_ code: UInt8) throws {
        if try pushScalar(code) { return }
        if try buildContainer(code) { return }
        switch code {
        case Opcode.proto: _ = try reader.byte()
        case Opcode.frame: _ = try reader.take(8)
        case Opcode.mark: marks.append(stack.count)
        case Opcode.pop:
            if marks.last == stack.count { marks.removeLast() } else { _ = try pop() }
        case Opcode.popMark: _ = try popToMark()
        case Opcode.duplicate: stack.append(try top())
        case Opcode.put: memo[try number(try reader.line())] = try top()
        case Opcode.binput: memo[Int(try reader.byte())] = try top()
        case Opcode.longBinput: memo[Int(try reader.integer(UInt32.self))] = try top()
        case Opcode.memoize: memo[memo.count] = try top()
        case Opcode.get: try recall(try number(try reader.line()))
        case Opcode.binget: try recall(Int(try reader.byte()))
        case Opcode.longBinget: try recall(Int(try reader.integer(UInt32.self)))
        case Opcode.global: try pushGlobal(module: try reader.line(), name: try reader.line())
        case Opcode.stackGlobal:
            guard case .text(let name) = try pop(), case .text(let module) = try pop() else {
                throw reader.damaged("a global without a name")
            }
            try pushGlobal(module: module, name: name)
        case Opcode.instance:
            throw ArchiveError.refusedPickle(path: path, name: "\(try reader.line()).\(try reader.line())")
        case Opcode.reduce, Opcode.newObject: try reduce()
        case Opcode.build: try build()
        case Opcode.persistentID: try loadPersistent()
        default: throw reader.damaged("the pickle has the instruction \(code) at \(reader.position - 1)")
        }
    }

    /// Instructions that push one plain value.
    private mutating func pushScalar(_ code: UInt8) throws -> Bool {
        switch code {
        case Opcode.none: stack.append(.none)
        case Opcode.newTrue: stack.append(.bool(true))
        case Opcode.newFalse: stack.append(.bool(false))
        case Opcode.int: try pushDecimal(try reader.line())
        case Opcode.long: try pushDecimal(String(try reader.line().prefix { $0 != "L" }))
        case Opcode.binint: stack.append(.integer(Int(Int32(bitPattern: try reader.integer(UInt32.self)))))
        case Opcode.binint1: stack.append(.integer(Int(try reader.byte())))
        case Opcode.binint2: stack.append(.integer(Int(try reader.integer(UInt16.self))))
        case Opcode.long1: pushLong(try reader.data(Int(try reader.byte())))
        case Opcode.long4: pushLong(try reader.data(Int(try reader.integer(UInt32.self))))
        case Opcode.float:
            let text = try reader.line()
            guard let value = Double(text) else { throw reader.damaged("\(text) is no number") }
            stack.append(.real(value))
        case Opcode.binfloat:
            stack.append(.real(Double(bitPattern: try reader.integer(UInt64.self).byteSwapped)))
        case Opcode.string:
            stack.append(.text(String(try reader.line().dropFirst().dropLast())))
        case Opcode.unicode: stack.append(.text(try reader.line()))
        case Opcode.shortBinstring, Opcode.shortBinunicode: try pushText(Int(try reader.byte()))
        case Opcode.binstring, Opcode.binunicode: try pushText(Int(try reader.integer(UInt32.self)))
        case Opcode.binunicode8: try pushText(try reader.size())
        case Opcode.shortBinbytes: stack.append(.bytes(try reader.data(Int(try reader.byte()))))
        case Opcode.binbytes: stack.append(.bytes(try reader.data(Int(try reader.integer(UInt32.self)))))
        case Opcode.binbytes8, Opcode.bytearray8: stack.append(.bytes(try reader.data(try reader.size())))
        default: return false
        }
        return true
    }

    /// Instructions that make or fill a container.
    private mutating func buildContainer(_ code: UInt8) throws -> Bool {
        switch code {
        case Opcode.emptyList, Opcode.emptySet: newList([])
        case Opcode.emptyDictionary: newDictionary()
        case Opcode.emptyTuple: newTuple([])
        case Opcode.tuple1: try newTuple(pop(1))
        case Opcode.tuple2: try newTuple(pop(2))
        case Opcode.tuple3: try newTuple(pop(3))
        case Opcode.tuple: try newTuple(popToMark())
        case Opcode.list, Opcode.frozenSet: try newList(popToMark())
        case Opcode.append: try append(pop(1))
        case Opcode.appends, Opcode.addItems: try append(popToMark())
        case Opcode.dictionary:
            let items = try popToMark()
            newDictionary()
            try set(items)
        case Opcode.setItem: try set(pop(2))
        case Opcode.setItems: try set(popToMark())
        default: return false
        }
        return true
    }

    // MARK: Stack and memo

    private func top() throws -> PickleValue {
        guard let value = stack.last, stack.count > marks.last ?? 0 else {
            throw reader.damaged("an empty pickle stack")
        }
        return value
    }

    private mutating func pop() throws -> PickleValue {
        let value = try top()
        stack.removeLast()
        return value
    }

    private mutating func pop(_ count: Int) throws -> [PickleValue] {
        guard stack.count - (marks.last ?? 0) >= count else { throw reader.damaged("an empty pickle stack") }
        defer { stack.removeLast(count) }
        return Array(stack.suffix(count))
    }

    private mutating func popToMark() throws -> [PickleValue] {
        guard let mark = marks.popLast() else { throw reader.damaged("a pickle mark is missing") }
        defer { stack.removeSubrange(mark...) }
        return Array(stack[mark...])
    }

    private mutating func recall(_ index: Int) throws {
        guard let value = memo[index] else {
            throw reader.damaged("the pickle recalls \(index), which it never stored")
        }
        stack.append(value)
    }

    // MARK: Values

    private func number(_ text: String) throws -> Int {
        guard let value = Int(text) else { throw reader.damaged("\(text) is no number") }
        return value
    }

    private mutating func pushDecimal(_ text: String) throws {
        // Protocol 0 writes booleans as the integers 00 and 01.
        stack.append(text == "00" ? .bool(false) : text == "01" ? .bool(true) : .integer(try number(text)))
    }

    private mutating func pushLong(_ bytes: Data) {
        guard bytes.count <= 8 else { return stack.append(.longInteger(bytes)) }
        let isNegative = (bytes.last ?? 0) & 0x80 != 0
        let filled = Array(bytes) + Array(repeating: isNegative ? 0xff : 0, count: 8 - bytes.count)
        stack.append(
            .integer(Int(truncatingIfNeeded: filled.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) })))
    }

    private mutating func pushText(_ count: Int) throws {
        stack.append(.text(try reader.text(count)))
    }

    private mutating func newList(_ values: [PickleValue]) {
        lists.append(values)
        stack.append(.list(lists.count - 1))
    }

    private mutating func newTuple(_ values: [PickleValue]) {
        tuples.append(values)
        stack.append(.tuple(tuples.count - 1))
    }

    private mutating func newDictionary() {
        dictionaries.append([:])
        stack.append(.dictionary(dictionaries.count - 1))
    }

    private mutating func append(_ values: [PickleValue]) throws {
        guard case .list(let index) = try top() else {
            throw reader.damaged("the pickle appends to what is no list")
        }
        lists[index].append(contentsOf: values)
    }

    private mutating func set(_ items: [PickleValue]) throws {
        guard case .dictionary(let index) = try top(), items.count.isMultiple(of: 2) else {
            throw reader.damaged("the pickle sets items of what is no dictionary")
        }
        for position in stride(from: 0, to: items.count, by: 2) {
            // Other keys than texts and integers name no tensor.
            switch items[position] {
            case .text(let key): dictionaries[index][key] = items[position + 1]
            case .integer(let key): dictionaries[index][String(key)] = items[position + 1]
            default: continue
            }
        }
    }

    // MARK: Names

    private mutating func pushGlobal(module: String, name: String) throws {
        guard let global = PickleGlobal(module: module, name: name) else {
            throw ArchiveError.refusedPickle(path: path, name: "\(module).\(name)")
        }
        stack.append(.global(global))
    }

    /// What "calling" one of the allowed names means.
    private mutating func reduce() throws {
        guard case .tuple(let index) = try pop(), case .global(let global) = try pop() else {
            throw reader.damaged("the pickle calls what is no function")
        }
        let arguments = tuples[index]
        switch global {
        case .orderedDictionary: try makeOrderedDictionary(arguments)
        case .leftOut: newDictionary()
        case .set:
            guard let first = arguments.first, case .list = first else {
                return newList([])
            }
            stack.append(first)
        case .rebuildTensor: try makeTensor(arguments)
        case .rebuildFromType:
            guard arguments.count >= 3, case .global(.rebuildTensor) = arguments[0],
                let inner = sequence(arguments[2])
            else { throw reader.damaged("a tensor whose description is wrong") }
            try makeTensor(inner)
        case .rebuildParameter:
            guard let first = arguments.first, case .tensor = first else {
                throw reader.damaged("a parameter without a tensor")
            }
            stack.append(first)
        case .size:
            guard let first = arguments.first else { throw reader.damaged("a size without numbers") }
            stack.append(first)
        case .device: stack.append(arguments.first ?? .none)
        case .tensorType: throw ArchiveError.refusedPickle(path: path, name: "a call of torch.Tensor")
        case .storageType(let type), .elementType(let type):
            throw ArchiveError.refusedPickle(path: path, name: "a call of torch.\(type.name)")
        }
    }

    private mutating func makeOrderedDictionary(_ arguments: [PickleValue]) throws {
        newDictionary()
        guard let first = arguments.first else { return }
        guard case .list(let index) = first else { throw reader.damaged("a dictionary of what is no list") }
        copiesLeft -= lists[index].count
        guard copiesLeft >= 0 else { throw reader.damaged("the pickle copies one list over and over") }
        for pair in lists[index] {
            guard let items = sequence(pair), items.count == 2 else {
                throw reader.damaged("a dictionary of what are no pairs")
            }
            try set(items)
        }
    }

    /// `(storage, offset, sizes, strides, …)`; the seventh is the element type where the storage is untyped.
    private mutating func makeTensor(_ arguments: [PickleValue]) throws {
        guard arguments.count >= 4, case .storage(let storage) = arguments[0],
            case .integer(let offset) = arguments[1],
            let shape = integers(arguments[2]), let strides = integers(arguments[3])
        else { throw reader.damaged("a tensor whose description is wrong") }
        var type = storage.type
        if arguments.count >= 7, case .global(.elementType(let given)) = arguments[6] { type = given }
        let (start, overflow) = offset.addingReportingOverflow(storage.offset)
        guard !overflow else { throw reader.damaged("a tensor at offset \(offset)") }
        tensors.append(
            PickleTensor(storage: storage, type: type, offset: start, shape: shape, strides: strides))
        stack.append(.tensor(tensors.count - 1))
    }

    /// Attributes of a dictionary (`_metadata` of a state dict) say nothing that is needed.
    private mutating func build() throws {
        _ = try pop()
        guard case .dictionary = try top() else {
            throw reader.damaged("the pickle sets attributes of what is no dictionary")
        }
    }

    /// `('storage', type, key, location, count)`, in the oldest format with `(view key, offset, count)` after it.
    private mutating func loadPersistent() throws {
        guard let items = sequence(try pop()), items.count >= 5, case .text("storage") = items[0],
            case .global(.storageType(let type)) = items[1], let key = text(items[2]),
            case .integer(let count) = items[4], count >= 0
        else { throw reader.damaged("a reference to what is no storage") }
        var (offset, size) = (0, count)
        if items.count >= 6, let view = sequence(items[5]) {
            guard view.count == 3, case .integer(let start) = view[1], case .integer(let length) = view[2],
                start >= 0, length >= 0
            else { throw reader.damaged("a view of a storage whose description is wrong") }
            (offset, size) = (start, length)
        }
        if let known = storages[key], known != type { throw reader.damaged("storage \(key) has two types") }
        storages[key] = type
        stack.append(.storage(PickleStorage(type: type, key: key, count: size, offset: offset)))
    }

    private func text(_ value: PickleValue) -> String? {
        switch value {
        case .text(let text): text
        case .integer(let number): String(number)
        default: nil
        }
    }

    private func integers(_ value: PickleValue) -> [Int]? {
        guard let items = sequence(value), items.count <= 64 else { return nil }
        let numbers = items.compactMap { if case .integer(let number) = $0 { number } else { nil } }
        return numbers.count == items.count ? numbers : nil
    }

    /// The items of a list or tuple.
    func sequence(_ value: PickleValue) -> [PickleValue]? {
        switch value {
        case .tuple(let index): tuples[index]
        case .list(let index): lists[index]
        default: nil
        }
    }
}

/// Instruction codes, by the names of Python's pickletools.
private enum Opcode {
    static let mark = UInt8(ascii: "("), stop = UInt8(ascii: "."), pop = UInt8(ascii: "0")
    static let popMark = UInt8(ascii: "1"), duplicate = UInt8(ascii: "2")
    static let float = UInt8(ascii: "F"), int = UInt8(ascii: "I"), binint = UInt8(ascii: "J")
    static let binint1 = UInt8(ascii: "K"), long = UInt8(ascii: "L"), binint2 = UInt8(ascii: "M")
    static let none = UInt8(ascii: "N"), persistentID = UInt8(ascii: "Q"), reduce = UInt8(ascii: "R")
    static let string = UInt8(ascii: "S"), binstring = UInt8(ascii: "T"), shortBinstring = UInt8(ascii: "U")
    static let unicode = UInt8(ascii: "V"), binunicode = UInt8(ascii: "X"), append = UInt8(ascii: "a")
    static let build = UInt8(ascii: "b"), global = UInt8(ascii: "c"), dictionary = UInt8(ascii: "d")
    static let emptyDictionary = UInt8(ascii: "}"), appends = UInt8(ascii: "e"), get = UInt8(ascii: "g")
    static let binget = UInt8(ascii: "h"), instance = UInt8(ascii: "i"), longBinget = UInt8(ascii: "j")
    static let list = UInt8(ascii: "l"), emptyList = UInt8(ascii: "]"), put = UInt8(ascii: "p")
    static let binput = UInt8(ascii: "q"), longBinput = UInt8(ascii: "r"), setItem = UInt8(ascii: "s")
    static let tuple = UInt8(ascii: "t"), emptyTuple = UInt8(ascii: ")"), setItems = UInt8(ascii: "u")
    static let binfloat = UInt8(ascii: "G"), binbytes = UInt8(ascii: "B"), shortBinbytes = UInt8(ascii: "C")
    static let proto: UInt8 = 0x80, newObject: UInt8 = 0x81, tuple1: UInt8 = 0x85, tuple2: UInt8 = 0x86
    static let tuple3: UInt8 = 0x87, newTrue: UInt8 = 0x88, newFalse: UInt8 = 0x89, long1: UInt8 = 0x8a
    static let long4: UInt8 = 0x8b, shortBinunicode: UInt8 = 0x8c, binunicode8: UInt8 = 0x8d
    static let binbytes8: UInt8 = 0x8e, emptySet: UInt8 = 0x8f, addItems: UInt8 = 0x90
    static let frozenSet: UInt8 = 0x91, stackGlobal: UInt8 = 0x93, memoize: UInt8 = 0x94
    static let frame: UInt8 = 0x95, bytearray8: UInt8 = 0x96
}
