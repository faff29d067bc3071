import Training
import XCTest

final class OptimizerTests: XCTestCase {
    private struct Case: Decodable {
        let name: String
        let clip: Double?
        let norms: [Double]
        let values: [[Float]]
        let state: [String: [Float]]
    }

    private func configuration(
        _ rule: OptimizerConfiguration.Rule, rate: Double = 0.01, momentum: Double = 0, nesterov: Bool = false,
        betas: (Double, Double) = (0.9, 0.999), epsilon: Double = 1e-8, decay: Double = 0,
        decaysNormalization: Bool = true, groups: [ParameterGroup] = []
    ) -> OptimizerConfiguration {
        OptimizerConfiguration(
            rule: rule, learningRate: rate, momentum: momentum, usesNesterov: nesterov, beta1: betas.0,
            beta2: betas.1, epsilon: epsilon, weightDecay: decay, decaysNormalization: decaysNormalization,
            groups: groups)
    }

    private var configurations: [String: OptimizerConfiguration] {
        [
            "sgd": configuration(.sgd, rate: 0.1),
            "sgd-decay": configuration(.sgd, rate: 0.1, decay: 0.01),
            "sgd-momentum": configuration(.sgd, rate: 0.1, momentum: 0.9),
            "sgd-momentum-decay": configuration(.sgd, rate: 0.05, momentum: 0.9, decay: 0.01),
            "sgd-nesterov-decay": configuration(.sgd, rate: 0.05, momentum: 0.8, nesterov: true, decay: 0.01),
            "sgd-momentum-clip": configuration(.sgd, rate: 0.1, momentum: 0.9),
            "adam": configuration(.adam),
            "adam-decay": configuration(.adam, betas: (0.8, 0.95), epsilon: 1e-6, decay: 0.1),
            "adam-clip": configuration(.adam),
            "adamw": configuration(.adamw, decay: 0.01),
            "adamw-decay": configuration(.adamw, rate: 0.02, betas: (0.85, 0.9), epsilon: 1e-7, decay: 0.2),
        ]
    }

    /// The gradient of make_reference.py.
    private func gradient(step: Int, values: [Float]) -> [Float] {
        values.indices.map { values[$0] * 0.5 + Float(($0 * 7 + step * 5) % 11 - 5) / 8 }
    }

    private func step(
        _ optimizer: Optimizer, _ path: String, _ values: inout [Float], _ gradient: [Float], rate: Double,
        scale: Double = 1
    ) {
        values.withUnsafeMutableBufferPointer { values in
            gradient.withUnsafeBufferPointer {
                optimizer.update(path, values: values, gradient: $0, learningRate: rate, gradientScale: scale)
            }
        }
    }

    func testEveryRuleFollowsPyTorch() throws {
        let cases = try referenceNumbers("optimizers", as: [Case].self)
        XCTAssertEqual(cases.count, 11)
        for reference in cases {
            let configuration = try XCTUnwrap(configurations[reference.name], reference.name)
            var values = (0..<19).map { Float($0 - 9) / 4 }
            let optimizer = try Optimizer(
                configuration: configuration,
                parameters: [OptimizedParameter(path: "w", count: 19, isBiasOrNormalization: false)])
            for (index, expected) in reference.values.enumerated() {
                let slope = gradient(step: index, values: values)
                var scale = 1.0
                if let clip = reference.clip {
                    let norm = slope.withUnsafeBufferPointer { GradientClipping.globalNorm(of: [$0]) }
                    XCTAssertEqual(norm, reference.norms[index], accuracy: 1e-5 * norm)
                    scale = GradientClipping.scale(norm: norm, maximum: clip)
                }
                optimizer.beginStep()
                step(optimizer, "w", &values, slope, rate: configuration.learningRate, scale: scale)
                XCTAssertLessThan(relativeDifference(values, expected), 2e-6, "\(reference.name) step \(index)")
            }
            let names = ["momentum": "momentum_buffer", "first_moment": "exp_avg", "second_moment": "exp_avg_sq"]
            for entry in optimizer.state.entries {
                let expected = try XCTUnwrap(names[entry.name].flatMap { reference.state[$0] })
                XCTAssertLessThan(relativeDifference(entry.values, expected), 5e-6, reference.name + entry.name)
            }
        }
    }

    func testKernelsEqualPlainSwiftToTheLastBit() throws {
        for (name, configuration) in configurations {
            for count in [1, 15, 16, 17, 1000, 4099] {
                let rule = configuration.updateRule
                var fast = (0..<count).map { Float(($0 * 37) % 101 - 50) / 17 }
                var plain = fast
                var state = rule.stateNames.map { _ in [Float](repeating: 0, count: count) }
                let buffers = state.map { UnsafeMutableBufferPointer<Float>.allocate(capacity: $0.count) }
                defer { buffers.forEach { $0.deallocate() } }
                buffers.forEach { $0.initialize(repeating: 0) }
                for index in 1...4 {
                    let slope = gradient(step: index, values: plain)
                    let settings = StepSettings(
                        learningRate: configuration.learningRate, weightDecay: configuration.weightDecay,
                        gradientScale: 0.7, step: index)
                    rule.referenceUpdate(values: &plain, gradient: slope, state: &state, settings: settings)
                    fast.withUnsafeMutableBufferPointer { values in
                        slope.withUnsafeBufferPointer {
                            rule.update(values: values, gradient: $0, state: buffers, settings: settings)
                        }
                    }
                    XCTAssertEqual(fast.map(\.bitPattern), plain.map(\.bitPattern), "\(name) \(count)")
                    XCTAssertEqual(buffers.map { Array($0) }, state, "\(name) \(count)")
                }
            }
        }
    }

