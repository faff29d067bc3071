import Datasets
import Models

/// How long the texts of a global batch are, over all ranks: every rank fills its part up to the longest of all. Ranks wait
/// for the slowest anyway, and what dropout draws, which follows from where a value lies in its sample, is then the same
/// at any number of ranks.
struct TextLengths {
    /// A 1 at the place of this rank's longest text of each stream, to be summed over ranks; empty where there is nothing
    /// to agree on.
    let marks: [Double]
    private let names: [String]
    private let places: Int
    private let padding: Int32

    init(_ batches: [String: Batch], _ architecture: Architecture, ranks: Int) {
        guard let tokens = architecture.tokens, ranks > 1 else {
            (marks, names, places, padding) = ([], [], 0, 0)
            return
        }
        let names = batches.keys.sorted()
        let places = tokens.positions + 1
        marks = names.flatMap { name in
            var marks = [Double](repeating: 0, count: places)
            let length = batches[name]?["tokens"].map { $0.shape[1] } ?? 0
            marks[min(length, places - 1)] = 1
            return marks
        }
        (self.names, self.places, padding) = (names, places, tokens.padding ?? 0)
    }

    /// The batches filled up.
    ///
    /// - Parameter marks: summed over ranks.
    func padded(_ batches: [String: Batch], marks: some RandomAccessCollection<Double>) -> [String: Batch] {
        let marks = Array(marks)
        var batches = batches
        for (number, name) in names.enumerated() {
            let longest = marks[number * places..<(number + 1) * places].lastIndex { $0 > 0 } ?? 0
            batches[name] = batches[name]?.padded(to: longest - number * places, with: padding)
        }
        return batches
    }
}
