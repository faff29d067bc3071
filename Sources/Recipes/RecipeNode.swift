import Foundation
import Yams

/// A piece of a recipe before it has a meaning: text, list or mapping, and where it was written.
///
/// Scalars stay text until a key says what they are, so that a class called `no` stays a word.
struct RecipeNode: Equatable {
    enum Content: Equatable {
        /// `key:` or `key: null`, as if the key were not there.
        case null
        case scalar(String)
        case list([RecipeNode])
        case mapping([Entry])
    }

    struct Entry: Equatable {
        var key: String
        var origin: Origin
        var value: RecipeNode
    }

    var content: Content
    var origin: Origin

    static func == (a: RecipeNode, b: RecipeNode) -> Bool { a.content == b.content }

    /// Where something was written, as messages begin with it.
    enum Origin: Equatable, CustomStringConvertible {
        case line(Int, file: String)
        /// The text of a `--set` option.
        case override(String)
        /// Made here, not written by anybody.
        case derived

        static func == (a: Origin, b: Origin) -> Bool { true }

        var description: String {
            switch self {
            case .line(let line, let file): "\(file):\(line)"
            case .override(let text): "--set \(text)"
            case .derived: "recipe"
            }
        }
    }
}

extension RecipeNode {
    /// The tree of a YAML document.
    ///
    /// - Throws: `RecipeError.notYAML` with the line of what cannot be read.
    init(yaml: String, file: String) throws {
        do {
            guard let root = try Yams.compose(yaml: yaml) else {
                self.init(content: .null, origin: .line(1, file: file))
                return
            }
            try self.init(root) { .line($0 ?? 1, file: file) }
        } catch let error as YamlError {
            throw RecipeError.notYAML(file: file, problem: Self.problem(error))
        }
    }

    /// The value of a `--set` option.
    init(overrideValue text: String, option: String) throws {
        do {
            guard let root = try Yams.compose(yaml: text) else {
                self.init(content: .null, origin: .override(option))
                return
            }
            try self.init(root) { _ in .override(option) }
        } catch let error as YamlError {
            throw RecipeError.badOverride(option: option, problem: Self.problem(error))
        }
    }

    private init(_ node: Node, depth: Int = 0, origin: (Int?) -> Origin) throws {
        let place = origin(node.mark?.line)
        guard depth < 32 else {
            throw RecipeError.notYAML(file: place.description, problem: "nested more than 32 deep")
        }
        switch node {
        case .scalar(let scalar):
            let isPlain = scalar.style == .plain || scalar.style == .any
            let isNull = isPlain && ["", "~", "null"].contains(scalar.string)
            self.init(content: isNull ? .null : .scalar(scalar.string), origin: place)
        case .sequence(let sequence):
            let items = try sequence.map { try RecipeNode($0, depth: depth + 1, origin: origin) }
            self.init(content: .list(items), origin: place)
        case .mapping(let mapping):
            let entries = try mapping.map { key, value in
                Entry(
                    key: key.scalar?.string ?? "?", origin: origin(key.mark?.line),
                    value: try RecipeNode(value, depth: depth + 1, origin: origin))
            }
            self.init(content: .mapping(entries), origin: place)
        case .alias:
            throw RecipeError.notYAML(file: place.description, problem: "aliases are not part of a recipe")
        }
    }

    private static func problem(_ error: YamlError) -> String {
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let detail = context.map { " \($0.text.trimmingCharacters(in: .whitespaces))" } ?? ""
            return "line \(mark.line), column \(mark.column): \(problem)\(detail)"
        case .duplicatedKeysInMapping(let duplicates, let context):
            let keys = duplicates.map { "'\($0)'" }.joined(separator: ", ")
            return "line \(context.mark.line): the key \(keys) appears twice"
        default:
            return "\(error)".split(separator: "\n").first.map(String.init) ?? "not readable"
        }
    }
}

extension RecipeNode {
    init(_ text: String) { self.init(content: .scalar(text), origin: .derived) }
    init(_ flag: Bool) { self.init(flag ? "true" : "false") }
    init(_ number: Int) { self.init(String(number)) }
    init(_ number: Double) { self.init(number.description) }
    init(_ items: [RecipeNode]) { self.init(content: .list(items), origin: .derived) }

