import Cluster
import Collectives
import Foundation
import Training

/// Tells a person how a run goes: one live line on a terminal, a plain line now and then elsewhere, JSON lines
/// for scripts. Only rank 0 prints.
final class ProgressPrinter {
    private let json: Bool
    private let isTerminal: Bool
    private var hasLiveLine = false
    private var lastLine = Date.distantPast
    /// What samples are called.
    private var noun = "images"

    /// Seconds between plain lines of one epoch.
    private static let interval = 10.0

    init(json: Bool, isTerminal: Bool) {
        self.json = json
        self.isTerminal = isTerminal && !json
    }

    func show(_ event: TrainingRun.Event) {
        switch event {
        case .began(let overview):
            if let text = overview.text {
                noun = text.isRunningText ? "blocks" : text.areQuestions ? "windows" : "texts"
            }
            json ? printJSON(overview) : line(Self.text(overview))
        case .note(let note): json ? () : line(note)
        case .training(.phaseBegan(let phase, let learning, let parameters, let bytes)):
            guard !json else { return }
            line(
                "phase \(phase.name): \(Output.grouped(learning)) of \(Output.grouped(parameters)) parameters learn, "
                    + "\(Self.bytes(bytes)) per all-reduce")
        case .training(.firstStepEnded): break
        case .training(.step(let step)): json ? () : show(step)
        case .training(.epochEnded(let record)): json ? printJSON(record) : show(record)
        case .training(.trunkFilling(let computed, let all)):
            json ? () : passing("frozen stages: \(Output.grouped(computed)) of \(Output.grouped(all)) samples")
        case .training(.trunk(let report)): json ? () : line(TrunkText.began(report))
        case .training(.trunkFinished(let report)): json ? () : line(TrunkText.finished(report))
        case .training(.filesSkipped(let source, let messages)):
            let shown = messages.prefix(3).joined(separator: "\n  ") + (messages.count > 3 ? "\n  …" : "")
            json ? () : line("\(source): \(messages.count) broken files left out:\n  \(shown)")
        case .ended(let summary): json ? printJSON(summary) : line(Self.text(summary, noun))
        }
    }

    // MARK: Lines

    private func show(_ step: StepReport) {
        let text = String(
            format:
                "%@ epoch %d/%d step %d/%d  loss %.4f%@  %.1f %@/s  %.1f %% waiting for data  %@ left",
            step.phase, step.epoch, step.epochs, step.step, step.stepsPerEpoch, step.loss, Self.text(step.accuracy),
            step.imagesPerSecond, noun, step.seconds.dataPercent, Self.duration(step.secondsLeft))
        passing(text)
    }

    /// The live line on a terminal; elsewhere a line now and then.
    private func passing(_ text: String) {
        if isTerminal {
            live(text)
        } else if Date().timeIntervalSince(lastLine) >= Self.interval {
            line(text)
        }
    }

    private func show(_ record: EpochRecord) {
        var text = String(
            format: "%@ epoch %d: loss %.4f%@", record.phase, record.epoch, record.trainingLoss,
            Self.text(record.trainingAccuracy))
        if let validation = record.validation {
            text += String(
                format: "  validation loss %.4f  top-1 %.1f %%  top-5 %.1f %%", validation.loss,
                validation.top1 * 100, validation.top5 * 100)
            if let exact = validation.exactMatch { text += String(format: "  exact %.1f %%", exact * 100) }
            if let f1 = validation.f1 { text += String(format: "  F1 %.1f %%", f1 * 100) }
            if let perplexity = validation.perplexity { text += String(format: "  perplexity %.3f", perplexity) }
        }
        line(text)
    }

    private static func text(_ accuracy: Double?) -> String {
        accuracy.map { String(format: "  accuracy %.1f %%", $0 * 100) } ?? ""
    }

    private func live(_ text: String) {
        write("\r\u{1B}[K" + text)
        hasLiveLine = true
    }

    private func line(_ text: String) {
        write((hasLiveLine ? "\r\u{1B}[K" : "") + text + "\n")
        hasLiveLine = false
        lastLine = Date()
    }

