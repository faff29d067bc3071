/// The size of a transformer.
struct TransformerSize: Equatable, Sendable {
    var layers: Int
    /// Numbers per token between layers.
    var width: Int
    var heads: Int
    /// Numbers per token within a feed-forward.
    var inner: Int
    var vocabulary: Int
    /// The most tokens of a sequence.
    var positions: Int
    /// Kinds of segments; 0 where the family knows none.
    var segments = 0
    /// The token that only fills sequences up; nil where there is none.
    var padding: Int?

    /// - Parameters:
    ///   - heads: by default one for every 64 of the width.
    ///   - inner: by default four times the width.
    init(
        layers: Int, width: Int, heads: Int? = nil, inner: Int? = nil, vocabulary: Int, positions: Int,
        segments: Int = 0, padding: Int? = nil
    ) {
        (self.layers, self.width, self.vocabulary, self.positions) = (layers, width, vocabulary, positions)
        (self.heads, self.inner) = (heads ?? max(1, width / 64), inner ?? 4 * width)
        (self.segments, self.padding) = (segments, padding)
    }

    /// As `Architecture.sizes` has it.
    var numbers: [String: Int] {
        var numbers = [
            "layers": layers, "width": width, "heads": heads, "inner": inner, "vocabulary": vocabulary,
            "positions": positions,
        ]
        if segments > 0 { numbers["segments"] = segments }
        numbers["padding"] = padding
        return numbers
    }

    func tokens(padding: Int?) -> TokenInput {
        TokenInput(
            vocabulary: vocabulary, positions: positions, padding: padding.map(Int32.init), segments: segments)
    }

    /// This size with some other numbers; the inner width follows the width.
    ///
    /// - Throws: `ModelError.unknownSize`, `.invalidNumber`.
    func with(_ numbers: [String: Int], architecture: String) throws -> TransformerSize {
        guard !numbers.isEmpty else { return self }
        let known =
            ["layers", "width", "heads", "inner", "vocabulary", "positions"]
            + (segments > 0 ? ["segments"] : []) + ["padding"]
        if let key = numbers.keys.sorted().first(where: { !known.contains($0) }) {
            throw ModelError.unknownSize(architecture: architecture, key: key, known: known)
        }
        func number(_ key: String, _ standard: Int, upTo most: Int, from least: Int = 1) throws -> Int {
            let number = numbers[key] ?? standard
            guard (least...most).contains(number) else {
                throw ModelError.invalidNumber(
                    architecture: architecture, key: key, value: "\(number)", expected: "\(least) to \(most)")
            }
            return number
        }
        let width = try number("width", self.width, upTo: 1 << 16)
        var size = TransformerSize(
            layers: try number("layers", layers, upTo: 1000), width: width,
            inner: try number("inner", width == self.width ? inner : 4 * width, upTo: 1 << 20),
            vocabulary: try number("vocabulary", vocabulary, upTo: 1 << 24),
            positions: try number("positions", positions, upTo: 1 << 20))
        if segments > 0 { size.segments = try number("segments", segments, upTo: 1 << 10) }
        // Shapes do not tell the number of heads: a guess would compute something else without saying so.
        guard let heads = numbers["heads"] ?? (width == self.width ? self.heads : nil) else {
            throw ModelError.invalidNumber(
                architecture: architecture, key: "heads", value: "not said",
                expected: "a divisor of the width \(width); weights do not tell it, sizes or config.json must")
        }
        guard heads >= 1, heads <= width, width % heads == 0 else {
            throw ModelError.invalidNumber(
                architecture: architecture, key: "heads", value: "\(heads)", expected: "a divisor of the width \(width)"
            )
        }
        size.heads = heads
        if numbers["padding"] != nil || padding != nil {
            // A vocabulary too small for the published padding token has none.
            let standard = padding.flatMap { $0 < size.vocabulary ? $0 : nil }
            size.padding =
                numbers["padding"] == nil
                ? standard : try number("padding", 0, upTo: size.vocabulary - 1, from: 0)
        }
        return size
    }
}

/// What is dropped in training, and the ε of norms.
struct TransformerRates {
    let dropout: Float
    let attentionDropout: Float
    let epsilon: Float

    /// Those of an architecture, by default the published ones.
    init(_ architecture: Architecture, _ dropout: Float, _ epsilon: Float) {
        self.dropout = architecture.dropout ?? dropout
        attentionDropout = architecture.rates[Architecture.attentionDropout] ?? self.dropout
        self.epsilon = architecture.rates[Architecture.epsilon] ?? epsilon
    }
}

/// The sizes of a family: published ones by name, and any other.
struct TransformerSizes: Sendable {
    /// The name of sizes that are none of the published ones.
    let name: String
    /// What counts where `name` is given and a number is not said.
    let standard: TransformerSize
    let published: [(name: String, size: TransformerSize)]

    var names: [String] { published.map(\.name) }

    /// The one name of a size, the numbers that the name does not say, and the size; nil where the name that is asked
    /// for is not of this family.
    func find(_ asked: MemberName) throws -> (name: String, sizes: [String: Int], size: TransformerSize)? {
        let base = published.first { $0.name == asked.name }?.size ?? (asked.name == name ? standard : nil)
        guard let size = try base?.with(asked.sizes, architecture: asked.name) else { return nil }
        if let known = published.first(where: { $0.size == size }) { return (known.name, [:], size) }
        return (name, size.numbers, size)
    }

    /// What shapes tell of the size; heads and padding they do not tell.
    func recognition(_ shapes: TransformerSize, _ variant: String) -> Recognition {
        let known = published.first { entry in
            var size = shapes
            (size.heads, size.padding) = (entry.size.heads, entry.size.padding)
            return size == entry.size
        }
        if let known { return Recognition(known.name, variant) }
        var numbers = shapes.numbers
        (numbers["heads"], numbers["padding"]) = (nil, nil)
        return Recognition(name, variant, sizes: numbers)
    }
}
