import Training
import XCTest

final class TrainableSetTests: XCTestCase {
    private let parameters = [
        "conv1.weight", "bn1.weight", "bn1.bias", "layer3.0.conv1.weight", "layer3.0.bn1.weight",
        "layer3.0.bn1.bias", "layer4.0.conv1.weight", "layer4.0.bn1.weight", "layer4.0.bn1.bias", "fc.weight",
        "fc.bias",
    ]
    private let buffers = [
        "bn1.running_mean", "bn1.running_var", "layer3.0.bn1.running_mean", "layer3.0.bn1.running_var",
        "layer4.0.bn1.running_mean", "layer4.0.bn1.running_var",
    ]

    private func resolve(_ rules: [TrainableSet.Rule]) throws -> ResolvedTrainableSet {
        try TrainableSet(rules: rules).resolve(
            parameterPaths: parameters, bufferPaths: buffers, headPrefix: "fc")
    }

    func testPatterns() {
        for (pattern, path, expected) in [
            ("layer4.*", "layer4.0.conv1.weight", true), ("layer4", "layer4.0.conv1.weight", true),
            ("layer4", "layer40.weight", false), ("layer4.*", "layer4", false), ("*", "fc.bias", true),
            ("*.bn*", "layer4.0.bn1.weight", true), ("*.bn*", "bn1.weight", true), ("*.bn*", "conv1.weight", false),
            ("*.bias", "fc.bias", true), ("*.weight", "fc.weight_g", false), ("layer?.0", "layer3.0.bn1.bias", true),
            ("*conv*weight", "layer3.0.conv1.weight", true), ("", "fc.bias", false), ("fc", "fc", true),
        ] {
            XCTAssertEqual(NamePattern(pattern).matches(path), expected, "\(pattern) \(path)")
        }
        XCTAssertTrue(NamePattern("head").matches("fc.weight", headPrefix: "fc"))
        XCTAssertTrue(NamePattern("head.bias").matches("fc.bias", headPrefix: "fc"))
        XCTAssertFalse(NamePattern("head").matches("conv1.weight", headPrefix: "fc"))
        XCTAssertFalse(NamePattern("header").matches("fc.weight", headPrefix: "fc"))
    }

    func testTheLastMatchingRuleDecides() throws {
        XCTAssertEqual(try resolve([]).trainable, parameters)
        let set = try resolve([.freeze("*"), .learn("layer4.*"), .learn("head"), .freeze("*.bn*")])
        XCTAssertEqual(set.trainable, ["layer4.0.conv1.weight", "fc.weight", "fc.bias"])
        XCTAssertEqual(set.frozen.count, parameters.count - 3)
    }

    func testBatchNormOfFrozenLayersStaysPut() throws {
        XCTAssertEqual(try resolve([]).frozenBatchNormPrefixes, [])
        XCTAssertEqual(
            try resolve([.freeze("*"), .learn("layer4"), .learn("head")]).frozenBatchNormPrefixes,
            ["bn1", "layer3.0.bn1"])
        XCTAssertEqual(
            try resolve([.freeze("layer3.0.bn1.bias")]).frozenBatchNormPrefixes, [],
            "a layer of which a part learns goes on")
        let bare = try TrainableSet(rules: [.freeze("layer3.*")]).resolve(
            parameterPaths: ["layer3.conv.weight", "fc.weight"],
            bufferPaths: ["layer3.bn.running_mean", "norm.running_mean"])
        XCTAssertEqual(bare.frozenBatchNormPrefixes, ["layer3.bn"], "layers without parameters follow the rules")
    }

    func testAPatternThatMatchesNothingIsAnError() {
        XCTAssertThrowsError(try resolve([.freeze("*"), .learn("layer5.*")])) {
            XCTAssertEqual(
                String(describing: $0),
                "learn: the pattern 'layer5.*' matches no parameter; the nearest are layer3, layer4")
        }
        XCTAssertThrowsError(try resolve([.freeze("heat")])) {
            XCTAssertEqual(
                String(describing: $0), "freeze: the pattern 'heat' matches no parameter; the nearest are head")
        }
        XCTAssertThrowsError(try resolve([.freeze("*")])) {
            XCTAssertEqual(
                String(describing: $0),
                "freeze: nothing is left to learn after freeze *; add a learn rule such as 'learn: head'")
        }
    }

    func testPhasesCountTheirSteps() {
        let turn = Turn(
            objective: .crossEntropy(labelSmoothing: 0),
            optimizer: OptimizerConfiguration(
                rule: .sgd, learningRate: 0.1, momentum: 0, usesNesterov: false, beta1: 0.9, beta2: 0.999,
                epsilon: 1e-8, weightDecay: 0, decaysNormalization: true, groups: []))
        var phase = Phase(
            name: "train", length: .epochs(3), streams: [DataStream(name: "train", dataset: "train", batch: 32)],
            turns: [turn])
        XCTAssertEqual(phase.totalSteps(samples: 800), 75)
        XCTAssertEqual(phase.totalSteps(samples: 801), 78)
        phase.length = .steps(10)
        XCTAssertEqual(phase.totalSteps(samples: 801), 10)
        let plan = TransferPlan(phases: [phase])
        XCTAssertEqual(
            try JSONDecoder().decode(TransferPlan.self, from: JSONEncoder().encode(plan)), plan)
    }
}
