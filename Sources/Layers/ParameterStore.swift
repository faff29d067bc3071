import Tensors

/// All parameters and buffers of a network, in the order in which its layers were built: the order
/// of files, of gradient buckets and of every listing.
public final class ParameterStore {
    public private(set) var parameters: [Parameter] = []
    public private(set) var buffers: [Buffer] = []
    private var parametersByPath: [String: Parameter] = [:]
    private var buffersByPath: [String: Buffer] = [:]

    public init() {}

    /// The parameter at a path (`layer1.0.conv1.weight`).
    public subscript(path: String) -> Parameter? { parametersByPath[path] }
    /// The buffer at a path (`layer1.0.bn1.running_mean`).
    public subscript(buffer path: String) -> Buffer? { buffersByPath[path] }

    /// The number of learned values.
    public var parameterCount: Int { parameters.reduce(0) { $0 + $1.count } }
    /// The number of values that learn now.
    public var trainableCount: Int { parameters.reduce(0) { $0 + ($1.isTrainable ? $1.count : 0) } }

    func register(_ parameter: Parameter) {
        precondition(isFree(parameter.path), "two parameters or buffers are named \(parameter.path)")
        parametersByPath[parameter.path] = parameter
        parameters.append(parameter)
    }

    func register(_ buffer: Buffer) {
        precondition(isFree(buffer.path), "two parameters or buffers are named \(buffer.path)")
        buffersByPath[buffer.path] = buffer
        buffers.append(buffer)
    }

    private func isFree(_ path: String) -> Bool {
        parametersByPath[path] == nil && buffersByPath[path] == nil
    }

    /// Runs `body` with other values in place of some parameters: the fast weights of meta-learning,
    /// the averaged weights of an evaluation. The tensors may be on the tape; the parameters' own
    /// values are untouched, and back when `body` ends.
    ///
    /// - Precondition: the paths exist and the shapes fit.
    public func withSubstituted<R>(_ values: [String: Tensor], _ body: () throws -> R) rethrows -> R {
        var previous: [(Parameter, Tensor?)] = []
        for (path, value) in values {
            guard let parameter = self[path] else {
                preconditionFailure("withSubstituted: there is no parameter \(path)")
            }
            precondition(
                parameter.shape == value.shape,
                "withSubstituted: shape \(value.shape) for \(path) of \(parameter.shape)")
            previous.append((parameter, parameter.substitute))
            parameter.substitute = value
        }
        defer { for (parameter, substitute) in previous { parameter.substitute = substitute } }
        return try body()
    }
}
