import ArgumentParser
import Cluster
import Collectives
import Recipes
import Tensors
import Training

/// `graft train`: runs a recipe.
struct Train: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a network as a recipe says.",
        discussion: """
            One process, or one per rank under launch/mpirun:

              graft train launch/recipes/sign-language-digits.yaml
              launch/mpirun -np 2 graft train recipe.yaml --output runs/a
              graft train recipe.yaml --set train.batch=64 --set run.seed=3
              graft train recipe.yaml --dry-run
              graft train recipe.yaml --resume auto

            The output folder receives recipe.yaml (every default written out), log.jsonl,
            summary.json, checkpoints/ and, at the end, weights.h5, which evaluate and
            predict take. A folder that is in use is refused unless --resume says to go on
            with the run in it. A resumed run ends with the same bits as one that was never
            stopped, at the same number of ranks and threads.

            USR1 saves at the next step and ends with 6; so do TERM and Ctrl-C, to a single
            process or to launch/mpirun.

            Exit codes: 0 done, 2 arguments or recipe, 3 data or weights, 4 diverged,
            5 a rank was lost, 6 stopped by a signal after saving.
            """)

    @Argument(help: "The recipe, a YAML file.", completion: .file(extensions: ["yaml", "yml"]))
    var recipe: String

    @Option(
        name: .customLong("set"), parsing: .singleValue,
        help: ArgumentHelp("Override a key of the recipe; may be repeated.", valueName: "key.path=value"))
    var overrides: [String] = []

    @Option(help: "The run directory (default: run.output of the recipe, or runs/NAME).")
    var output: String?

    @Option(help: "Go on from the newest valid checkpoint of the output folder (auto), or from a checkpoint file.")
    var resume: String?

    @Flag(help: "Check everything and print parameters, bytes, memory and steps; train nothing.")
    var dryRun = false

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func run() throws {
        // Threads are settled before anything computes; this may start the program anew.
        let asked = (try? Recipe.load(recipe, overrides: overrides))?.run.threads
        let plan = ThreadPlan.prepareProcess(requestedThreads: asked)
        let options = RunOptions(
            recipePath: recipe, overrides: overrides, output: output, resume: resumeChoice)
        if dryRun { return try printOverview(options) }
        Cluster.run { collectives in
            Threads.count = plan.threads
            let printer = ProgressPrinter(json: json, isTerminal: MPIEnvironment.outputIsTerminal)
            let run = TrainingRun(options, collectives: collectives) { printer.show($0) }
            return try run.run()
        }
    }

    private var resumeChoice: RunOptions.Resume {
        switch resume {
        case nil: .no
        case "auto": .auto
        case let path?: .checkpoint(path)
        }
    }

    private func printOverview(_ options: RunOptions) throws {
        guard MPIEnvironment.rank == 0 else { return }
        let overview = try TrainingRun.overview(options, worldSize: MPIEnvironment.worldSize)
        json ? try Output.json(overview) : print(ProgressPrinter.text(overview))
    }
}
