// swift-tools-version: 6.0
// The target list is the architecture: a target depends only on targets above it.

import PackageDescription

/// A C library of the system: a module map and a shim header, no logic.
func native(_ name: String, pkgConfig: String? = nil, apt: String) -> Target {
    .systemLibrary(
        name: name, path: "Sources/Native/\(name)", pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let collections: Target.Dependency = .product(name: "Collections", package: "swift-collections")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "graft",
    products: [
        .executable(name: "graft", targets: ["graft"]),
        .library(
            name: "GraftKit",
            targets: [
                "Collectives", "Tensors", "Layers", "Models", "Archives", "Datasets", "Training",
                "Transfer", "Recipes", "Cluster",
            ]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // Native: one folder per C library.
        native("COneDNN", apt: "libdnnl-dev"),
        native("COpenBLAS", pkgConfig: "openblas", apt: "libopenblas-dev"),
        native("COpenMPI", pkgConfig: "mpi-c", apt: "libopenmpi-dev"),
        native("CHDF5", pkgConfig: "hdf5-serial", apt: "libhdf5-dev"),
        native("CTurboJPEG", pkgConfig: "libturbojpeg", apt: "libturbojpeg0-dev"),
        native("CPNG", pkgConfig: "libpng", apt: "libpng-dev"),
        native("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
        .target(
            name: "CKernels", path: "Sources/Native/CKernels", linkerSettings: [.linkedLibrary("gomp")]),

        // The house, from the ground up.
        .target(name: "Collectives"),
        .target(
            name: "Tensors",
            dependencies: ["COneDNN", "COpenBLAS", "CKernels", "Collectives", logging]),
        .target(name: "Layers", dependencies: ["Tensors", "Collectives", collections]),
        .target(name: "Models", dependencies: ["Layers", "Tensors", "Collectives"]),
        .target(
            name: "Archives",
            dependencies: ["CHDF5", "CZlib", "Models", "Layers", "Tensors", collections, crypto, logging]),
        .target(
            name: "Datasets",
            dependencies: [
                "CTurboJPEG", "CPNG", "CZlib", "Archives", "Models", "Tensors", "Collectives", collections, crypto, logging,
            ]),
        .target(
            name: "Training",
            dependencies: [
                "Datasets", "Archives", "Models", "Layers", "Tensors", "Collectives", collections, crypto,
                logging,
            ]),
        .target(name: "Transfer", dependencies: ["Training", "Models", "Layers", "Tensors"]),
        .target(
            name: "Recipes",
            dependencies: [
                "Transfer", "Training", "Datasets", "Archives", "Models", "Layers", "Tensors", "Collectives",
                .product(name: "Yams", package: "Yams"), crypto,
            ]),
        .target(
            name: "Cluster",
            dependencies: [
                "COpenMPI", "Recipes", "Transfer", "Training", "Datasets", "Archives", "Models", "Layers",
                "Tensors", "Collectives", logging,
            ]),
        .executableTarget(
            name: "graft",
            dependencies: [
                "Cluster", "Recipes", "Transfer", "Training", "Datasets", "Archives", "Models", "Layers",
                "Tensors", "Collectives", arguments, logging,
            ]),

        // The program of docs/library.md.
        .executableTarget(
            name: "graft-example",
            dependencies: ["Cluster", "Recipes", "Training", "Datasets", "Archives", "Models"],
            path: "docs/example"),

        // Proof.
        .testTarget(name: "TensorsTests", dependencies: ["Tensors", "Collectives"], exclude: ["Reference"]),
        .testTarget(name: "LayersTests", dependencies: ["Layers", "Tensors"]),
        .testTarget(
            name: "ModelsTests", dependencies: ["Models", "Layers", "Tensors", "Archives", "Datasets", crypto],
            exclude: ["Reference"]),
        .testTarget(
            name: "ArchivesTests", dependencies: ["Archives", "Models", "Layers", "Tensors", crypto],
            exclude: ["Reference", "Corpus"]),
        .testTarget(name: "DatasetsTests", dependencies: ["Datasets", "Archives", "Tensors"], exclude: ["Reference"]),
        .testTarget(
            name: "TrainingTests", dependencies: ["Training", "Archives", "Datasets", "Models", "Layers", "Tensors"],
            exclude: ["Reference"]),
        .testTarget(name: "RecipesTests", dependencies: ["Recipes", "Training", "Datasets", "Archives", "Models", "Tensors"]),
        .executableTarget(
            name: "graft-cluster-check", dependencies: ["Cluster", "Collectives", "Tensors"],
            path: "Tests/ClusterPrograms"),
        .testTarget(
            name: "ClusterTests",
            dependencies: ["Archives", "Cluster", "Collectives", "Tensors", "graft-cluster-check"]),
        .testTarget(name: "CLITests", dependencies: ["Archives", "Models", "Layers", "Tensors"]),
        .testTarget(name: "DocsTests", dependencies: ["Recipes", "Archives", "Models", "graft", "graft-example"]),
    ],
    swiftLanguageModes: [.v5]
)