    private func write(_ text: String) {
        FileHandle.standardOutput.writeIfPossible(text)
    }

    private func printJSON(_ value: some Encodable) {
        guard let data = try? JSONEncoder.forScripts().encode(value) else { return }
        write(String(decoding: data, as: UTF8.self) + "\n")
    }

    // MARK: Words

    static func text(_ overview: RunOverview) -> String {
        let isText = overview.text != nil
        let outputs =
            overview.text.map { $0.isRunningText ? "tokens" : $0.areQuestions ? "ends of answers" : "classes" }
        var lines = [
            "run          \(overview.name), \(overview.ranks) rank\(overview.ranks == 1 ? "" : "s")",
            "network      \(overview.architecture) (\(overview.variant)), \(overview.classes) "
                + "\(outputs ?? "classes"), "
                + "\(overview.inputSize) \(isText ? "tokens a text" : "px"), \(Output.grouped(overview.parameters)) parameters",
            "weights      \(overview.weights)",
            "data         \(Output.grouped(overview.trainingSamples)) to train, "
                + "\(Output.grouped(overview.validationSamples)) to validate",
            "output       \(overview.output)",
        ]
        if let text = overview.text { lines.insert(Self.text(text), at: 4) }
        for phase in overview.phases {
            lines.append(
                "phase        \(phase.name): \(Output.grouped(phase.trainableParameters)) trainable parameters, "
                    + "\(Output.grouped(phase.steps)) steps of \(phase.batch), "
                    + "\(bytes(phase.bytesPerAllReduce)) per all-reduce, "
                    + "about \(bytes(phase.memoryBytesPerRank)) of memory per rank")
            if phase.batch > overview.trainingSamples {
                lines.append(
                    "batch        \(phase.batch), more than there are samples: a step takes all "
                        + "\(Output.grouped(overview.trainingSamples))")
            }
            if let text = TrunkText.planned(phase.trunk) { lines.append("trunk        \(text)") }
        }
        return lines.joined(separator: "\n")
    }

    private static func text(_ text: TextOverview) -> String {
        let lengths =
            text.isRunningText
            ? "blocks of up to \(text.longestTokens) tokens"
            : String(format: "%.1f tokens on average, at most %d", text.meanTokens, text.longestTokens)
        let cut = text.samplesCut > 0 ? ", \(Output.grouped(text.samplesCut)) cut" : ""
        return "texts        a vocabulary of \(Output.grouped(text.vocabulary)); of the first "
            + "\(Output.grouped(text.samplesCounted)): \(lengths)\(cut)"
    }

    private static func text(_ summary: RunSummary, _ noun: String) -> String {
        var text = String(
            format: "%@ after %d steps in %@: %.1f %@/s on %d rank%@",
            summary.finished ? "done" : "stopped and saved",
            summary.steps, duration(summary.seconds), summary.imagesPerSecond, noun, summary.ranks,
            summary.ranks == 1 ? "" : "s")
        text += String(format: ", %.1f %% waiting for data", summary.dataPercent)
        guard let best = summary.best else { return text }
        text +=
            best.perplexity.map { String(format: ", best loss %.4f (perplexity %.3f)", best.loss, $0) }
            ?? best.f1.map { String(format: ", best F1 %.1f %%", $0 * 100) }
            ?? String(format: ", best top-1 %.1f %%", best.top1 * 100)
        return text
    }

    static func bytes(_ count: Int) -> String {
        switch count {
        case ..<1_000_000: String(format: "%.1f kB", Double(count) / 1e3)
        case ..<1_000_000_000: String(format: "%.1f MB", Double(count) / 1e6)
        default: String(format: "%.2f GB", Double(count) / 1e9)
        }
    }

    static func duration(_ seconds: Double) -> String {
        let total = Int(seconds.rounded())
        if total >= 3600 { return String(format: "%d:%02d:%02d", total / 3600, total / 60 % 60, total % 60) }
        return String(format: "%d:%02d", total / 60, total % 60)
    }
}
