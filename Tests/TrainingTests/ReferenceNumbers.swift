import Foundation

/// Reads one of the committed files that Reference/make_reference.py writes.
func referenceNumbers<Value: Decodable>(_ name: String, as type: Value.Type) throws -> Value {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let data = try Data(contentsOf: folder.appendingPathComponent("Reference/\(name).json"))
    return try JSONDecoder().decode(type, from: data)
}

/// The largest difference between two lists of equal length, relative to the largest magnitude.
func relativeDifference<Number: BinaryFloatingPoint>(_ a: [Number], _ b: [Number]) -> Double {
    guard a.count == b.count else { return .infinity }
    let scale = b.map { abs(Double($0)) }.max() ?? 1
    return (zip(a, b).map { abs(Double($0) - Double($1)) }.max() ?? 0) / max(scale, 1e-30)
}
