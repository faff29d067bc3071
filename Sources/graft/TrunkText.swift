import Foundation
import Models
import Training

/// What a person reads about the frozen stages of a phase.
enum TrunkText {
    /// A line of the overview; nil where nothing is frozen.
    static func planned(_ plan: TrunkPlan) -> String? {
        guard plan.path != .whole else { return nil }
        let size = ProgressPrinter.bytes(plan.cacheBytes)
        let variants = plan.variants > 1 ? " in \(plan.variantsRead.count) variants" : ""
        return frozen(plan.stages, plan.lastStage) + ", compiled" + computed(plan.precision, plan.precisionFallback)
            + "; "
            + (plan.folder.map { "outputs\(variants) take \(size) in \($0)" } ?? notKept(plan.reason))
    }

    /// Before the first step of a phase.
    static func began(_ report: TrunkReport) -> String {
        var text = frozen(report.stages, report.lastStage) + ", "
        let precision = computed(report.precision, report.precisionFallback, report.precisionError)
        guard let folder = report.folder else { return text + "compiled\(precision); " + notKept(report.reason) }
        text += "outputs (\(ProgressPrinter.bytes(report.cacheBytes))) in \(folder): "
        text += "\(Output.grouped(report.reusedSamples)) samples reused"
        if report.computedSamples > 0 {
            text +=
                ", \(Output.grouped(report.computedSamples)) computed in "
                + ProgressPrinter.duration(report.secondsToFill)
        }
        text += precision
        return ([text] + report.damagedFiles.map { "computed anew: \($0)" }).joined(separator: "\n  ")
    }

    /// After the last step.
    static func finished(_ report: TrunkReport) -> String {
        let epochs = "\(report.epochsFromCache) epoch\(report.epochsFromCache == 1 ? "" : "s")"
        let saved = ProgressPrinter.duration(max(0, report.secondsSaved))
        return "phase \(report.phase): \(epochs) without running the frozen stages, about \(saved) saved"
    }

    private static func frozen(_ stages: Int, _ last: String) -> String {
        "\(stages) stage\(stages == 1 ? "" : "s") frozen, up to \(last)"
    }

    /// Of int8, or of what became of it.
    private static func computed(
        _ precision: FrozenTrunk.Precision, _ fallback: String?, _ error: Double? = nil
    ) -> String {
        if let fallback { return " (\(fallback))" }
        guard precision == .int8 else { return "" }
        return error.map { String(format: " (int8, outputs %.2f %% from float32's)", 100 * $0) } ?? " (int8)"
    }

    private static func notKept(_ reason: String?) -> String { "outputs not kept: \(reason ?? "no reason given")" }
}
