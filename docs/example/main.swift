// Gives pre-trained weights a new classifier, trains that for an epoch on a folder of class folders, and says how
// good it is on the images it has not seen. Alone, or on several ranks: launch/mpirun -np 2 graft-example …
import Archives
import Cluster
import Datasets
import Models
import Recipes
import Training

let (weights, images, output) = (CommandLine.arguments[1], CommandLine.arguments[2], CommandLine.arguments[3])
ThreadPlan.prepareProcess()
Cluster.run { collectives in
    let recipe = try Recipe(
        yaml: """
            model: {weights: "\(weights)", head: new}
            data: {train: {path: "\(images)", first-per-class: 80}, validation: {skip-per-class: 80}}
            train: {transfer: feature-extraction, epochs: 1, optimizer: {name: adam, learning-rate: 5e-3}}
            """, file: "example")
    let (training, test) = (try recipe.data.openTraining(), try recipe.data.openValidation() ?? recipe.data.openTraining())
    let (network, report) = try WeightLoader.network(
        from: WeightFile.read(weights), path: weights, classes: training.classNames.count, head: .new)
    let transform = Transform.evaluation(network.architecture.preprocessing)
    let environment = TrainingLoop.Environment { learning, statistics in
        GradientSynchronizer(
            plan: BucketPlan(learning: learning, statisticsCount: statistics), collectives: collectives)
    }
    let loop = TrainingLoop(
        network: network, plan: recipe.plan(), data: ["train": BatchLoader(dataset: training, transform: transform)],
        validation: nil, collectives: collectives, settings: TrainingLoop.Settings(), environment: environment)
    _ = try loop.run()
    let metrics = try evaluate(
        network, on: BatchLoader(dataset: test, transform: transform), batch: 50, collectives: collectives)
    guard collectives.rank == 0 else { return .done }
    print("\(report.summary)\ntop-1 \(metrics.summary.top1) of \(metrics.summary.samples) images")
    try WeightFile(network, metadata: WeightMetadata(classNames: training.classNames)).write(to: output, as: .graftHDF5)
    return .done
}
