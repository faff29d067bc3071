import ArgumentParser
import Cluster
import Collectives
import Foundation
import Layers
import Models
import Tensors
import Training

/// `graft bench step`: time and memory of training or inference steps.
struct BenchStep: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "step",
        abstract: "Time training or inference steps of an architecture.",
        discussion: """
            Random weights, random normalised images or random tokens. A training step is
            forward, cross-entropy, backward into the gradient exchange and the optimizer,
            as a training run takes it in one process: SGD with momentum for images, AdamW
            for text. BERT classifies sequences, GPT-2 predicts every next token. An
            inference step is forward alone, off the tape, compiled: batch norm
            folded into convolutions, sums and activations fused.

              graft bench step --architecture resnet50 --batch 16 --threads 1 --json
              graft bench step --architecture bert_base --sequence 128 --batch 8
              graft bench step --architecture mobilenet_v1_0.25 --mode infer --size 128

            items_per_second is the batch over the median step. peak_rss_mib is the most
            memory that the process had (VmHWM). The matrix product says what the
            processor gives in the same process: 2048×2048 in single precision, the best
            of several, in GFLOP/s.
            """)

    enum Mode: String, ExpressibleByArgument, Encodable, CaseIterable { case train, infer }

    @Option(help: "The architecture: resnet50, mobilenet_v1_0.25, …")
    var architecture: String

    @Option(help: "The variant of the architecture, such as v1 or keras.")
    var variant: String?

    @Option(help: "Images or sequences per step.")
    var batch = 16

    @Option(help: ArgumentHelp("Height and width (default: what the published weights take).", valueName: "pixels"))
    var size: Int?

    @Option(help: "Tokens per sequence, of a network over text.")
    var sequence = 128

    @Option(help: "Threads (default: one per core).")
    var threads: Int?

    @Option(help: "What to time: train or infer.")
    var mode: Mode = .train

    @Option(help: "What inference computes with: float32 or int8.")
    var precision: FrozenTrunk.Precision = .float32

    @Option(help: "Steps that count.")
    var steps = 10

    @Option(help: "Steps before those, that do not.")
    var warmup = 2

    @Flag(help: "After the timed steps, profile one: time per kind of operation, bytes, share of peak.")
    var profile = false

    @Flag(name: .customLong("exact-convolutions"), help: "Direct convolutions only, no Winograd.")
    var exactConvolutions = false

    @Flag(help: "Let backward compute parts of the network again, to save memory.")
    var recompute = false

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func validate() throws {
        let numbers = [
            ("--batch", batch), ("--steps", steps), ("--size", size ?? 1), ("--sequence", sequence),
            ("--threads", threads ?? 1),
        ]
        for (name, number) in numbers where number < 1 {
            throw ValidationError("\(name) \(number) is not possible; give 1 or more")
        }
        if recompute, mode == .infer { throw ValidationError("--recompute is of training; use --mode train") }
        if precision == .int8, mode == .train {
            throw ValidationError("--precision int8 is possible with --mode infer only")
        }
        if warmup < 0 { throw ValidationError("--warmup \(warmup) is not possible; give 0 or more") }
    }

    private struct Answer: Encodable {
        let architecture: String
        let variant: String
        let mode: Mode
        let precision: FrozenTrunk.Precision
        let batch: Int
        /// Pixels, or tokens a sequence.
        let size: Int
        let threads: Int
        let steps: Int
        let itemsPerSecond: Double
        let stepSecondsMin: Double
        let stepSecondsMedian: Double
        let peakRssMib: Double
        let poolHighWaterMib: Double
        let poolHeldMib: Double
        /// How often the timed steps asked the system for memory of tensors.
        let systemAllocations: Int
        /// Of a step; nil where nothing is recomputed.
        let recomputeSeconds: Double?
        let matrixProductGflopsOneThread: Double
        let matrixProductGflops: Double
        let openblasKernel: String
        let profile: [Profile.Entry]?
        /// Of the profiled step, what no kernel accounts for.
        let overheadSeconds: Double?
    }

    func run() throws {
        let plan = ThreadPlan.prepareProcess(requestedThreads: threads)
        Threads.count = plan.threads
        ConvolutionAlgorithms.areExact = exactConvolutions
        try OpenBLAS.open()
        let architecture = try Architecture(named: architecture, variant: variant)
        let isText = architecture.tokens != nil
        let side = isText ? sequence : size ?? architecture.inputSize
        let shape = isText ? [batch, side] : [batch, architecture.inputChannels, side, side]
        let network = architecture.network()
        _ = try network.outputShape(for: shape)
        let step = try makeStep(network, shape)
        for _ in 0..<warmup { try step() }
        let (allocations, recomputing) = (Self.systemAllocations, Recomputation.seconds)
        let seconds = try (0..<steps).map { _ in try Self.seconds(step) }
        let (newAllocations, recomputed) = (Self.systemAllocations - allocations, Recomputation.seconds - recomputing)
        var profiled: [Profile.Entry]?
        var overhead: Double?
        if profile {
            let whole = try Self.seconds { profiled = try Profile.of(step) }
            overhead = whole - (profiled ?? []).reduce(0) { $0 + $1.seconds }
        }
        // Before the matrices below add to it.
        let memory = Self.peakResidentMiB
        let median = Self.median(seconds)
        try report(
            Answer(
                architecture: architecture.name, variant: architecture.variant, mode: mode,
                precision: precision, batch: batch,
                size: side, threads: plan.threads, steps: steps, itemsPerSecond: Double(batch) / median,
                stepSecondsMin: seconds.min() ?? median, stepSecondsMedian: median, peakRssMib: memory,
                poolHighWaterMib: Double(StoragePool.shared.statistics.highWaterMark) / 1_048_576,
                poolHeldMib: Double(StoragePool.shared.statistics.bytesHeld) / 1_048_576,
                systemAllocations: newAllocations, recomputeSeconds: recompute ? recomputed / Double(steps) : nil,
                matrixProductGflopsOneThread: Self.matrixProductGflops(threads: 1),
                matrixProductGflops: Self.matrixProductGflops(threads: plan.threads),
                openblasKernel: OpenBLAS.description.kernel, profile: profiled, overheadSeconds: overhead))
    }

    // MARK: What is timed

    private func makeStep(_ network: Network, _ shape: [Int]) throws -> () throws -> Void {
        let work = StepWork(network, shape)
        switch mode {
        case .infer:
            let count = network.stages.count
            let trunk = try FrozenTrunk(network, stages: 0..<count, precision: precision)
            if precision == .int8 { try trunk.calibrate(with: [work.input]) }
            if let fallback = trunk.fallback { throw ValidationError(fallback) }
            return {
                try withoutTape {
                    let logits = try network(trunk(work.input), .inference, startingAt: count)
                    _ = logits.withScalars { $0[0] }
                }
            }
        case .train:
            let trainer = try StepTrainer(network, recomputes: recompute)
            return { try trainer.step(work) }
        }
    }

    private static var systemAllocations: Int { StoragePool.shared.statistics.systemAllocations }

    private static func seconds(_ body: () throws -> Void) rethrows -> Double {
        let begin = DispatchTime.now().uptimeNanoseconds
        try body()
        return Double(DispatchTime.now().uptimeNanoseconds - begin) * 1e-9
    }

    /// The speed of a large single-precision product, the best of four.
    private static func matrixProductGflops(threads: Int) -> Double {
        let before = Threads.count
        Threads.count = threads
        defer { Threads.count = before }
        let n = 2048
        let (a, b) = (StepWork.random([n, n]), StepWork.random([n, n]))
        let best = (0..<4).map { _ in seconds { _ = matmul(a, b) } }.min() ?? .infinity
        return 2 * Double(n * n * n) / best / 1e9
    }

    private static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }

    /// The most memory the process ever had, from the kernel.
    private static var peakResidentMiB: Double {
        let status = FileManager.default.contents(atPath: "/proc/self/status") ?? Data()
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        let kibibytes = line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Double($0) }
        return (kibibytes ?? .nan) / 1024
    }

    private func report(_ answer: Answer) throws {
        if json { return try Output.json(answer) }
        print(
            "\(answer.architecture) (\(answer.variant)), \(mode.rawValue), batch \(batch), "
                + "\(answer.size)×\(answer.size), \(answer.threads) threads, \(steps) steps")
        print(String(format: "items per second  %.2f", answer.itemsPerSecond))
        print(
            String(
                format: "step              %.4f s median, %.4f s least", answer.stepSecondsMedian, answer.stepSecondsMin
            ))
        print(
            String(
                format: "memory            %.0f MiB peak, of it tensors %.0f MiB in %.0f MiB of the pool",
                answer.peakRssMib,
                answer.poolHighWaterMib, answer.poolHeldMib))
        print("allocations       \(answer.systemAllocations) from the system in the timed steps")
        if let again = answer.recomputeSeconds {
            print(
                String(
                    format: "recomputing       %.4f s of a step (%.1f %%)", again,
                    100 * again / answer.stepSecondsMedian
                ))
        }
        print(
            String(
                format: "matrix product    %.1f GFLOP/s on 1 thread, %.1f on %d (%@; OpenBLAS kernels %@)",
                answer.matrixProductGflopsOneThread, answer.matrixProductGflops, answer.threads, GEMM.library,
                answer.openblasKernel))
        if let profile = answer.profile, let overhead = answer.overheadSeconds { show(profile, overhead, answer) }
    }

    private func show(_ profile: [Profile.Entry], _ overhead: Double, _ answer: Answer) {
        let whole = overhead + profile.reduce(0) { $0 + $1.seconds }
        func row(_ name: String, _ calls: String, _ seconds: Double, _ rest: [String]) -> [String] {
            [name, calls, String(format: "%.1f ms", seconds * 1e3), String(format: "%.1f %%", 100 * seconds / whole)]
                + rest
        }
        var rows = [["one step", "calls", "time", "share", "GB/s", "GFLOP/s", "of peak"]]
        rows += profile.map { entry in
            let speed = Double(entry.operations) / entry.seconds / 1e9
            let figures =
                entry.operations == 0
                ? ["", ""]
                : [String(format: "%.0f", speed), String(format: "%.0f %%", 100 * speed / answer.matrixProductGflops)]
            return row(
                entry.name, String(entry.calls), entry.seconds,
                [String(format: "%.1f", Double(entry.bytes) / entry.seconds / 1e9)] + figures)
        }
        rows.append(row("overhead", "", overhead, ["", "", ""]))
        for line in Output.table(rows) { print(line) }
    }
}

extension FrozenTrunk.Precision: ExpressibleByArgument {}
