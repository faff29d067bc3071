import Collectives

/// One mapping of a recipe, read strictly: a key it does not know is an error as soon as it is opened.
struct Section {
    /// Dotted, as `--set` takes it; empty for the whole recipe.
    let path: String
    let place: String
    private let node: RecipeNode
    private let known: [String]

    init(_ node: RecipeNode, path: String, keys: [String]) throws {
        self.node = node
        self.path = path
        place = node.origin.description
        known = keys
        guard case .mapping(let entries) = node.content else {
            throw RecipeError.wrongType(
                place: place, key: path.isEmpty ? "recipe" : path,
                expected: "keys and values (\(keys.joined(separator: ", ")))", actual: node.kind)
        }
        for entry in entries where !keys.contains(entry.key) {
            throw RecipeError.unknownKey(
                place: entry.origin.description, key: Self.join(path, entry.key),
                nearest: nearestNames(to: entry.key, among: keys, limit: 2), known: keys)
        }
    }

    func fullName(_ key: String) -> String { Self.join(path, key) }

    private static func join(_ path: String, _ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// The value of `key`; nil where it is absent or null.
    func value(_ key: String) -> RecipeNode? {
        precondition(known.contains(key), "recipe section '\(path)' reads a key it does not declare: \(key)")
        return node[key].flatMap { $0.isNull ? nil : $0 }
    }

    /// Where `key` was written, or the section if it was not.
    func place(of key: String) -> String { value(key)?.origin.description ?? place }

    // MARK: Values

    func text(_ key: String) throws -> String? {
        try value(key).map { try Self.text($0, name: fullName(key)) }
    }

    func flag(_ key: String) throws -> Bool? {
        guard let node = value(key) else { return nil }
        switch node.content {
        case .scalar("true"): return true
        case .scalar("false"): return false
        default: throw wrongType(key, "true or false", node)
        }
    }

    /// A whole number from `minimum` to `maximum`: by default so much that no product of two overflows.
    func integer(_ key: String, atLeast minimum: Int, atMost maximum: Int = 1_000_000_000) throws -> Int? {
        guard let node = value(key) else { return nil }
        guard case .scalar(let text) = node.content, let number = Int(text) else {
            throw wrongType(key, "a whole number", node)
        }
        guard number >= minimum else { throw invalid(key, text, "give \(minimum) or more") }
        guard number <= maximum else { throw invalid(key, text, "give \(maximum) or less") }
        return number
    }

    /// A finite number for which `isValid` holds; `rule` says what that is.
    func number(_ key: String, _ rule: String, where isValid: (Double) -> Bool) throws -> Double? {
        guard let node = value(key) else { return nil }
        let number = try Self.number(node, name: fullName(key))
        guard isValid(number) else { throw invalid(key, Self.show(node), rule) }
        return number
    }

    /// A list of finite numbers for which `isValid` holds.
    func numbers(_ key: String, _ rule: String, where isValid: ([Double]) -> Bool) throws -> [Double]? {
        guard let node = value(key) else { return nil }
        guard case .list(let items) = node.content else { throw wrongType(key, "a list of numbers", node) }
        let numbers = try items.map { try Self.number($0, name: fullName(key)) }
        guard isValid(numbers) else {
            throw invalid(key, "[\(items.map(Self.show).joined(separator: ", "))]", rule)
        }
        return numbers
    }

    /// One word or a list of words.
    func words(_ key: String) throws -> [String]? {
        guard let node = value(key) else { return nil }
        guard case .list(let items) = node.content else { return [try Self.text(node, name: fullName(key))] }
        let words = try items.map { try Self.text($0, name: fullName(key)) }
        if words.isEmpty { throw invalid(key, "an empty list", "name at least one or remove the key") }
        var seen = Set<String>()
        if let twice = words.first(where: { !seen.insert($0).inserted }) {
            throw invalid(key, "a list with '\(twice)' twice", "name it once")
        }
        return words
    }

    func choice<Choice: RawRepresentable & CaseIterable>(_ key: String, of type: Choice.Type) throws -> Choice?
    where Choice.RawValue == String {
        guard let text = try text(key) else { return nil }
        if let choice = Choice(rawValue: text) { return choice }
        let known = Choice.allCases.map(\.rawValue)
        throw RecipeError.unknownValue(
            place: place(of: key), key: fullName(key), value: text, nearest: nearestNames(to: text, among: known),
            known: known)
    }

    func section(_ key: String, keys: [String]) throws -> Section? {
        try value(key).map { try Section($0, path: fullName(key), keys: keys) }
    }

    func items(_ key: String) throws -> [(node: RecipeNode, path: String)]? {
        guard let node = value(key) else { return nil }
        guard case .list(let items) = node.content else { throw wrongType(key, "a list", node) }
        return items.enumerated().map { ($1, "\(fullName(key))[\($0)]") }
    }

    // MARK: Errors

    func wrongType(_ key: String, _ expected: String, _ node: RecipeNode) -> RecipeError {
        .wrongType(
            place: node.origin.description, key: fullName(key), expected: expected, actual: node.kind)
    }

    func invalid(_ key: String, _ value: String, _ rule: String) -> RecipeError {
        .invalidValue(place: place(of: key), key: fullName(key), value: value, rule: rule)
    }

    func conflict(_ key: String, _ problem: String, _ remedy: String) -> RecipeError {
        .conflict(
            place: place(of: key), key: fullName(key), value: value(key).map(Self.show) ?? "not given",
            problem: problem, remedy: remedy)
    }

    private static func show(_ node: RecipeNode) -> String {
        if case .scalar(let text) = node.content { return text }
        if case .mapping = node.content { return "given" }
        return node.kind
    }

    private static func text(_ node: RecipeNode, name: String) throws -> String {
        guard case .scalar(let text) = node.content else {
            throw RecipeError.wrongType(
                place: node.origin.description, key: name, expected: "a word", actual: node.kind)
        }
        guard !text.isEmpty else {
            throw RecipeError.invalidValue(
                place: node.origin.description, key: name, value: "empty", rule: "give a word or remove the key")
        }
        return text
    }

    private static func number(_ node: RecipeNode, name: String) throws -> Double {
        guard case .scalar(let text) = node.content, let number = Double(text), number.isFinite else {
            throw RecipeError.wrongType(
                place: node.origin.description, key: name, expected: "a number", actual: node.kind)
        }
        return number
    }
}
