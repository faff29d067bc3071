import Collectives

/// Which network: a family, its size, its variant, and what goes in and comes out.
///
/// docs/models.md and `graft models` have the table of names. Input sizes are those the published weights were trained
/// at; any other that the layers allow works.
public struct Architecture: Sendable {
    /// The name that `init(named:)` knows (`resnet50`, `mobilenet_v1_0.25`).
    public let name: String
    public let variant: String
    /// Numbers that the name does not say: the layers, width, … of a `bert` that is none of the published ones.
    public let sizes: [String: Int]
    /// The number of outputs.
    public let classes: Int
    /// 3 for RGB, 1 for grey.
    public let inputChannels: Int
    /// The rate of all dropout of a network over text; nil for the rates of the published ones.
    public let dropout: Float?
    /// Of a network over text, what differs from the published one: `attention-dropout`, where it is not that of all other
    /// dropout, and the `epsilon` of norms.
    public let rates: [String: Float]
    /// The family it belongs to.
    public let family: Family
    private let member: Member

    /// Looks an architecture up.
    ///
    /// - Parameters:
    ///   - name: a name from the table; `resnet50-v1` names the variant as well.
    ///   - variant: a variant from the table.
    ///   - sizes: numbers that the name does not say.
    ///   - classes: the number of outputs, by default that of the published weights.
    ///   - inputChannels: of images, by default 3.
    ///   - dropout: in 0..<1; the rate of all dropout of a network over text, by default as published.
    ///   - rates: what of these is not as published.
    /// - Throws: `ModelError` with the nearest names, the known variants or the numbers that are possible.
    public init(
        named name: String, variant: String? = nil, sizes: [String: Int] = [:], classes: Int? = nil,
        inputChannels: Int? = nil, dropout: Float? = nil, rates: [String: Float] = [:]
    ) throws {
        let parts = name.split(separator: "-", maxSplits: 1).map(String.init)
        let named = parts.count > 1 ? parts[1] : nil
        if let named, let variant, named.lowercased() != variant.lowercased() {
            throw ModelError.twoVariants(architecture: parts[0], named: named, variant: variant)
        }
        let asked = MemberName(name: parts.first ?? "", variant: variant ?? named, sizes: sizes)
        guard let (family, member) = try Self.find(asked) else {
            throw ModelError.unknownArchitecture(
                name: asked.name, nearest: nearestNames(to: asked.name, among: Self.knownNames))
        }
        self.family = family
        self.member = member
        self.name = member.name
        self.variant = member.variant
        self.sizes = member.sizes
        self.classes = classes ?? member.classes
        self.inputChannels = inputChannels ?? 3
        self.dropout = dropout
        self.rates = rates
        try check(self.classes, "classes", upTo: 1 << 24)
        try check(self.inputChannels, "input channels", upTo: 1 << 16)
        try checkSizes(sizes)
        try checkOutput()
        try checkRates()
    }

    private static func find(_ asked: MemberName) throws -> (Family, Member)? {
        for family in Family.all {
            if let member = try family.member(asked) { return (family, member) }
        }
        return nil
    }

    /// The same architecture with another number of classes, another dropout, or both; a dropout is that of attention too.
    ///
    /// - Throws: `ModelError.invalidNumber`.
    public func with(classes: Int? = nil, dropout: Float? = nil) throws -> Architecture {
        try Architecture(
            named: name, variant: variant, sizes: sizes, classes: classes ?? self.classes,
            inputChannels: inputChannels, dropout: dropout ?? self.dropout,
            rates: dropout == nil ? rates : rates.filter { $0.key != Self.attentionDropout })
    }

    /// Builds the network.
    ///
    /// - Parameter seed: what initial values are drawn from (when they are first needed).
    public func network(seed: UInt64 = 0) -> Network { member.build(self, seed) }

    /// All names; of names with a number in them, such as a width, the usual ones.
    public static let knownNames: [String] = Family.all.flatMap(\.names)

    /// The variants that its name has, the default first.
    public var variants: [String] { member.variants }

    /// Keras's layers with weights, in the order of Keras's `model.layers`; nil where Keras has no such network.
    public var kerasLayers: [KerasLayer]? { member.kerasLayers }

