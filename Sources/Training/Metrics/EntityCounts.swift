/// Entities found among those there are: precision, recall and F1 as the CoNLL tasks count them (the script `conlleval`,
/// and `seqeval` by default).
public struct EntityCounts: Codable, Equatable, Sendable {
    /// Entities that were said, that there are, and that are both: the same words and the same type.
    public private(set) var said = 0
    public private(set) var meant = 0
    public private(set) var correct = 0

    public init() {}

    public var precision: Double { Double(correct) / Double(max(1, said)) }
    public var recall: Double { Double(correct) / Double(max(1, meant)) }
    /// The harmonic mean of the two; 0 where nothing is correct.
    public var f1: Double { 2 * Double(correct) / Double(max(1, said + meant)) }

    /// Counts one sentence: the tags that were said and those that are right, word by word.
    public mutating func add(_ saidTags: [String], _ meantTags: [String]) {
        let (found, there) = (Entity.all(in: saidTags), Entity.all(in: meantTags))
        said += found.count
        meant += there.count
        correct += Set(found).intersection(there).count
    }

    mutating func merge(_ other: EntityCounts) {
        said += other.said
        meant += other.meant
        correct += other.correct
    }
}

/// Words in a row that name one thing.
public struct Entity: Hashable, Sendable {
    /// What comes after the dash of its tags.
    public let type: String
    public let words: Range<Int>

    /// The entities that tags mark. One begins at `B-`, or at `I-` behind a word that is outside or of another type; tags
    /// without `B-` or `I-` stand outside.
    public static func all(in tags: [String]) -> [Entity] {
        var entities: [Entity] = []
        var open: (type: Substring, start: Int)?
        for (index, tag) in tags.enumerated() {
            let isBegin = tag.hasPrefix("B-")
            let type = isBegin || tag.hasPrefix("I-") ? tag.dropFirst(2) : nil
            if let last = open, isBegin || type != last.type {
                entities.append(Entity(type: String(last.type), words: last.start..<index))
                open = nil
            }
            if let type, open == nil { open = (type, index) }
        }
        if let last = open { entities.append(Entity(type: String(last.type), words: last.start..<tags.count)) }
        return entities
    }
}
