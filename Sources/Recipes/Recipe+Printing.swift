import Archives
import Crypto
import Datasets
import Foundation
import Training

extension Recipe {
    /// The recipe in full, every default written out, as YAML that reads back to the same recipe.
    public var yaml: String {
        let comment = purpose.map { $0.isEmpty ? "#\n" : "# \($0)\n" }.joined()
        return comment + (comment.isEmpty ? "" : "\n") + node.yaml
    }

    /// SHA-256, in hexadecimal, of everything that can change the trained weights. A run is resumed only
    /// where this is the same; keys of `harmlessKeys` do not enter.
    public var fingerprint: String {
        let lines = settings.filter { !Self.isHarmless($0.key) }.map { "\($0.key)=\($0.value)\n" }
        return SHA256.hash(data: Foundation.Data(lines.joined().utf8)).hexadecimal
    }

    /// What may differ between a run and its resumption: names, logging, saving, output, and how data reaches
    /// the ranks and where a frozen trunk's outputs lie (a phase under way refuses to go on without them). Not the number of threads, over which matrix products divide their sums.
    public static let harmlessKeys = [
        "name", "run.output", "run.save-every", "run.validate-every", "run.keep", "run.log-every",
        "data.prefetch", "data.sharding", "trunk.cache", "trunk.max-size",
    ]

    /// Key paths of the settings that keep a run of `other` from being resumed with this recipe, each with
    /// both values; empty where the fingerprints agree.
    public func differences(from other: Recipe) -> [(key: String, value: String, other: String)] {
        let mine = Dictionary(settings, uniquingKeysWith: { first, _ in first })
        let theirs = Dictionary(other.settings, uniquingKeysWith: { first, _ in first })
        return Set(mine.keys).union(theirs.keys).filter { !Self.isHarmless($0) && mine[$0] != theirs[$0] }
            .sorted().map { ($0, mine[$0] ?? "not given", theirs[$0] ?? "not given") }
    }

    private static func isHarmless(_ key: String) -> Bool {
        harmlessKeys.contains { key == $0 || key.hasPrefix($0 + ".") }
            // Of a phase: costs time and saves memory, to the same bits.
            || key.hasPrefix("phases[") && key.hasSuffix("].recompute")
    }

    /// Every setting under its key path, in the order of the printed recipe.
    private var settings: [(key: String, value: String)] {
        func flatten(_ node: RecipeNode, _ path: String) -> [(key: String, value: String)] {
            switch node.content {
            case .null: [(path, "null")]
            case .scalar(let text): [(path, text)]
            case .list(let items): items.enumerated().flatMap { flatten($1, "\(path)[\($0)]") }
            case .mapping(let entries):
                entries.flatMap { flatten($0.value, path.isEmpty ? $0.key : "\(path).\($0.key)") }
            }
        }
        return flatten(node, "")
    }

    var node: RecipeNode {
        RecipeNode([
            "name": RecipeNode(name), "model": model.node, "data": data.node,
            "phases": RecipeNode(phases.map(\.node)), "trunk": trunk.node, "run": run.node,
        ])
    }
}

extension Recipe.Model {
    var node: RecipeNode {
        RecipeNode([
            "architecture": architecture.map { RecipeNode($0) }, "variant": variant.map { RecipeNode($0) },
            "width": width.map { RecipeNode($0) },
            "sizes": sizes.isEmpty
                ? nil
                : RecipeNode(
                    content: .mapping(
                        sizes.sorted { $0.key < $1.key }.map {
                            RecipeNode.Entry(key: $0.key, origin: .derived, value: RecipeNode($0.value))
                        }), origin: .derived),
            "dropout": dropout.map { RecipeNode($0) },
            "weights": RecipeNode(weights ?? (takesRandomWeights ? "random" : "none")),
            "head": RecipeNode(head.rawValue),
        ])
    }
}

extension Recipe.Data {
    var node: RecipeNode {
        RecipeNode([
            "train": train.node, "validation": validation?.node, "classes": classes.isEmpty ? nil : list(classes),
            "image": image == Image() ? nil : image.node,
            "augment": augmentation == Augmentation() ? nil : augmentation.node,
            "text": text == Text() ? nil : text.node,
            "sharding": RecipeNode(sharding.rawValue), "broken-files": RecipeNode(brokenFiles.rawValue),
            "prefetch": RecipeNode(prefetch),
        ])
    }
}

extension Recipe.Data.Source {
    var node: RecipeNode {
        RecipeNode([
            "path": RecipeNode(path), "split": split.map { RecipeNode($0.rawValue) },
            "skip-per-class": skipPerClass.map { RecipeNode($0) },
            "first-per-class": firstPerClass.map { RecipeNode($0) }, "per-class": perClass.map { RecipeNode($0) },
            "fraction": fraction.map { RecipeNode($0) },
            "seed": perClass == nil && fraction == nil ? nil : RecipeNode(seed),
        ])
    }
}

extension Recipe.Data.Image {
    var node: RecipeNode {
        RecipeNode([
            "size": size.map { RecipeNode($0) }, "resize": resize.map { RecipeNode($0) },
            "mean": mean.map(list), "standard-deviation": standardDeviation.map(list),
        ])
    }
}

