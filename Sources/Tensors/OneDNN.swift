import COneDNN
import Foundation

/// The one place that talks to oneDNN (the C API of 2.x).
///
/// A failing call here is a mistake of this target or exhausted memory: shapes are checked by the
/// operations before they get here. So calls trap with the call's name and do not throw.
enum OneDNN {
    // oneDNN is a C library without annotations; the engine and stream are made once and never freed.
    nonisolated(unsafe) static let engine: dnnl_engine_t = {
        var engine: dnnl_engine_t?
        check(dnnl_engine_create(&engine, dnnl_cpu, 0), "dnnl_engine_create")
        return unwrap(engine, "dnnl_engine_create")
    }()

    nonisolated(unsafe) static let stream: dnnl_stream_t = {
        var stream: dnnl_stream_t?
        check(dnnl_stream_create(&stream, engine, UInt32(dnnl_stream_default_flags.rawValue)), "dnnl_stream_create")
        return unwrap(stream, "dnnl_stream_create")
    }()

    static func check(_ status: dnnl_status_t, _ call: StaticString) {
        precondition(status == dnnl_success, "oneDNN: \(call) failed with status \(status.rawValue)")
    }

    static func unwrap<T>(_ value: T?, _ call: StaticString) -> T {
        guard let value else { preconditionFailure("oneDNN: \(call) returned nothing") }
        return value
    }

    // MARK: Descriptors

    static func descriptor(_ shape: [Int], strides: [Int], _ type: ElementType) -> dnnl_memory_desc_t {
        var descriptor = dnnl_memory_desc_t()
        // A number is a vector of one to oneDNN.
        let dims = (shape.isEmpty ? [1] : shape).map { Int64($0) }
        let steps = (strides.isEmpty ? [1] : strides).map { Int64($0) }
        check(
            dnnl_memory_desc_init_by_strides(&descriptor, Int32(dims.count), dims, dataType(type), steps),
            "dnnl_memory_desc_init_by_strides")
        return descriptor
    }

    /// A descriptor that leaves the layout to the primitive.
    static func anyLayout(_ shape: [Int], _ type: ElementType = .float32) -> dnnl_memory_desc_t {
        var descriptor = dnnl_memory_desc_t()
        check(
            dnnl_memory_desc_init_by_tag(
                &descriptor, Int32(shape.count), shape.map { Int64($0) }, dataType(type), dnnl_format_tag_any),
            "dnnl_memory_desc_init_by_tag")
        return descriptor
    }

    static func descriptor(_ shape: [Int], tag: dnnl_format_tag_t) -> dnnl_memory_desc_t {
        var descriptor = dnnl_memory_desc_t()
        check(
            dnnl_memory_desc_init_by_tag(&descriptor, Int32(shape.count), shape.map { Int64($0) }, dnnl_f32, tag),
            "dnnl_memory_desc_init_by_tag")
        return descriptor
    }

    static func dataType(_ type: ElementType) -> dnnl_data_type_t {
        switch type {
        case .float32: dnnl_f32
        case .int32: dnnl_s32
        case .uint8: dnnl_u8
        case .int8: dnnl_s8
        case .bfloat16: dnnl_bf16
        case .float16: dnnl_f16
        default: preconditionFailure("oneDNN does not compute with \(type)")
        }
    }

    // MARK: Reordering

    /// Copies elements from one layout to another, multiplied by `scale` and, where the target holds integers, rounded.
    static func reorder(
        _ source: Storage, _ from: OpaqueLayout, to target: Storage, _ to: OpaqueLayout, scale: Float = 1
    ) {
        // A small copy is done before another thread has heard of it.
        let threads = Threads.count
        if to.byteCount < 1 << 18 { Threads.count = 1 }
        defer { Threads.count = threads }
        let key = ReorderKey(from: LayoutKey(from), to: LayoutKey(to), scale: scale)
        let primitive = reorders.value(for: key) {
            var description: dnnl_primitive_desc_t?
            let attributes = scale == 1 ? nil : PrimitiveAttributes(scale: scale)
            check(
                dnnl_reorder_primitive_desc_create(
                    &description, &from.descriptor, engine, &to.descriptor, engine, attributes?.handle),
                "dnnl_reorder_primitive_desc_create")
            return Primitive(unwrap(description, "dnnl_reorder_primitive_desc_create"), name: "reorder")
        }
        primitive.execute([
            (DNNL_ARG_FROM, from, source),
            (DNNL_ARG_TO, to, target),
        ])
    }

    /// `tensor`'s storage in the wanted layout: its own if it already is.
    static func storage(of tensor: Tensor, in wanted: OpaqueLayout) -> Storage {
        let present = tensor.opaqueLayout
        if present.isSame(as: wanted) { return tensor.storage }
        let storage = Storage(byteCount: wanted.byteCount)
        reorder(tensor.storage, present, to: storage, wanted)
        return storage
    }

    private struct ReorderKey: Hashable {
        let from: LayoutKey
        let to: LayoutKey
        let scale: Float
    }

    private static let reorders = PrimitiveCache<ReorderKey, Primitive>()
}

extension Tensor {
    /// This tensor's layout as a descriptor, row-major ones too.
    var opaqueLayout: OpaqueLayout {
        switch layout {
        case .rowMajor: .rowMajor(shape, elementType)
        case .opaque(let opaque): opaque
        }
    }
}

