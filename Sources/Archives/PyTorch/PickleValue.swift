import Foundation
import Tensors

/// What an unpickler builds. Containers live in the unpickler's tables and are referred to by index:
/// no value owns another, so neither a cycle nor any depth of nesting costs stack. What is large lies elsewhere
/// (`indirect`): a pickle of one-byte instructions takes 24 times its size in memory, not more.
enum PickleValue {
    case none
    case bool(Bool)
    case integer(Int)
    /// An integer of more than 64 bits, little endian.
    case longInteger(Data)
    case real(Double)
    case text(String)
    case bytes(Data)
    /// A list or a set.
    case list(Int)
    case tuple(Int)
    case dictionary(Int)
    indirect case global(PickleGlobal)
    indirect case storage(PickleStorage)
    case tensor(Int)
}

/// The few names that a pickle may ask for. Nothing is ever called: each stands for a fixed treatment
/// of its arguments.
enum PickleGlobal: Equatable {
    case orderedDictionary
    /// A set, of the items of a list.
    case set
    /// What checkpoints hold beside weights, such as arguments and NumPy's numbers: an empty dictionary, whatever is
    /// said of it.
    case leftOut
    case rebuildTensor
    /// `_rebuild_from_type_v2(rebuild, type, arguments, state)`: a tensor of a type of its own.
    case rebuildFromType
    /// A type of tensor, only ever an argument.
    case tensorType
    case rebuildParameter
    case size
    case device
    case storageType(StorageType)
    case elementType(StorageType)

    /// What the name `module.name` stands for, or nil where it is refused.
    init?(module: String, name: String) {
        switch (module, name) {
        case ("collections", "OrderedDict"): self = .orderedDictionary
        case ("__builtin__", "set"), ("builtins", "set"): self = .set
        case ("collections", "defaultdict"), ("collections", "Counter"), ("argparse", "Namespace"),
            ("numpy", "dtype"), ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
            ("_codecs", "encode"):
            self = .leftOut
        case ("torch._tensor", "_rebuild_from_type_v2"): self = .rebuildFromType
        case ("torch", "Tensor"), ("torch.nn.parameter", "Parameter"): self = .tensorType
        case ("torch._utils", "_rebuild_tensor"), ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_tensor_v3"):
            self = .rebuildTensor
        case ("torch._utils", "_rebuild_parameter"), ("torch._utils", "_rebuild_parameter_with_state"):
            self = .rebuildParameter
        case ("torch", "Size"): self = .size
        case ("torch", "device"): self = .device
        case ("torch", _), ("torch.storage", _), ("torch.cuda", _):
            if let type = StorageType.table[name] {
                self = .storageType(type)
            } else if module == "torch", let type = StorageType.elementTypes[name] {
                self = .elementType(type)
            } else {
                return nil
            }
        default: return nil
        }
    }
}

/// A kind of storage: `torch.FloatStorage` and the like.
struct StorageType: Hashable {
    let name: String
    let byteCount: Int
    /// Nil where Graft has no such element type; such tensors are refused only when they are wanted.
    let elementType: ElementType?

    private init(_ name: String, _ byteCount: Int, _ elementType: ElementType?) {
        (self.name, self.byteCount, self.elementType) = (name, byteCount, elementType)
    }

    static let table: [String: StorageType] = [
        "FloatStorage": StorageType("float32", 4, .float32),
        "DoubleStorage": StorageType("float64", 8, .float64),
        "HalfStorage": StorageType("float16", 2, .float16),
        "BFloat16Storage": StorageType("bfloat16", 2, .bfloat16),
        "LongStorage": StorageType("int64", 8, .int64),
        "IntStorage": StorageType("int32", 4, .int32),
        "ShortStorage": StorageType("int16", 2, nil),
        "CharStorage": StorageType("int8", 1, .int8),
        "ByteStorage": StorageType("uint8", 1, .uint8),
        "BoolStorage": StorageType("bool", 1, .bool),
        "ComplexFloatStorage": StorageType("complex64", 8, nil),
        "ComplexDoubleStorage": StorageType("complex128", 16, nil),
        "UntypedStorage": StorageType("uint8", 1, .uint8),
    ]

    /// By the names of `torch.dtype`, with their older aliases.
    static let elementTypes: [String: StorageType] = {
        var types: [String: StorageType] = [:]
        for type in table.values { types[type.name] = type }
        for (alias, name) in [
            ("float", "float32"), ("double", "float64"), ("half", "float16"), ("long", "int64"),
            ("int", "int32"),
        ] {
            types[alias] = types[name]
        }
        return types
    }()
}

/// A reference to a storage, whose values lie outside the pickle.
struct PickleStorage: Hashable {
    let type: StorageType
    let key: String
    /// Elements of `type`.
    let count: Int
    /// Where the storage begins within that of `key`, in elements: views of the oldest format.
    let offset: Int
}

/// A tensor over a storage.
struct PickleTensor: Hashable {
    let storage: PickleStorage
    let type: StorageType
    /// In elements of `type`, from the beginning of the storage of that key.
    let offset: Int
    let shape: [Int]
    let strides: [Int]
}
