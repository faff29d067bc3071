import Tensors

/// A place in a network under construction: layers register their parameters in it, and paths follow
/// from how scopes are divided, so that the code that builds a network spells every path.
///
///     let block = scope / "layer1" / 0
///     block / "conv1"                     // registers layer1.0.conv1.weight
public struct Scope {
    public let store: ParameterStore
    /// What initial values are drawn from, together with each parameter's path.
    public let seed: UInt64
    /// Empty at the root.
    public let path: String

    public init(_ store: ParameterStore, seed: UInt64 = 0) {
        self.init(store: store, seed: seed, path: "")
    }

    private init(store: ParameterStore, seed: UInt64, path: String) {
        self.store = store
        self.seed = seed
        self.path = path
    }

    public static func / (scope: Scope, name: String) -> Scope {
        Scope(store: scope.store, seed: scope.seed, path: scope.extended(by: name))
    }

    public static func / (scope: Scope, index: Int) -> Scope { scope / "\(index)" }

    /// Registers a parameter.
    ///
    /// - Precondition: its path is new.
    public func parameter(
        _ name: String, shape: [Int], role: ParameterRole, initializer: Initializer
    ) -> Parameter {
        let (path, seed) = (extended(by: name), seed)
        let parameter = Parameter(path: path, shape: shape, role: role) {
            initializer.tensor(shape: shape, key: RandomKey(seed: seed, purpose: .initialization, path: path))
        }
        store.register(parameter)
        return parameter
    }

    /// Registers a buffer, filled with `value`.
    ///
    /// - Precondition: its path is new.
    public func buffer(_ name: String, shape: [Int], value: Float, isCounter: Bool = false) -> Buffer {
        let buffer = Buffer(path: extended(by: name), value: .full(shape, value), isCounter: isCounter)
        store.register(buffer)
        return buffer
    }

    private func extended(by name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
}
