import Foundation

/// How Hugging Face's `config.json` describes the networks of a family, as data.
struct HuggingFaceFormat: Sendable {
    /// What `model_type` says.
    let modelType: String
    /// The family's sizes; what a file does not say is the standard one's, as in transformers.
    let sizes: TransformerSizes
    /// transformers' classes (`architectures`) and the variant that each is; of several for a variant the first is
    /// written.
    let classes: [(name: String, variant: String)]
    /// The key of each number of `Architecture.sizes`.
    let keys: [(size: String, key: String)]
    /// Keys of rates of dropout with the published ones; nil for one that follows the others unless it is said.
    let dropouts: [(key: String, published: Double?)]
    /// Which of them is that of attention, and may be another than the rest.
    let attentionDropout: String
    /// The key of the ε of norms, with the published one; nil where transformers has it fixed.
    var epsilon: (key: String, published: Double)?
    /// Keys that change what is computed, with the values that Graft computes. The first is transformers' own default.
    let fixed: [(key: String, supported: [JSONValue])]
}

extension Architecture {
    /// The network that a `config.json` of Hugging Face's transformers describes.
    ///
    /// - Parameters:
    ///   - config: the text of the file.
    ///   - variant: what the network is used for, by default what the file's `architectures` says.
    ///   - classes: the number of outputs of a classifier, by default that of the file's labels.
    /// - Throws: `ModelError.unreadableConfiguration`, `.unsupportedConfiguration` with key, value and what is
    ///   supported, and what `init(named:)` throws.
    public init(huggingFace config: Data, variant: String? = nil, classes: Int? = nil) throws {
        let config = try HuggingFaceConfiguration(config)
        let format = try config.format
        try config.check(format)
        let dropouts = try config.dropouts(format)
        var rates = dropouts.rates
        rates[Architecture.epsilon] = try config.epsilon(format)
        let described = try Architecture(
            named: format.sizes.name, variant: variant ?? config.variant(format), sizes: config.sizes(format),
            dropout: dropouts.dropout, rates: rates)
        let isClassifier = described.output == .classes || described.output == .tokenClasses
        self = try described.with(classes: classes ?? (isClassifier ? config.classes : nil))
    }

    /// Whether a `config.json` describes a network of a family that Graft knows, whatever its details.
    public static func isKnown(huggingFace config: Data) -> Bool {
        (try? HuggingFaceConfiguration(config).format) != nil
    }

    /// The names of classes in a `config.json`, in the order of outputs; nil where it has none but `LABEL_0`, ….
    public static func classNames(huggingFace config: Data) -> [String]? {
        guard let names = (try? HuggingFaceConfiguration(config))?.classNames else { return nil }
        return names.enumerated().allSatisfy { $1 == "LABEL_\($0)" } ? nil : names
    }

