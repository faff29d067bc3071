import Collectives
import Foundation
import Training

/// Where a command's words go: results to standard output, notes to standard error.
enum Output {
    /// Prints a result for scripts.
    static func json(_ value: some Encodable) throws {
        print(String(decoding: try JSONEncoder.forScripts(.prettyPrinted).encode(value), as: UTF8.self))
    }

    /// Prints a line that is no result.
    static func note(_ text: String) {
        FileHandle.standardError.writeIfPossible(text + "\n")
    }

    /// 0.805 → `80.5 %`.
    static func percent(_ fraction: Double) -> String { String(format: "%.1f %%", fraction * 100) }

    /// `3×32×32`, or `scalar`.
    static func shape(_ sizes: [Int]) -> String {
        sizes.isEmpty ? "scalar" : sizes.map(String.init).joined(separator: "×")
    }

    /// 271098 → `271,098`.
    static func grouped(_ number: Int) -> String {
        var groups: [String] = []
        var rest = number.magnitude
        while rest >= 1000 {
            groups.append(String(format: "%03d", Int(rest % 1000)))
            rest /= 1000
        }
        return (number < 0 ? "-" : "") + ([String(rest)] + groups.reversed()).joined(separator: ",")
    }

    /// Lines of cells with every column as wide as its widest cell.
    static func table(_ rows: [[String]]) -> [String] {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column == widths.count { widths.append(0) }
                widths[column] = max(widths[column], cell.count)
            }
        }
        return rows.map { row in
            let cells = row.enumerated().map { column, cell in
                column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
            }
            return cells.joined(separator: "  ")
        }
    }
}