    func testRestoredStateContinuesExactly() throws {
        for (name, configuration) in configurations {
            let parameters = [OptimizedParameter(path: "w", count: 19, isBiasOrNormalization: false)]
            let first = try Optimizer(configuration: configuration, parameters: parameters)
            var values = (0..<19).map { Float($0 - 9) / 4 }
            for index in 0..<5 {
                first.beginStep()
                step(first, "w", &values, gradient(step: index, values: values), rate: 0.01)
            }
            let saved = try JSONDecoder().decode(OptimizerState.self, from: JSONEncoder().encode(first.state))
            let second = try Optimizer(configuration: configuration, parameters: parameters)
            try second.restore(saved)
            XCTAssertEqual(second.stepCount, 5)
            var again = values
            for index in 5..<9 {
                first.beginStep()
                second.beginStep()
                step(first, "w", &values, gradient(step: index, values: values), rate: 0.01)
                step(second, "w", &again, gradient(step: index, values: again), rate: 0.01)
            }
            XCTAssertEqual(values.map(\.bitPattern), again.map(\.bitPattern), name)
            XCTAssertEqual(first.state, second.state, name)
        }
    }

    func testForeignStateIsRefusedUntouched() throws {
        let parameters = [OptimizedParameter(path: "w", count: 3, isBiasOrNormalization: false)]
        let optimizer = try Optimizer(configuration: configuration(.adam), parameters: parameters)
        let before = optimizer.state
        var state = before
        state.stepCount = 7
        state.entries[1].values.append(1)
        XCTAssertThrowsError(try optimizer.restore(state)) {
            XCTAssertEqual(
                String(describing: $0),
                "optimizer state 'second_moment/w': expected 3 values, found 4; "
                    + "resume with the recipe that wrote the checkpoint")
        }
        state = before
        state.entries.removeLast()
        XCTAssertThrowsError(try optimizer.restore(state)) {
            XCTAssertEqual(
                $0 as? TrainingError,
                .optimizerStateMismatch(entry: "second_moment/w", expected: "an entry", actual: "none"))
        }
        let other = try Optimizer(configuration: configuration(.sgd), parameters: parameters).state
        XCTAssertThrowsError(try optimizer.restore(other))
        XCTAssertEqual(optimizer.state, before)
    }

    func testGroupsAndDecayExemption() throws {
        let groups = [ParameterGroup(patterns: ["head"], learningRateFactor: 10, weightDecay: 0.5)]
        let optimizer = try Optimizer(
            configuration: configuration(
                .sgd, rate: 0.1, decay: 0.2, decaysNormalization: false, groups: groups),
            parameters: [
                OptimizedParameter(path: "conv1.weight", count: 1, isBiasOrNormalization: false),
                OptimizedParameter(path: "bn1.weight", count: 1, isBiasOrNormalization: true),
                OptimizedParameter(path: "fc.bias", count: 1, isBiasOrNormalization: true),
            ], headPrefix: "fc")
        optimizer.beginStep()
        func after(_ path: String) -> Float {
            var values: [Float] = [1]
            step(optimizer, path, &values, [0], rate: 0.1)
            return values[0]
        }
        XCTAssertEqual(after("conv1.weight"), 1 - 0.1 * 0.2, accuracy: 1e-6)
        XCTAssertEqual(after("bn1.weight"), 1)
        XCTAssertEqual(after("fc.bias"), 1 - 1 * 0.5, accuracy: 1e-6)
    }

    func testGroupsThatCoverNothingAreRefused() throws {
        func build(_ pattern: String) throws -> Optimizer {
            try Optimizer(
                configuration: configuration(.sgd, groups: [ParameterGroup(patterns: [pattern])]),
                parameters: [OptimizedParameter(path: "layer4.conv1.weight", count: 1, isBiasOrNormalization: false)],
                frozenPaths: ["layer1.conv1.weight"])
        }
        XCTAssertThrowsError(try build("layer5.*")) {
            XCTAssertEqual(
                String(describing: $0),
                "groups: the pattern 'layer5.*' matches no parameter; the nearest are layer1, layer4")
        }
        XCTAssertThrowsError(try build("layer1")) {
            XCTAssertEqual($0 as? TrainingError, .groupWithoutTrainable(pattern: "layer1"))
        }
    }

    func testNormsOfLongGradients() {
        let values = (0..<200_003).map { Float($0 % 7) - 3 }
        let expected = values.reduce(0.0) { $0 + Double($1) * Double($1) }
        let norm = values.withUnsafeBufferPointer { GradientClipping.globalNorm(of: [$0, $0]) }
        XCTAssertEqual(norm, (2 * expected).squareRoot(), accuracy: 1e-9 * norm)
        XCTAssertEqual(GradientClipping.scale(norm: 0.5, maximum: 1), 1)
        XCTAssertEqual(GradientClipping.globalNorm(of: []), 0)
    }
}
