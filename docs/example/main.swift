// Gives pre-trained weights a new classifier, trains it for an epoch on 80 images of each class folder, and says how
// good it is on the others. On several ranks: launch/mpirun -np 2 graft-example WEIGHTS FOLDER OUTPUT.h5
import Archives
import Cluster
import Datasets
import Recipes
import Training

ThreadPlan.prepareProcess()
Cluster.run { collectives in
    guard CommandLine.arguments.count == 4 else {
        print("usage: graft-example WEIGHTS FOLDER OUTPUT.h5")
        return .usage
    }
    let (weights, folder, output) = (CommandLine.arguments[1], CommandLine.arguments[2], CommandLine.arguments[3])
    let yaml = """
        model: {weights: "\(weights)", head: new}
        data: {train: {path: "\(folder)", first-per-class: 80}, validation: {skip-per-class: 80}}
        train: {transfer: feature-extraction, epochs: 1, optimizer: {name: adam, learning-rate: 5e-3}}
        """
    let (recipe, file) = (try Recipe(yaml: yaml, file: "example"), try WeightFile.read(weights))
    let (data, test) = (try recipe.data.openTraining(), try recipe.data.openValidation())
    let (network, _) = try WeightLoader.network(from: file, path: weights, classes: data.classNames.count, head: .new)
    let preprocessing = try recipe.data.preprocessing(file.preprocessing(for: network.architecture))
    let transform = Transform.evaluation(preprocessing)
    let environment = TrainingLoop.Environment {
        GradientSynchronizer(plan: BucketPlan(learning: $0, statisticsCount: $1), collectives: collectives)
    }
    let loop = TrainingLoop(
        network: network, plan: recipe.plan(), data: ["train": BatchLoader(dataset: data, transform: transform)],
        validation: test.map { BatchLoader(dataset: $0, transform: transform) }, collectives: collectives,
        settings: TrainingLoop.Settings(), environment: environment)
    guard try loop.run() == .finished, collectives.rank == 0, let result = loop.progress.last else { return .done }
    print("\(network.architecture): top-1 \(result.top1) of \(result.samples) images")
    let metadata = WeightMetadata(preprocessing: preprocessing, classNames: data.classNames)
    try WeightFile(network, metadata: metadata).write(to: output, as: .graftHDF5)
    return .done
}
