extension RecipeNode {
    /// Applies one `--set key.path=value` before anything is validated.
    ///
    /// The value is YAML; `null` removes the key. Elements of lists are named by number or, where they
    /// have one, by name: `phases[0].epochs`, `phases.head.epochs`. What is set under `train` also reaches
    /// phases that say otherwise.
    ///
    /// - Throws: `RecipeError.badOverride` for a path that leads nowhere.
    mutating func apply(override option: String) throws {
        guard let equals = option.firstIndex(of: "=") else {
            throw RecipeError.badOverride(option: option, problem: "write it as key.path=value")
        }
        let path = option[..<equals].replacing("[", with: ".").replacing("]", with: "")
            .split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard path.allSatisfy({ !$0.isEmpty && !$0.contains(" ") }) else {
            throw RecipeError.badOverride(
                option: option, problem: "'\(option[..<equals])' is not a key path such as train.batch")
        }
        let value = try RecipeNode(overrideValue: String(option[option.index(after: equals)...]), option: option)
        try set(value, at: path[...], option: option)
        if path.count > 1, path[0] == "train", case .list(let phases)? = self["phases"]?.content {
            let lengths = ["epochs", "steps"]
            let keys = lengths.contains(path[1]) ? lengths : [path[1]]
            let reaching = try phases.map { phase in
                var phase = phase
                if keys.contains(where: { phase[$0] != nil }) {
                    try phase.set(value, at: path[1...], option: option)
                }
                return phase
            }
            self["phases"]?.content = .list(reaching)
        }
    }

    /// - Parameter shortFor: the key that a scalar here is short for.
    private mutating func set(
        _ value: RecipeNode, at path: ArraySlice<String>, option: String, shortFor: String? = nil
    ) throws {
        guard let key = path.first else {
            self = value
            return
        }
        switch content {
        case .list(var items):
            guard let index = Int(key) ?? items.firstIndex(where: { $0["name"]?.content == .scalar(key) }),
                items.indices.contains(index)
            else {
                let names = items.enumerated().map { index, item in
                    if case .scalar(let name)? = item["name"]?.content { name } else { String(index) }
                }
                throw RecipeError.badOverride(
                    option: option,
                    problem: "there is no element '\(key)'; choose from \(names.joined(separator: ", "))")
            }
            try items[index].set(value, at: path.dropFirst(), option: option)
            content = .list(items)
        case .null, .scalar, .mapping:
            becomeMapping(shortFor: shortFor, origin: value.origin)
            if path.count == 1 { removeRivals(of: key) }
            var child = self[key] ?? RecipeNode(content: .null, origin: value.origin)
            try child.set(value, at: path.dropFirst(), option: option, shortFor: Self.shortForms[key])
            self[key] = child
        }
    }

    /// Gives room for `key`: what was given in its short form (a path, a name) becomes a mapping.
    private mutating func becomeMapping(shortFor: String?, origin: Origin) {
        switch content {
        case .mapping: return
        case .scalar:
            let entry = shortFor.map { Entry(key: $0, origin: self.origin, value: self) }
            self = RecipeNode(content: .mapping(entry.map { [$0] } ?? []), origin: self.origin)
        case .null, .list:
            self = RecipeNode(content: .mapping([]), origin: origin)
        }
    }

    /// Keys that may be given as one word, and the key that the word belongs to.
    private static let shortForms = [
        "train": "path", "validation": "path", "optimizer": "name", "schedule": "name",
    ]

    /// `steps` in place of `epochs`, and so on.
    private mutating func removeRivals(of key: String) {
        let lengths = ["epochs", "steps", "minutes"]
        if lengths.contains(key) {
            for rival in lengths where rival != key { self[rival] = nil }
        }
    }
}
