import Collectives

/// What can be wrong with a recipe. `place` is a file and line, or the `--set` option at fault.
public enum RecipeError: GraftError, Equatable {
    case unreadable(file: String, problem: String)
    case notYAML(file: String, problem: String)
    case unknownKey(place: String, key: String, nearest: [String], known: [String])
    case missingKey(place: String, key: String, remedy: String)
    case wrongType(place: String, key: String, expected: String, actual: String)
    case invalidValue(place: String, key: String, value: String, rule: String)
    case unknownValue(place: String, key: String, value: String, nearest: [String], known: [String])
    case conflict(place: String, key: String, value: String, problem: String, remedy: String)
    case badOverride(option: String, problem: String)

    public var exitCode: ExitCode { .usage }
}

extension RecipeError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unreadable(let file, let problem):
            "\(file): \(problem)"
        case .notYAML(let file, let problem):
            "\(file): not a readable recipe: \(problem)"
        case .unknownKey(let place, let key, let nearest, let known):
            "\(place): unknown key '\(key)'; \(Self.suggestion(nearest, known))"
        case .missingKey(let place, let key, let remedy):
            "\(place): '\(key)' is missing; \(remedy)"
        case .wrongType(let place, let key, let expected, let actual):
            "\(place): '\(key)' takes \(expected), not \(actual)"
        case .invalidValue(let place, let key, let value, let rule):
            "\(place): '\(key)' is \(value); \(rule)"
        case .unknownValue(let place, let key, let value, let nearest, let known):
            "\(place): '\(key)' cannot be '\(value)'; \(Self.suggestion(nearest, known))"
        case .conflict(let place, let key, let value, let problem, let remedy):
            "\(place): '\(key)' is \(value), but \(problem); \(remedy)"
        case .badOverride(let option, let problem):
            "--set \(option): \(problem)"
        }
    }

    private static func suggestion(_ nearest: [String], _ known: [String]) -> String {
        nearest.isEmpty
            ? "choose from \(known.joined(separator: ", "))"
            : "did you mean \(nearest.map { "'\($0)'" }.joined(separator: " or "))?"
    }
}
