import Datasets
import XCTest

final class RelabellingTests: XCTestCase {
    private func labels(_ own: [String], for names: [String]?, outputs: Int) throws -> [Int32] {
        let images = ToyImages(classNames: own, labels: own.indices.map { Int32($0) })
        return try images.relabelled(for: names, outputs: outputs, weights: "w.h5").labels
    }

    func testClassesAreMatchedByName() throws {
        let names = ["cat", "dog", "horse"]
        XCTAssertEqual(try labels(["cat", "dog", "horse"], for: names, outputs: 3), [0, 1, 2])
        XCTAssertEqual(try labels(["dog", "horse"], for: names, outputs: 3), [1, 2])
        XCTAssertThrowsError(try labels(["dog", "hores"], for: names, outputs: 3)) {
            XCTAssertEqual(
                $0 as? DatasetError,
                .classNotInWeights(name: "hores", nearest: ["horse"], source: "toy", weights: "w.h5"))
        }
    }

    /// Numbers for names are names too where the weights have such: labels 3, 4, 6, 9 of a data set of ten.
    func testNumbersAreNamesWhereTheWeightsHaveNumbers() throws {
        XCTAssertEqual(try labels(["0", "1"], for: ["1", "0"], outputs: 2), [1, 0])
        XCTAssertThrowsError(try labels(["0", "1", "2", "3"], for: ["3", "4", "6", "9"], outputs: 4)) {
            guard case .classNotInWeights("0", _, _, _)? = $0 as? DatasetError else { return XCTFail("\($0)") }
        }
        XCTAssertEqual(try labels(["0", "1"], for: ["cat", "dog"], outputs: 2), [0, 1])
    }

    func testWithoutNamesThePositionCounts() throws {
        XCTAssertEqual(try labels(["cat", "dog"], for: nil, outputs: 10), [0, 1])
        XCTAssertThrowsError(try labels(["cat", "dog", "horse"], for: nil, outputs: 2)) {
            XCTAssertEqual(
                $0 as? DatasetError, .tooManyClasses(source: "toy", classes: 3, weights: "w.h5", outputs: 2))
        }
    }
}