extension Recipe.Data.Text {
    var node: RecipeNode {
        RecipeNode([
            "tokenizer": tokenizer.map { RecipeNode($0) }, "length": length.map { RecipeNode($0) },
            "stride": stride.map { RecipeNode($0) },
            "columns": columns == TextColumns()
                ? nil
                : RecipeNode([
                    "text": columns.text.map { RecipeNode($0) }, "pair": columns.pair.map { RecipeNode($0) },
                    "label": columns.label.map { RecipeNode($0) },
                ]),
            "offsets": RecipeNode(offsets.rawValue), "held-out": heldOut.map { RecipeNode($0) },
        ])
    }
}

extension Recipe.Data.Augmentation {
    var node: RecipeNode {
        RecipeNode([
            "random-resized-crop": randomResizedCrop.map {
                RecipeNode([
                    "minimum-area": RecipeNode($0.minimumArea), "minimum-aspect": RecipeNode($0.minimumAspect),
                    "maximum-aspect": RecipeNode($0.maximumAspect),
                ])
            },
            "crop-padding": cropPadding.map { RecipeNode($0) }, "flip": RecipeNode(flip),
            "jitter": jitter.map {
                RecipeNode([
                    "brightness": RecipeNode($0.brightness), "contrast": RecipeNode($0.contrast),
                    "saturation": RecipeNode($0.saturation), "hue": RecipeNode($0.hue),
                ])
            },
        ])
    }
}

extension Recipe.Phase {
    var node: RecipeNode {
        var node = RecipeNode([
            "name": RecipeNode(name), length.key: length.node, "batch": RecipeNode(batch),
            "transfer": RecipeNode(technique.rawValue), "unfreeze": unfreeze.isEmpty ? nil : list(unfreeze),
            "rules": rules.isEmpty
                ? nil
                : RecipeNode(rules.map { rule in RecipeNode([rule.action.rawValue: RecipeNode(rule.pattern)]) }),
            "optimizer": optimizer.node,
        ])
        node["groups"] = groups.isEmpty ? nil : RecipeNode(groups.map(Self.node))
        node["schedule"] = schedule.node
        node["clip-norm"] = clipNorm.map { RecipeNode($0) }
        node["accumulate"] = RecipeNode(accumulate)
        node["recompute"] = RecipeNode(recomputes)
        node["label-smoothing"] = RecipeNode(labelSmoothing)
        node["batch-norm"] = RecipeNode(batchNorm.rawValue)
        return node
    }

    private static func node(of group: ParameterGroup) -> RecipeNode {
        RecipeNode([
            "match": list(group.patterns), "learning-rate-factor": RecipeNode(group.learningRateFactor),
            "weight-decay": group.weightDecay.map { RecipeNode($0) },
        ])
    }
}

extension Recipe.Optimizer {
    var node: RecipeNode {
        let isSGD = rule == .sgd
        return RecipeNode([
            "name": RecipeNode(rule.rawValue), "learning-rate": RecipeNode(learningRate),
            "momentum": isSGD ? RecipeNode(momentum) : nil, "nesterov": isSGD ? RecipeNode(usesNesterov) : nil,
            "betas": isSGD ? nil : list([beta1, beta2]), "epsilon": isSGD ? nil : RecipeNode(epsilon),
            "weight-decay": RecipeNode(weightDecay), "decay-normalisation": RecipeNode(decaysNormalization),
        ])
    }
}

extension Schedule {
    var node: RecipeNode {
        var node: RecipeNode
        switch shape {
        case .constant: node = RecipeNode(["name": RecipeNode("constant")])
        case .step(let epochs, let factor):
            node = RecipeNode([
                "name": RecipeNode("step"), "every": RecipeNode(epochs), "factor": RecipeNode(factor),
            ])
        case .milestones(let epochs, let factor):
            node = RecipeNode([
                "name": RecipeNode("step"), "milestones": RecipeNode(epochs.map { RecipeNode($0) }),
                "factor": RecipeNode(factor),
            ])
        case .cosine(let end): node = RecipeNode(["name": RecipeNode("cosine"), "end": RecipeNode(end)])
        case .linear(let end): node = RecipeNode(["name": RecipeNode("linear"), "end": RecipeNode(end)])
        }
        node["warm-up"] = warmUp.map {
            RecipeNode([$0.length.key: $0.length.node, "start": RecipeNode($0.start)])
        }
        return node
    }
}

extension PhaseLength {
    var key: String {
        switch self {
        case .epochs: "epochs"
        case .steps: "steps"
        }
    }

    var node: RecipeNode {
        switch self {
        case .epochs(let count), .steps(let count): RecipeNode(count)
        }
    }
}

extension Recipe.Run {
    var node: RecipeNode {
        RecipeNode([
            "output": output.map { RecipeNode($0) }, "seed": RecipeNode(seed), "save-every": saveEvery.node,
            "validate-every": validateEvery.node, "keep": RecipeNode(keep), "log-every": RecipeNode(logEvery),
            "threads": threads.map { RecipeNode($0) } ?? RecipeNode("auto"),
            "exact-convolutions": RecipeNode(exactConvolutions),
        ])
    }
}

extension Recipe.Interval {
    var node: RecipeNode {
        switch self {
        case .epochs(let count): RecipeNode(["epochs": RecipeNode(count)])
        case .steps(let count): RecipeNode(["steps": RecipeNode(count)])
        case .minutes(let count): RecipeNode(["minutes": RecipeNode(count)])
        }
    }
}

private func list(_ words: [String]) -> RecipeNode { RecipeNode(words.map { RecipeNode($0) }) }
private func list(_ numbers: [Double]) -> RecipeNode { RecipeNode(numbers.map { RecipeNode($0) }) }