    /// The `config.json` that makes transformers build this network.
    ///
    /// - Parameters:
    ///   - classNames: of a classifier, in the order of outputs.
    ///   - own: one that came with the weights: it is kept as it is where it describes the same. Of one for another
    ///     network of the family what Graft does not know is kept, such as the tokens that begin and end a text.
    /// - Throws: `ModelError.hasNoConfiguration` for a family that transformers does not have.
    public func huggingFaceConfig(classNames: [String]? = nil, keeping own: String? = nil) throws -> String {
        guard let format = family.huggingFace,
            let size = try format.sizes.find(MemberName(name: name, variant: nil, sizes: sizes))?.size,
            let type = format.classes.first(where: { $0.variant == variant })?.name,
            format.epsilon != nil || rates[Self.epsilon] == nil
        else { throw ModelError.hasNoConfiguration(architecture: description) }
        if let own, isDescribed(by: Data(own.utf8), as: type, classNames) { return own }
        var config = own.flatMap { HuggingFaceConfiguration($0, of: format) }?.values ?? [:]
        config["model_type"] = .string(format.modelType)
        config["architectures"] = .array([.string(type)])
        var numbers = size.numbers
        numbers["padding"] = tokens?.padding.map { Int($0) } ?? size.padding
        for (size, key) in format.keys { config[key] = numbers[size].map(JSONValue.integer) }
        func decimal(_ rate: Float?) -> Double? { rate.flatMap { Double("\($0)") } }
        for (key, published) in format.dropouts {
            let own = key == format.attentionDropout ? rates[Self.attentionDropout] : nil
            config[key] = (decimal(own ?? dropout) ?? published).map(JSONValue.number)
        }
        if let (key, published) = format.epsilon {
            config[key] = .number(decimal(rates[Self.epsilon]) ?? published)
        }
        for (key, supported) in format.fixed where supported.first != .null {
            if let said = config[key], supported.contains(where: { $0.means(said) }) { continue }
            config[key] = supported.first
        }
        for key in ["id2label", "label2id", "num_labels"] { config[key] = nil }
        if output == .classes || output == .tokenClasses {
            let names = classNames ?? (0..<classes).map { "LABEL_\($0)" }
            config["id2label"] = .object(
                Dictionary(uniqueKeysWithValues: names.enumerated().map { ("\($0)", .string($1)) }))
            config["label2id"] = .object(
                Dictionary(names.enumerated().map { ($1, .integer($0)) }, uniquingKeysWith: { first, _ in first }))
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(config), as: UTF8.self) + "\n"
    }

    /// Whether a `config.json` makes this network of the class `type` of transformers, with these names of classes.
    private func isDescribed(by config: Data, as type: String, _ classNames: [String]?) -> Bool {
        (try? HuggingFaceConfiguration(config))?.type == .string(type)
            && (try? Architecture(huggingFace: config, variant: variant)) == self
            && Self.classNames(huggingFace: config) == classNames
    }
}

/// What a `config.json` says.
private struct HuggingFaceConfiguration {
    let values: [String: JSONValue]

    /// nil where it is none of this family.
    init?(_ text: String, of format: HuggingFaceFormat) {
        guard let config = try? HuggingFaceConfiguration(Data(text.utf8)),
            config.values["model_type"] == .string(format.modelType)
        else { return nil }
        self = config
    }

    init(_ data: Data) throws {
        do {
            values = try JSONDecoder().decode([String: JSONValue].self, from: data)
        } catch {
            throw ModelError.unreadableConfiguration(reason: "is not a JSON object")
        }
    }

    /// That of the family that answers to its `model_type`.
    var format: HuggingFaceFormat {
        get throws {
            let known = Family.all.compactMap(\.huggingFace)
            guard let type = values["model_type"], type != .null else {
                throw ModelError.unreadableConfiguration(
                    reason: "has no model_type; known are \(known.map(\.modelType).joined(separator: ", "))")
            }
            guard let format = known.first(where: { .string($0.modelType) == type }) else {
                throw ModelError.unsupportedConfiguration(
                    key: "model_type", value: "\(type)", supported: known.map { "\"\($0.modelType)\"" })
            }
            return format
        }
    }

    /// - Throws: `ModelError.unsupportedConfiguration` for the first key that asks for something else than Graft
    ///   computes.
    func check(_ format: HuggingFaceFormat) throws {
        for (key, supported) in format.fixed {
            guard let value = values[key], !supported.contains(where: { $0.means(value) }) else { continue }
            throw ModelError.unsupportedConfiguration(
                key: key, value: "\(value)", supported: supported.map { "\($0)" })
        }
    }

    /// The first of `architectures`.
    var type: JSONValue? {
        if case .array(let names)? = values["architectures"] { names.first } else { nil }
    }

