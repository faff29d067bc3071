import Layers
import Models
import Tensors
import XCTest

/// Networks whose segments backward computes again: the same loss, gradients and statistics, to the bit, in less
/// memory.
final class RecomputationTests: XCTestCase {
    private struct Step: Equatable {
        var loss: Float
        var gradients: [String: [Float]] = [:]
        var statistics: [String: [Float]] = [:]
    }

    /// Two training passes of a new network over the same images.
    private func steps(
        _ name: String, size: Int, recomputes: Bool
    ) throws -> (steps: [Step], kept: Int, peak: Int) {
        let network = try Architecture(named: name, classes: 5).network(seed: 3)
        let images = Tensor.uniform(
            [3, 3, size, size], in: -2..<2, key: RandomKey(seed: 1, purpose: .initialization, path: "images"))
        let labels = Tensor(indices: [0, 4, 2], shape: [3])
        for parameter in network.store.parameters { _ = parameter.value }
        let context = ForwardContext(isTraining: true, seed: 7, epoch: 2, position: 9, recomputes: recomputes)
        let before = StoragePool.shared.statistics.bytesInUse
        StoragePool.shared.resetHighWaterMark()
        var kept = 0
        let steps = try (0..<2).map { _ in
            let loss = crossEntropy(try network(images, context), labels: labels)
            kept = max(kept, StoragePool.shared.statistics.bytesInUse - before)
            var step = Step(loss: loss.scalar)
            let gradients = try gradient(of: loss, wrt: network.store.parameters.map(\.value))
            for (parameter, gradient) in zip(network.store.parameters, gradients) {
                step.gradients[parameter.path] = gradient.scalars
            }
            for buffer in network.store.buffers { step.statistics[buffer.path] = buffer.value.scalars }
            return step
        }
        let gradients = network.store.parameters.reduce(0) { $0 + 4 * $1.count }
        return (steps, kept, StoragePool.shared.statistics.highWaterMark - before - gradients)
    }

    func testSameBitsInLessMemory() throws {
        for (name, size) in [
            ("resnet20", 48), ("resnet50", 64), ("vgg11", 48), ("vgg11_bn", 48), ("mobilenet_v1_0.25", 64),
            ("mobilenet_v2", 64), ("resnet50_v2", 64), ("inception_v3", 107),
        ] {
            let seconds = Recomputation.seconds
            let plain = try steps(name, size: size, recomputes: false)
            XCTAssertEqual(Recomputation.seconds, seconds, name)
            let again = try steps(name, size: size, recomputes: true)
            XCTAssertGreaterThan(Recomputation.seconds, seconds, name)
            XCTAssertEqual(plain.steps.map(\.loss), again.steps.map(\.loss), name)
            for (one, other) in zip(plain.steps, again.steps) {
                XCTAssertFalse(one.gradients.isEmpty)
                for (path, values) in one.gradients {
                    XCTAssertEqual(other.gradients[path] == values, true, "\(name): gradient of \(path)")
                }
                XCTAssertEqual(one.statistics, other.statistics, name)
            }
            XCTAssertLessThan(again.kept, plain.kept, name)
            // InceptionV3's gradients outweigh its values at this size: the peak is at the end of backward either way.
            XCTAssertLessThan(again.peak, name == "inception_v3" ? plain.peak + 1 : plain.peak, name)
        }
    }

    /// Without what learns nothing is computed again; in evaluation neither.
    func testNothingToRecompute() throws {
        let network = try Architecture(named: "resnet20", classes: 5).network()
        let images = Tensor.ones([1, 3, 32, 32])
        let seconds = Recomputation.seconds
        for parameter in network.store.parameters { parameter.isTrainable = network.isHead(parameter.path) }
        let context = ForwardContext(isTraining: true, recomputes: true)
        let weight = try XCTUnwrap(network.store.parameters.last { $0.isTrainable })
        _ = try gradient(of: network(images, context).sum(), wrt: [weight.value])
        _ = try network(images, ForwardContext(isTraining: false, recomputes: true))
        XCTAssertEqual(Recomputation.seconds, seconds)
    }

    func testSegmentsAreCheckedAndBounded() throws {
        let network = try Architecture(named: "resnet50").network()
        let images = [16, 3, 224, 224]
        let segments = try Segments(of: network.stages.map(\.module), input: images)
        // The stem and sixteen blocks; the last ones are small.
        XCTAssertGreaterThan(segments.recomputedCount, 7)
        XCTAssertLessThan(segments.recomputedCount, 17)
        let kept = try network.keptValues(for: images, recomputes: true)
        XCTAssertLessThan(2 * kept, try network.keptValues(for: images, recomputes: false))
        XCTAssertThrowsError(try Segments(of: network.stages.map(\.module), input: [1, 4, 32, 32])) {
            XCTAssertTrue($0 is LayerError)
        }
    }
}
