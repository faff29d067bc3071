/// The names of `candidates` closest to `name`, best first: what an error message suggests.
///
/// Closeness is the number of letters to insert, delete, replace or swap; names further away than
/// half their length are not suggested.
package func nearestNames(to name: String, among candidates: [String], limit: Int = 3) -> [String] {
    let scored = Set(candidates).map { (name: $0, distance: editDistance(name, $0)) }
        .filter { $0.distance <= max(2, max(name.count, $0.name.count) / 2) }
        .sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }
    guard let best = scored.first?.distance else { return [] }
    return scored.filter { $0.distance <= best + 1 }.prefix(limit).map(\.name)
}

/// Optimal string alignment distance between two words, ignoring case.
package func editDistance(_ first: String, _ second: String) -> Int {
    let a = Array(first.lowercased()), b = Array(second.lowercased())
    if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
    var table = [[Int]](repeating: [Int](repeating: 0, count: b.count + 1), count: a.count + 1)
    for i in 0...a.count { table[i][0] = i }
    for j in 0...b.count { table[0][j] = j }
    for i in 1...a.count {
        for j in 1...b.count {
            let replaced = table[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
            var best = min(replaced, table[i - 1][j] + 1, table[i][j - 1] + 1)
            if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                best = min(best, table[i - 2][j - 2] + 1)
            }
            table[i][j] = best
        }
    }
    return table[a.count][b.count]
}