/// The bytes of a descriptor, for use as a dictionary key.
struct LayoutKey: Hashable {
    private let bytes: [UInt8]

    init(_ layout: OpaqueLayout) {
        bytes = withUnsafeBytes(of: layout.descriptor) { Array($0) }
    }
}

/// A compiled operation of oneDNN, with the descriptor it was made from.
final class Primitive {
    private let description: dnnl_primitive_desc_t
    private let primitive: dnnl_primitive_t
    /// What a profile calls it, and the multiplications and additions of one run.
    private let name: StaticString
    private let operations: Int
    /// Scratch memory that the primitive must be given; nil where it wants none.
    private let scratchpad: OpaqueLayout?

    /// Takes ownership of `description`.
    init(_ description: dnnl_primitive_desc_t, name: StaticString) {
        self.description = description
        self.name = name
        operations = 0
        scratchpad = nil
        var primitive: dnnl_primitive_t?
        OneDNN.check(dnnl_primitive_create(&primitive, description), "dnnl_primitive_create")
        self.primitive = OneDNN.unwrap(primitive, "dnnl_primitive_create")
    }

    /// Makes the primitive an operation descriptor asks for; nil where oneDNN has no such implementation.
    ///
    /// - Parameters:
    ///   - hint: the forward primitive, for a backward one.
    ///   - attributes: what is done to the result before it is written.
    init?(
        operation: UnsafeRawPointer, hint: Primitive? = nil, attributes: PrimitiveAttributes? = nil,
        name: StaticString, operations: Int = 0
    ) {
        self.name = name
        self.operations = operations
        var description: dnnl_primitive_desc_t?
        let attributes = attributes ?? PrimitiveAttributes()
        let status = dnnl_primitive_desc_create(
            &description, operation, attributes.handle, OneDNN.engine, hint?.description)
        guard status == dnnl_success, let description else { return nil }
        self.description = description
        let scratch = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0).map {
            OpaqueLayout($0.pointee)
        }
        scratchpad = scratch.flatMap { $0.byteCount > 0 ? $0 : nil }
        var primitive: dnnl_primitive_t?
        OneDNN.check(dnnl_primitive_create(&primitive, description), "dnnl_primitive_create")
        self.primitive = OneDNN.unwrap(primitive, "dnnl_primitive_create")
    }

    deinit {
        dnnl_primitive_destroy(primitive)
        dnnl_primitive_desc_destroy(description)
    }

    /// The layout that the primitive wants or makes for one of its arguments.
    func layout(of argument: Int32) -> OpaqueLayout {
        let descriptor = dnnl_primitive_desc_query_md(description, dnnl_query_exec_arg_md, argument)
        return OpaqueLayout(OneDNN.unwrap(descriptor, "dnnl_primitive_desc_query_md").pointee)
    }

    /// The implementation's name, such as "jit:avx512_core".
    var implementation: String {
        var name: UnsafePointer<CChar>?
        let status = withUnsafeMutablePointer(to: &name) {
            dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, $0)
        }
        guard status == dnnl_success, let name else { return "unknown" }
        return String(cString: name)
    }

    /// Runs the primitive on storages that lie in the given layouts.
    func execute(_ arguments: [(index: Int32, layout: OpaqueLayout, storage: Storage)]) {
        let scratch = scratchpad.map { (DNNL_ARG_SCRATCHPAD, $0, Storage(byteCount: $0.byteCount)) }
        let given = arguments + (scratch.map { [$0] } ?? [])
        let memories = given.map { argument in
            var memory: dnnl_memory_t?
            OneDNN.check(
                dnnl_memory_create(&memory, &argument.1.descriptor, OneDNN.engine, argument.2.pointer),
                "dnnl_memory_create")
            return OneDNN.unwrap(memory, "dnnl_memory_create")
        }
        defer { for memory in memories { dnnl_memory_destroy(memory) } }
        let list = zip(given, memories).map { dnnl_exec_arg_t(arg: $0.0, memory: $1) }
        Profile.measure(name, bytes: arguments.reduce(0) { $0 + $1.layout.byteCount }, operations: operations) {
            OneDNN.check(
                dnnl_primitive_execute(primitive, OneDNN.stream, Int32(list.count), list), "dnnl_primitive_execute")
        }
        // Threads hand over at the end of a primitive: a good moment to let messages advance.
        ComputationHook.run()
    }
}

/// Something to call now and then from inside long computations; the cluster lets its reductions
/// advance from here.
public enum ComputationHook {
    private nonisolated(unsafe) static var body: (() -> Void)?

    /// Sets what is called, on the thread that computes; nil for nothing.
    public static func set(_ body: (() -> Void)?) { self.body = body }

    static func run() { body?() }
}

/// Compiled operations by key, bounded because text and detection bring many shapes. The oldest go
/// first.
final class PrimitiveCache<Key: Hashable, Value>: @unchecked Sendable {
    private var values: [Key: Value] = [:]
    private var order: [Key] = []
    private let capacity: Int
    private let lock = NSLock()

    init(capacity: Int = 1024) { self.capacity = capacity }

    func value(for key: Key, make: () -> Value) -> Value {
        lock.lock()
        defer { lock.unlock() }
        if let value = values[key] { return value }
        let value = make()
        if order.count >= capacity {
            for old in order.prefix(capacity / 4) { values[old] = nil }
            order.removeFirst(capacity / 4)
        }
        values[key] = value
        order.append(key)
        return value
    }
}
