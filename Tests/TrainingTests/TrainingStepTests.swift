import Layers
import Models
import Tensors
import Training
import XCTest

/// Whole steps on one rank: forward, backward, update.
final class TrainingStepTests: XCTestCase {
    private static let rules: [OptimizerConfiguration] = [.sgd, .adamw].map { rule in
        OptimizerConfiguration(
            rule: rule, learningRate: 0.01, momentum: rule == .sgd ? 0.9 : 0, usesNesterov: false, beta1: 0.9,
            beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, decaysNormalization: true, groups: [])
    }
    private let labels = Tensor(indices: [0, 4, 2, 2], shape: [4])

    private func images(_ size: Int) -> Tensor {
        .uniform([4, 3, size, size], in: -2..<2, key: RandomKey(seed: 1, purpose: .initialization, path: "images"))
    }

    private func network(_ name: String) throws -> Network {
        try Architecture(named: name, classes: 5).network(seed: 3)
    }

    private func loss(_ network: Network, _ images: Tensor, _ context: ForwardContext) throws -> Tensor {
        crossEntropy(try network(images, context), labels: labels) * 0.25
    }

    /// Steps taken as gradients come, the large linear layers in parts, against steps after all gradients are there:
    /// the same bits. One parameter has no gradient and decays all the same.
    func testImmediateUpdatesAreTheSameSteps() throws {
        for (index, configuration) in Self.rules.enumerated() {
            for (name, recomputes) in index == 0 ? [("vgg11", true), ("resnet20", false)] : [("resnet20", false)] {
                let (one, other) = (try network(name), try network(name))
                let left = one.store.parameters[0].path
                let context = ForwardContext(isTraining: true, recomputes: recomputes)
                let immediate = ImmediateUpdate(
                    try Optimizer(configuration, network: one), learning: one.store.parameters, statisticsCount: 3)
                immediate.learningRate = 0.02
                let gathered = try Optimizer(configuration, network: other)
                for _ in 0..<2 {
                    immediate.beginStep(passes: 1)
                    try loss(one, images(32), context).backward(into: Leaving(left, of: one, to: immediate))
                    immediate.finishStep()
                    let collector = GradientCollector()
                    try loss(other, images(32), context).backward(into: collector)
                    gathered.beginStep()
                    for parameter in other.store.parameters {
                        let gradient =
                            parameter.path == left ? nil : collector.gradients[parameter.id]?.tensor
                        (gradient ?? .zeros(parameter.shape)).withScalars {
                            gathered.update(parameter, gradient: $0, learningRate: 0.02)
                        }
                    }
                }
                for (a, b) in zip(one.store.parameters, other.store.parameters) {
                    let path = a.path
                    a.value.withScalars { a in
                        b.value.withScalars { b in
                            let isSame = a.withMemoryRebound(to: UInt32.self) { a in
                                b.withMemoryRebound(to: UInt32.self) { a.elementsEqual($0) }
                            }
                            XCTAssertTrue(isSame, "\(name): \(path)")
                        }
                    }
                }
            }
        }
    }

    /// After the first few steps none asks the system for memory.
    func testStepsAllocateNothing() throws {
        for (name, recomputes) in [("resnet20", false), ("mobilenet_v2", false), ("resnet18", true)] {
            let network = try network(name)
            let exchange = ImmediateUpdate(
                try Optimizer(Self.rules[0], network: network), learning: network.store.parameters, statisticsCount: 0)
            exchange.learningRate = 0.01
            let images = images(64)
            func step() throws {
                exchange.beginStep(passes: 1)
                try loss(network, images, ForwardContext(isTraining: true, recomputes: recomputes))
                    .backward(into: exchange)
                exchange.finishStep()
            }
            for _ in 0..<3 { try step() }
            let before = StoragePool.shared.statistics
            for _ in 0..<6 { try step() }
            let after = StoragePool.shared.statistics
            XCTAssertEqual(after.systemAllocations, before.systemAllocations, name)
            XCTAssertEqual(after.bytesHeld, before.bytesHeld, name)
            XCTAssertEqual(after.bytesInUse, before.bytesInUse, name)
        }
    }
}

/// Passes all gradients but one parameter's.
private final class Leaving: GradientSink {
    private let left: VariableID?
    private let sink: GradientSink

    init(_ path: String, of network: Network, to sink: GradientSink) {
        left = network.store.parameters.first { $0.path == path }?.id
        self.sink = sink
    }

    var prefersFactors: Bool { sink.prefersFactors }

    func gradientReady(_ gradient: Gradient, for variable: VariableID) throws {
        if variable != left { try sink.gradientReady(gradient, for: variable) }
    }
}
