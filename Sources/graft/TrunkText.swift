import Training

/// What a person reads about the frozen stages of a phase.
enum TrunkText {
    /// A line of the overview; nil where nothing is frozen.
    static func planned(_ plan: TrunkPlan) -> String? {
        guard plan.path != .whole else { return nil }
        let size = ProgressPrinter.bytes(plan.cacheBytes)
        let variants = plan.variants > 1 ? " in \(plan.variantsRead.count) variants" : ""
        return frozen(plan.stages, plan.lastStage) + ", compiled; "
            + (plan.folder.map { "outputs\(variants) take \(size) in \($0)" } ?? notKept(plan.reason))
    }

    /// Before the first step of a phase.
    static func began(_ report: TrunkReport) -> String {
        var text = frozen(report.stages, report.lastStage) + ", "
        guard let folder = report.folder else { return text + "compiled; " + notKept(report.reason) }
        text += "outputs (\(ProgressPrinter.bytes(report.cacheBytes))) in \(folder): "
        text += "\(Output.grouped(report.reusedSamples)) samples reused"
        if report.computedSamples > 0 {
            text +=
                ", \(Output.grouped(report.computedSamples)) computed in "
                + ProgressPrinter.duration(report.secondsToFill)
        }
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

    private static func notKept(_ reason: String?) -> String { "outputs not kept: \(reason ?? "no reason given")" }
}
