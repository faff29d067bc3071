import Collections

/// Byte-pair encoding of GPT-2 (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909, over bytes): a piece of text
/// begins as its bytes, and of all neighbours the pair that was learnt first is merged, the leftmost first where it
/// occurs several times, until no pair is known.
struct BytePair: Sendable {
    /// The token of each byte; −1 where there is none, and the byte is left out.
    private let byteTokens: [Int32]
    /// What two tokens (the first in the upper half of the key) merge to, and how early that was learnt.
    private let merges: [UInt64: (rank: UInt32, token: Int32)]
    /// Pieces that are one token without merging, where the model ignores merges for them.
    private let wholePieces: [[UInt8]: Int32]

    private static func key(_ first: Int32, _ second: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: first)) << 32 | UInt64(UInt32(bitPattern: second))
    }

    /// - Parameters:
    ///   - vocabulary: tokens as the file writes them, in GPT-2's alphabet.
    ///   - merges: pairs of such tokens, in the order of learning.
    ///   - unknown: the token for bytes without one, where the model names it.
    /// - Throws: `DatasetError.damaged` where a merge needs a token that is not there.
    init(
        vocabulary: [[UInt8]: Int32], merges pairs: [([UInt8], [UInt8])], unknown: Int32?, ignoresMerges: Bool,
        path: String
    ) throws {
        byteTokens = ByteLevel.alphabet.map { vocabulary[Array(String($0).utf8)] ?? unknown ?? -1 }
        var merges: [UInt64: (rank: UInt32, token: Int32)] = [:]
        merges.reserveCapacity(pairs.count)
        for (rank, (first, second)) in pairs.enumerated() {
            guard let one = vocabulary[first], let two = vocabulary[second], let both = vocabulary[first + second]
            else {
                let text = [first, second].map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
                throw DatasetError.damaged(
                    path: path, reason: "merge \(rank + 1), '\(text)', needs tokens that the vocabulary has not")
            }
            merges[Self.key(one, two)] = (UInt32(truncatingIfNeeded: rank), both)
        }
        self.merges = merges
        var wholePieces: [[UInt8]: Int32] = [:]
        if ignoresMerges {
            for (piece, token) in vocabulary {
                if let bytes = ByteLevel.bytes(of: piece) { wholePieces[bytes] = token }
            }
        }
        self.wholePieces = wholePieces
    }

    /// Appends the tokens of one piece, the bytes `range` of `text`.
    func append(_ text: TextView, _ range: Range<Int>, word: Int, to result: inout TokenizedText, cache: PieceCache) {
        let piece = UnsafeBufferPointer(rebasing: text.bytes[range])
        let merged = cache.merged(piece) { merge(piece) }
        var position = range.lowerBound
        for index in merged {
            let (token, length) = cache.parts[index]
            if token >= 0 { result.append(token, from: text.span(position..<position + length), word: word) }
            position += length
        }
    }

    /// The tokens of a piece, each with the number of its bytes.
    private func merge(_ piece: UnsafeBufferPointer<UInt8>) -> [(token: Int32, length: Int)] {
        if !wholePieces.isEmpty, let token = wholePieces[Array(piece)] { return [(token, piece.count)] }
        let count = piece.count
        // A token lives at the number of its first byte; `next` and `previous` skip the merged ones.
        var tokens = piece.map { byteTokens[Int($0)] }
        var next = Array(1..<count + 1)
        var previous = Array(-1..<count - 1)
        /// How early the pair at each place was learnt; `.max` where it is none.
        var ranks = [UInt32](repeating: .max, count: count)
        var waiting = Heap<UInt64>()

        func consider(_ place: Int) {
            ranks[place] = .max
            guard next[place] < count, let merge = merges[Self.key(tokens[place], tokens[next[place]])] else { return }
            ranks[place] = merge.rank
            waiting.insert(UInt64(merge.rank) << 32 | UInt64(place))
        }

        for place in 0..<count { consider(place) }
        while let first = waiting.popMin() {
            let place = Int(first & 0xFFFF_FFFF)
            // What has been merged since it was put in line is out of date.
            guard ranks[place] == UInt32(first >> 32), next[place] < count else { continue }
            let right = next[place]
            guard let merge = merges[Self.key(tokens[place], tokens[right])] else { continue }
            tokens[place] = merge.token
            next[place] = next[right]
            ranks[right] = .max
            if next[place] < count { previous[next[place]] = place }
            consider(place)
            if previous[place] >= 0 { consider(previous[place]) }
        }
        var result: [(token: Int32, length: Int)] = []
        var place = 0
        while place < count {
            result.append((tokens[place], next[place] - place))
            place = next[place]
        }
        return result
    }
}

/// Pieces that were merged lately, with their tokens: most text is few words. One call uses it at a time; it is
/// emptied when full.
final class PieceCache {
    /// Tokens of all pieces with their numbers of bytes, piece after piece.
    private(set) var parts: [(token: Int32, length: Int)] = []
    private var bytes: [UInt8] = []
    private var entries: [Entry] = []
    /// Hash table of numbers of entries, −1 where free.
    private var slots = [Int32](repeating: -1, count: PieceCache.capacity * 2)
    private static let capacity = 1 << 15
    private static let longestPiece = 64

    private struct Entry {
        let hash: UInt64
        let start: Int
        let count: Int
        let parts: Range<Int>
    }

    /// Where in `parts` the tokens of the piece are; `merge` makes them where they are not known.
    @inline(__always)
    func merged(
        _ piece: UnsafeBufferPointer<UInt8>, merge: () -> [(token: Int32, length: Int)]
    ) -> Range<Int> {
        let hash = Self.hash(piece)
        if let known = find(piece, hash) { return known }
        let new = merge()
        if entries.count == Self.capacity || parts.count > Self.capacity * 8 { removeAll() }
        let range = parts.count..<parts.count + new.count
        parts += new
        if piece.count <= Self.longestPiece {
            slots[slot(of: hash, piece)] = Int32(entries.count)
            entries.append(Entry(hash: hash, start: bytes.count, count: piece.count, parts: range))
            bytes += piece
        }
        return range
    }

    private func removeAll() {
        // One endless word should not keep its memory for ever.
        parts.removeAll(keepingCapacity: parts.capacity < Self.capacity * 32)
        bytes.removeAll(keepingCapacity: true)
        entries.removeAll(keepingCapacity: true)
        for index in slots.indices { slots[index] = -1 }
    }

    private func find(_ piece: UnsafeBufferPointer<UInt8>, _ hash: UInt64) -> Range<Int>? {
        let entry = slots[slot(of: hash, piece)]
        return entry < 0 ? nil : entries[Int(entry)].parts
    }

    /// The slot that holds the piece, or the free one where it belongs.
    private func slot(of hash: UInt64, _ piece: UnsafeBufferPointer<UInt8>) -> Int {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] >= 0 {
            let entry = entries[Int(slots[slot])]
            if entry.hash == hash, entry.count == piece.count, holds(entry, piece) { return slot }
            slot = (slot + 1) & mask
        }
        return slot
    }

    private func holds(_ entry: Entry, _ piece: UnsafeBufferPointer<UInt8>) -> Bool {
        for index in 0..<entry.count where bytes[entry.start + index] != piece[index] { return false }
        return true
    }

    /// FNV-1a with a final mixing.
    private static func hash(_ piece: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in piece { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return hash ^ (hash >> 29)
    }
}