    /// What comes out, and what it learns from.
    public var output: OutputKind { member.output }

    /// What tokens a network over text takes; nil for a network over images.
    public var tokens: TokenInput? {
        if case .tokens(let tokens) = member.input { tokens } else { nil }
    }

    /// Height and width in pixels that the published weights were trained at; of networks over text, the most tokens.
    public var inputSize: Int {
        switch member.input {
        case .images(let preprocessing): preprocessing.inputSize
        case .tokens(let tokens): tokens.positions
        }
    }

    /// What the published weights of this architecture were trained on; a weight file or a recipe may say otherwise.
    /// Grey input gets the mean of the three channels' numbers. nil for a network over text.
    public var preprocessing: Preprocessing? {
        guard case .images(var preprocessing) = member.input else { return nil }
        guard inputChannels == 1 else { return preprocessing }
        func mean(_ values: [Float]) -> [Float] { [values.reduce(0, +) / Float(values.count)] }
        preprocessing.mean = mean(preprocessing.mean)
        preprocessing.standardDeviation = mean(preprocessing.standardDeviation)
        preprocessing.channelOrder = .grey
        return preprocessing
    }

    /// `preprocessing` of a network that images are to go into.
    ///
    /// - Throws: `ModelError.takesTokens`.
    public var imagePreprocessing: Preprocessing {
        get throws {
            guard let preprocessing else { throw ModelError.takesTokens(architecture: name) }
            return preprocessing
        }
    }

    private func check(_ number: Int, _ key: String, upTo most: Int) throws {
        guard (1...most).contains(number) else {
            throw ModelError.invalidNumber(
                architecture: name, key: key, value: "\(number)", expected: "1 to \(most)")
        }
    }

    /// The name of a network over images says all of its size.
    private func checkSizes(_ sizes: [String: Int]) throws {
        guard tokens == nil, let key = sizes.keys.min() else { return }
        throw ModelError.unknownSize(architecture: name, key: key, known: [])
    }

    /// Only classifiers may have any number of outputs.
    private func checkOutput() throws {
        guard output != .classes, output != .tokenClasses, classes != member.classes else { return }
        throw ModelError.invalidNumber(
            architecture: description, key: "classes", value: "\(classes)", expected: "\(member.classes) or none")
    }

    private func checkRates() throws {
        var all = rates
        all["dropout"] = dropout
        for (key, rate) in all.sorted(by: { $0.key < $1.key }) {
            let isEpsilon = key == Self.epsilon
            let isKnown = isEpsilon || ["dropout", Self.attentionDropout].contains(key)
            guard tokens != nil, isKnown, isEpsilon ? rate > 0 : rate >= 0, rate < 1 else {
                let range = isEpsilon ? "above 0 and less than 1" : "0 or more and less than 1"
                throw ModelError.invalidNumber(
                    architecture: name, key: key, value: "\(rate)",
                    expected: tokens == nil ? "none: it is fixed in networks over images" : isKnown ? range : "none")
            }
        }
    }

    /// The keys of `rates`.
    static let attentionDropout = "attention-dropout"
    static let epsilon = "epsilon"
}

extension Architecture: Equatable {
    public static func == (a: Architecture, b: Architecture) -> Bool {
        (a.name, a.variant, a.classes, a.inputChannels) == (b.name, b.variant, b.classes, b.inputChannels)
            && a.sizes == b.sizes && a.dropout == b.dropout && a.rates == b.rates
    }
}

extension Architecture: CustomStringConvertible {
    /// `resnet50 (v1.5)`.
    public var description: String { "\(name) (\(variant))" }
}

/// What a network over text takes: tokens N×T, `Int32`.
public struct TokenInput: Equatable, Sendable {
    /// How many tokens there are.
    public let vocabulary: Int
    /// The most tokens of a sequence.
    public let positions: Int
    /// The token that only fills a sequence up; nil where there is none.
    public let padding: Int32?
    /// How many kinds of segments `ForwardContext.segments` may tell apart; 0 where the network knows none.
    public let segments: Int
}