    /// The variant that the first of `architectures` is; nil, the family's default, where there is none.
    func variant(_ format: HuggingFaceFormat) throws -> String? {
        guard let first = type else { return nil }
        guard let known = format.classes.first(where: { .string($0.name) == first }) else {
            let names = format.classes.map(\.name)
            let supported = names.indices.filter { !names[..<$0].contains(names[$0]) }.map { "\"\(names[$0])\"" }
            throw ModelError.unsupportedConfiguration(
                key: "architectures", value: "\(first)", supported: supported)
        }
        return known.variant
    }

    func sizes(_ format: HuggingFaceFormat) throws -> [String: Int] {
        var numbers = format.sizes.standard.numbers
        for (size, key) in format.keys {
            switch values[key] {
            // The inner width follows the width then, as transformers' GPT-2 has it.
            case nil where size != "inner": continue
            case nil, .null?: numbers[size] = nil
            case .integer(let number)?: numbers[size] = number
            case .some(let value):
                throw ModelError.unsupportedConfiguration(
                    key: key, value: "\(value)", supported: ["a whole number"])
            }
        }
        return numbers
    }

    /// The rate of all dropout, and that of attention where it is another; nothing where rates are the published ones.
    func dropouts(_ format: HuggingFaceFormat) throws -> (dropout: Float?, rates: [String: Float]) {
        var rates: [(key: String, rate: Double, published: Double?)] = []
        for (key, published) in format.dropouts {
            let value = values[key] ?? .null
            guard let rate = value == .null ? published : value.double else {
                if value == .null { continue }
                throw ModelError.unsupportedConfiguration(key: key, value: "\(value)", supported: ["a number"])
            }
            rates.append((key, rate, published))
        }
        let others = rates.filter { $0.key != format.attentionDropout }
        guard let first = others.first else { return (nil, [:]) }
        let isPublished = others.allSatisfy { $0.rate == $0.published ?? first.rate }
        if !isPublished, let other = others.first(where: { $0.rate != first.rate }) {
            throw ModelError.unsupportedConfiguration(
                key: other.key, value: "\(other.rate)", supported: ["\(first.rate), as \(first.key)"])
        }
        let dropout = isPublished ? nil : Float(first.rate)
        guard let attention = rates.first(where: { $0.key == format.attentionDropout }),
            attention.rate != (isPublished ? attention.published : first.rate)
        else { return (dropout, [:]) }
        return (dropout, [Architecture.attentionDropout: Float(attention.rate)])
    }

    /// nil where it is the published one.
    func epsilon(_ format: HuggingFaceFormat) throws -> Float? {
        guard let (key, published) = format.epsilon, let value = values[key], value != .null else { return nil }
        guard let epsilon = value.double else {
            throw ModelError.unsupportedConfiguration(key: key, value: "\(value)", supported: ["a number"])
        }
        return JSONValue.number(published).means(value) ? nil : Float(epsilon)
    }

    /// In the order of outputs.
    var classNames: [String]? {
        guard case .object(let labels)? = values["id2label"], !labels.isEmpty else { return nil }
        return (0..<labels.count).map { index in
            if case .string(let name)? = labels["\(index)"] { name } else { "LABEL_\(index)" }
        }
    }

    /// transformers' own default is 2.
    var classes: Int {
        if let classNames { return classNames.count }
        if case .integer(let count)? = values["num_labels"] { return count }
        return 2
    }
}

/// A value of JSON, as it is written.
enum JSONValue: Codable, Equatable, Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    init(from decoder: Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    func encode(to encoder: Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let values): try container.encode(values)
        case .object(let values): try container.encode(values)
        }
    }

    /// As a number, whole or not.
    var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    /// Whether the two say the same; numbers to rounding.
    func means(_ other: JSONValue) -> Bool {
        guard let mine = double, let theirs = other.double else { return self == other }
        return abs(mine - theirs) <= 1e-6 * abs(mine)
    }
}

extension JSONValue: CustomStringConvertible {
    /// As JSON has it, in short.
    var description: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): "\"\(value.prefix(80))\""
        case .array(let values): "[\(values.count) values]"
        case .object(let values): "{\(values.count) keys}"
        }
    }
}