    /// A mapping of what is there: entries without a value are left out.
    init(_ entries: KeyValuePairs<String, RecipeNode?>) {
        self.init(
            content: .mapping(
                entries.compactMap { key, value in
                    value.map { Entry(key: key, origin: .derived, value: $0) }
                }), origin: .derived)
    }

    var isNull: Bool { content == .null }

    /// What kind of thing it is, for messages.
    var kind: String {
        switch content {
        case .null: "nothing"
        case .scalar(let text): text.count > 60 ? "'\(text.prefix(60))…'" : "'\(text)'"
        case .list: "a list"
        case .mapping: "a mapping"
        }
    }

    subscript(key: String) -> RecipeNode? {
        get {
            guard case .mapping(let entries) = content else { return nil }
            return entries.first { $0.key == key }?.value
        }
        set {
            guard case .mapping(var entries) = content else { return }
            if let index = entries.firstIndex(where: { $0.key == key }) {
                if let newValue {
                    entries[index].value = newValue
                    entries[index].origin = newValue.origin
                } else {
                    entries.remove(at: index)
                }
            } else if let newValue {
                entries.append(Entry(key: key, origin: newValue.origin, value: newValue))
            }
            content = .mapping(entries)
        }
    }
}

// MARK: - YAML out

extension RecipeNode {
    /// The tree as YAML: mappings in blocks, lists of plain values on one line.
    var yaml: String {
        var lines: [String] = []
        appendBlock(to: &lines, indent: "")
        return lines.joined(separator: "\n") + "\n"
    }

    private func appendBlock(to lines: inout [String], indent: String) {
        switch content {
        case .mapping(let entries):
            for entry in entries { Self.append(entry, to: &lines, indent: indent) }
        case .list(let items):
            for item in items {
                var block: [String] = []
                item.appendBlock(to: &block, indent: indent + "  ")
                guard let first = block.first else { continue }
                lines.append("\(indent)- \(first.dropFirst(indent.count + 2))")
                lines += block.dropFirst()
            }
        case .scalar, .null:
            lines.append(indent + flow)
        }
    }

    private static func append(_ entry: Entry, to lines: inout [String], indent: String) {
        guard entry.value.needsBlock else {
            lines.append("\(indent)\(entry.key): \(entry.value.flow)")
            return
        }
        lines.append("\(indent)\(entry.key):")
        entry.value.appendBlock(to: &lines, indent: indent + "  ")
    }

    private var needsBlock: Bool {
        switch content {
        case .null, .scalar: false
        case .mapping(let entries): !entries.isEmpty
        case .list(let items): items.contains { if case .mapping = $0.content { true } else { false } }
        }
    }

    private var flow: String {
        switch content {
        case .null: "null"
        case .scalar(let text): Self.quoted(text)
        case .list(let items): "[" + items.map(\.flow).joined(separator: ", ") + "]"
        case .mapping(let entries):
            "{" + entries.map { "\($0.key): \($0.value.flow)" }.joined(separator: ", ") + "}"
        }
    }

    /// Plain where that cannot be misread, in double quotes otherwise.
    private static func quoted(_ text: String) -> String {
        func isWord(_ c: Unicode.Scalar) -> Bool {
            c.isASCII
                && (c.properties.isAlphabetic || c.properties.numericType != nil || "_./".unicodeScalars.contains(c))
        }
        let isPlain =
            text.unicodeScalars.allSatisfy { isWord($0) || "-+ ".unicodeScalars.contains($0) }
            && text.unicodeScalars.first.map { isWord($0) || ($0 == "-" && Double(text) != nil) } == true
            && !text.hasSuffix(" ") && !text.contains("  ") && text != "null" && !text.hasPrefix("...")
        if isPlain { return text }
        let escaped = text.unicodeScalars.map { scalar -> String in
            switch scalar {
            case "\"": "\\\""
            case "\\": "\\\\"
            case "\n": "\\n"
            case "\t": "\\t"
            case let c where c.value < 0x20 || c.value == 0x7f: "\\x" + String(format: "%02X", c.value)
            default: String(scalar)
            }
        }
        return "\"" + escaped.joined() + "\""
    }
}
