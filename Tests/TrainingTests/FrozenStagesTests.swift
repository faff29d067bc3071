import Models
import Training
import XCTest

/// How much of a network a phase leaves constant.
final class FrozenStagesTests: XCTestCase {
    private func phase(_ sets: [[TrainableSet.Rule]], _ batchNorm: BatchNormStatistics = .local) -> Phase {
        let optimizer = OptimizerConfiguration(
            rule: .sgd, learningRate: 0.1, momentum: 0, usesNesterov: false, beta1: 0.9, beta2: 0.999,
            epsilon: 1e-8, weightDecay: 0, decaysNormalization: true, groups: [])
        return Phase(
            name: "train", length: .epochs(3), streams: [DataStream(name: "train", dataset: "train", batch: 32)],
            turns: sets.map {
                Turn(
                    objective: .crossEntropy(labelSmoothing: 0), trainable: TrainableSet(rules: $0),
                    optimizer: optimizer)
            },
            batchNorm: batchNorm)
    }

    /// The names of the frozen stages.
    private func frozen(
        _ architecture: String, _ sets: [TrainableSet.Rule]..., batchNorm: BatchNormStatistics = .local
    ) throws -> [String] {
        let network = try Architecture(named: architecture).network()
        return network.stages[..<(try phase(sets, batchNorm).frozenStages(of: network))].map(\.name)
    }

    func testBoundaries() throws {
        let all = ["stem", "layer1", "layer2", "layer3", "layer4", "avgpool"]
        let onlyHead: [TrainableSet.Rule] = [.freeze("*"), .learn("head")]
        XCTAssertEqual(try frozen("resnet18", onlyHead), all)
        XCTAssertEqual(try frozen("resnet18", []), [])
        XCTAssertEqual(try frozen("resnet18", onlyHead + [.learn("layer4")]), Array(all[..<4]))
        XCTAssertEqual(try frozen("resnet18", onlyHead + [.learn("layer2.1.bn1.bias")]), Array(all[..<2]))
        XCTAssertEqual(try frozen("resnet18", [.freeze("layer1")]), [], "the stem learns")
        XCTAssertEqual(try frozen("resnet18", onlyHead, onlyHead + [.learn("layer3")]), Array(all[..<3]), "any turn")
    }

    /// Frozen statistics let a norm's neighbours learn, but what learns is still no constant.
    func testStatistics() throws {
        let withNorms: [TrainableSet.Rule] = [.freeze("*"), .learn("head"), .learn("layer3.*.bn*")]
        XCTAssertEqual(try frozen("resnet20", withNorms), ["stem", "layer1", "layer2"])
        XCTAssertEqual(try frozen("resnet20", withNorms, batchNorm: .frozen), ["stem", "layer1", "layer2"])
    }

    /// Dropout is for what learns: a frozen layer runs without, and is no boundary.
    func testDropoutIsNoBoundary() throws {
        let names = try frozen("vgg11", [.freeze("*"), .learn("head")])
        XCTAssertEqual(
            names, ["block1", "block2", "block3", "block4", "block5", "avgpool", "classifier.0", "classifier.3"])
        XCTAssertEqual(
            try frozen("bert_tiny", [.freeze("*"), .learn("head")]), ["embeddings", "layer.0", "layer.1", "pooler"])
        XCTAssertEqual(
            try frozen("bert_tiny", [.freeze("bert.embeddings"), .freeze("bert.encoder.layer.0")]),
            ["embeddings", "layer.0"])
    }
}
