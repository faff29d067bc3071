import ArgumentParser

/// `graft bench`: measurements.
struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure speed and memory on this machine.",
        discussion: """
            One measurement per fresh process, so that the peak of memory is that of the
            work measured:

              graft bench step --architecture resnet50 --batch 16 --threads 1 --json
              graft bench io --data photos/train --augment --threads 1
            """,
        subcommands: [BenchStep.self, BenchIO.self])
}
