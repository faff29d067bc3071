import Models

extension WeightLoader {
    /// The known network that names and shapes of a file resemble most, for a file that is recognised as none.
    public struct Resemblance: Equatable, Sendable {
        public let architecture: Architecture
        /// Tensors of the file that have a place in the network, by name and shape.
        public let fitting: Int
        /// Tensors that the network has.
        public let count: Int
    }

    /// nil where no network has a place for at least half of the file's tensors, and at least four.
    public static func resemblance(of file: WeightFile) -> Resemblance? {
        let found = Architecture.knownNames.compactMap { name in
            (try? Architecture(named: name)).flatMap { resemblance(of: file, to: $0) }
        }
        // Of networks that explain as much, the one with the least besides.
        let best = found.max { ($0.fitting, -$0.count) < ($1.fitting, -$1.count) }
        guard let best, best.fitting >= 4, 2 * best.fitting >= file.tensors.count else { return nil }
        return best
    }

    private static func resemblance(of file: WeightFile, to architecture: Architecture) -> Resemblance? {
        let store = architecture.network().store
        let expected = Dictionary(
            store.parameters.map { ($0.path, $0.shape) } + store.buffers.map { ($0.path, $0.shape) },
            uniquingKeysWith: { first, _ in first })
        let fitting = architecture.family.sources.map { source in
            file.tensors.filter { tensor in
                source.path(of: tensor.name).flatMap { expected[$0] } == tensor.shape
            }.count
        }
        return fitting.max().map { Resemblance(architecture: architecture, fitting: $0, count: expected.count) }
    }
}
