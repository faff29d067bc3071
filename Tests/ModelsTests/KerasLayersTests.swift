import Crypto
import Foundation
import Models
import XCTest

/// The tables of Keras's layers against Keras itself, as Reference/make_keras_reference.py found them.
final class KerasLayersTests: XCTestCase {
    private struct Reference: Decodable {
        struct Table: Decodable {
            /// Of the lines `name:class` of all layers with weights, in the order of `model.layers`.
            let sha256: String
            let layers: Int
            /// Numbers in all arrays, running statistics too.
            let parameters: Int
        }
        let layers: [String: Table]
    }

    func testNamesClassesOrderAndSizes() throws {
        let path = ReferenceNumbers.folder.appendingPathComponent("keras.json")
        let tables = try JSONDecoder().decode(Reference.self, from: Data(contentsOf: path)).layers
        XCTAssertEqual(tables.count, 21)
        for (key, table) in tables {
            let architecture = try Architecture(named: key)
            let layers = try XCTUnwrap(architecture.kerasLayers, key)
            let lines = layers.map { "\($0.name):\($0.className)" }
            let digest = SHA256.hash(data: Data(lines.joined(separator: "\n").utf8))
            XCTAssertEqual(lines.count, table.layers, key)
            XCTAssertEqual(digest.map { String(format: "%02x", $0) }.joined(), table.sha256, key)
            let store = architecture.network().store
            let paths = layers.flatMap { $0.variables.map(\.path) }
            let sizes = paths.map { store[$0]?.count ?? store[buffer: $0]?.count ?? 0 }
            XCTAssertEqual(sizes.reduce(0, +), table.parameters, key)
            let own = store.parameters.map(\.path) + store.buffers.map(\.path)
            XCTAssertEqual(paths.sorted(), own.sorted(), key)
        }
        // All of Keras's networks have been looked at.
        let names = Family.kerasNetworks.map { "\($0.name)-\($0.variant)" }
        XCTAssertTrue(Set(names).isSubset(of: tables.keys), "\(names)")
    }
}
