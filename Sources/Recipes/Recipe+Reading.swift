import Archives
import Datasets
import Foundation
import Models
import Training

extension Recipe {
    /// Reads a recipe file.
    ///
    /// - Parameters:
    ///   - path: a YAML file.
    ///   - overrides: `key.path=value`, as `--set` gives them, applied in order and validated alike.
    /// - Throws: `RecipeError` naming file and line (or the override), key, value and remedy.
    public static func load(_ path: String, overrides: [String] = []) throws -> Recipe {
        guard let bytes = FileManager.default.contents(atPath: path) else {
            let exists = FileManager.default.fileExists(atPath: path)
            throw RecipeError.unreadable(
                file: path, problem: exists ? "cannot be read; check its permissions" : "there is no such recipe")
        }
        guard let yaml = String(data: bytes, encoding: .utf8) else {
            throw RecipeError.unreadable(file: path, problem: "is not UTF-8 text; a recipe is a YAML file")
        }
        return try Recipe(yaml: yaml, file: path, overrides: overrides)
    }

    /// Reads a recipe from text; `file` is what messages call it.
    ///
    /// - Throws: `RecipeError`, as `load`.
    public init(yaml: String, file: String, overrides: [String] = []) throws {
        var root = try RecipeNode(yaml: yaml, file: file)
        if root.isNull { root.content = .mapping([]) }
        for option in overrides { try root.apply(override: option) }
        let document = try Section(root, path: "", keys: ["name", "model", "data", "train", "phases", "trunk", "run"])

        let stem = URL(fileURLWithPath: file).deletingPathExtension().lastPathComponent
        name = try document.text("name") ?? stem
        guard !name.contains("/"), name != ".", name != ".." else {
            throw document.invalid("name", name, "give a name that can be a folder")
        }
        guard let model = try document.section("model", keys: Model.keys) else {
            throw RecipeError.missingKey(
                place: document.place, key: "model",
                remedy: "give model.weights (a weight file) or model.architecture (a name such as resnet50)")
        }
        guard let data = try document.section("data", keys: Data.keys) else {
            throw RecipeError.missingKey(
                place: document.place, key: "data", remedy: "give data.train, the training images or texts")
        }
        self.model = try Model(model)
        self.data = try Data(data)
        phases = try Self.phases(of: root, document, hasWeights: self.model.hasWeights)
        trunk =
            try document.section("trunk", keys: Trunk.keys).map(Trunk.init) ?? Trunk()
        run = try document.section("run", keys: Run.keys).map(Run.init) ?? Run()
        purpose = Self.openingComment(of: yaml)
    }

    private static func openingComment(of yaml: String) -> [String] {
        yaml.split(separator: "\n", omittingEmptySubsequences: false).prefix { $0.hasPrefix("#") }
            .map { line in
                let text = line.dropFirst()
                return String(text.hasPrefix(" ") ? text.dropFirst() : text)
            }
    }

    /// `phases:` over the defaults in `train:`, or `train:` alone as the only phase.
    private static func phases(of root: RecipeNode, _ document: Section, hasWeights: Bool) throws -> [Phase] {
        let common = document.value("train")
        guard let items = try document.items("phases") else {
            guard let common else {
                throw RecipeError.missingKey(
                    place: document.place, key: "train",
                    remedy: "give train: (or a list phases:) with epochs, batch and optimizer")
            }
            let section = try Section(common, path: "train", keys: Phase.keys)
            return [try Phase(section, defaultName: "train", hasWeights: hasWeights)]
        }
        guard !items.isEmpty else {
            throw document.invalid("phases", "an empty list", "give at least one phase or use train:")
        }
        if let common { _ = try Section(common, path: "train", keys: Phase.keys.filter { $0 != "name" }) }
        var names = Set<String>()
        return try items.enumerated().map { index, item in
            _ = try Section(item.node, path: item.path, keys: Phase.keys)
            let section = try Section(
                item.node.inheriting(from: common), path: item.path, keys: Phase.keys)
            let phase = try Phase(section, defaultName: "phase-\(index + 1)", hasWeights: hasWeights)
            guard names.insert(phase.name).inserted else {
                throw section.invalid("name", phase.name, "every phase needs a name of its own")
            }
            return phase
        }
    }
}

// MARK: - model

extension Recipe.Model {
    static let keys = ["architecture", "variant", "width", "sizes", "dropout", "weights", "head"]
    /// The numbers that `sizes` may give, as architectures call them.
    static let sizeKeys = [
        "layers", "width", "heads", "inner", "vocabulary", "positions", "segments", "padding",
    ]

    /// Whether there is something to transfer.
    var hasWeights: Bool { weights != nil || takesRandomWeights }

    init(_ section: Section) throws {
        let given = try section.text("weights")
        let weights = given.flatMap { ["none", "random"].contains($0) ? nil : $0 }
        let head = try section.choice("head", of: Head.self)
        self.init(
            architecture: try section.text("architecture"), variant: try section.text("variant"),
            width: try section.number("width", "give a number above 0, such as 0.25") { $0 > 0 },
            weights: weights, head: head)
        takesRandomWeights = given == "random"
        if let section = try section.section("sizes", keys: Self.sizeKeys) {
            for key in Self.sizeKeys { sizes[key] = try section.integer(key, atLeast: key == "padding" ? 0 : 1) }
        }
        dropout = try section.number("dropout", "give a number from 0 to below 1") { $0 >= 0 && $0 < 1 }
        if !sizes.isEmpty, architecture == nil || weights != nil {
            throw section.conflict(
                "sizes", weights == nil ? "nothing says what of" : "model.weights say what they are",
                "give them with model.architecture and without weights")
        }
        if width != nil, architecture == nil {
            throw section.conflict(
                "width", "without model.architecture the weights say what they are",
                "give model.architecture too, or remove it")
        }
        if weights == nil, head == .keep {
            throw section.conflict(
                "head", "there are no weights to keep it from", "give model.weights or set model.head to new")
        }
        if weights == nil, architecture == nil {
            throw RecipeError.missingKey(
                place: section.place, key: section.fullName("architecture"),
                remedy: "give a name such as resnet50, or model.weights that say what they are")
        }
    }
}

// MARK: - data

extension Recipe.Data {
    static let keys = [
        "train", "validation", "classes", "image", "augment", "text", "sharding", "broken-files", "prefetch",
    ]

    init(_ section: Section) throws {
        guard let train = try Source(section, "train", defaultPath: nil) else {
            throw RecipeError.missingKey(
                place: section.place, key: section.fullName("train"),
                remedy: "give the path of the training images or texts")
        }
        self.init(train: train, validation: try Source(section, "validation", defaultPath: train.path))
        classes = try section.words("classes") ?? classes
        image = try section.section("image", keys: Image.keys).map(Image.init) ?? image
        augmentation =
            try section.section("augment", keys: Augmentation.keys).map(Augmentation.init) ?? augmentation
        text = try section.section("text", keys: Text.keys).map(Text.init) ?? text
        if section.value("text") != nil, let key = ["image", "augment"].first(where: { section.value($0) != nil }) {
            throw section.conflict(key, "'\(section.fullName("text"))' is given too", "remove one of the two")
        }
        if text.heldOut != nil, validation != nil {
            throw section.conflict(
                "validation", "'\(section.fullName("text.held-out"))' is given too", "choose one of the two")
        }
        sharding = try section.choice("sharding", of: Sharding.self) ?? sharding
        brokenFiles = try section.choice("broken-files", of: BrokenFilePolicy.self) ?? brokenFiles
        prefetch = try section.integer("prefetch", atLeast: 1) ?? prefetch
        if let validation, validation.repeats(train) {
            throw section.conflict(
                "validation", "these are the samples that data.train takes",
                "give another path or split, or a selection for both, such as first-per-class and skip-per-class")
        }
        if classes.count == 1 {
            throw section.invalid("classes", "one class ('\(classes[0])')", "give two or more, or none for all")
        }
    }
}

extension Recipe.Data.Source {
    static let keys = ["path", "split", "skip-per-class", "first-per-class", "per-class", "fraction", "seed"]

    /// A path, or a mapping with a path and a selection.
    init?(_ parent: Section, _ key: String, defaultPath: String?) throws {
        guard let node = parent.value(key) else { return nil }
        if case .scalar = node.content {
            self.init(path: try parent.text(key) ?? "")
            return
        }
        let section = try Section(node, path: parent.fullName(key), keys: Self.keys)
        guard let path = try section.text("path") ?? defaultPath else {
            throw RecipeError.missingKey(
                place: section.place, key: section.fullName("path"), remedy: "give the path of the images or texts")
        }
        self.init(path: path)
        split = try section.choice("split", of: DatasetSplit.self)
        skipPerClass = try section.integer("skip-per-class", atLeast: 0)
        firstPerClass = try section.integer("first-per-class", atLeast: 1)
        perClass = try section.integer("per-class", atLeast: 1)
        fraction = try section.number("fraction", "give a number above 0, up to 1") { $0 > 0 && $0 <= 1 }
        let given = ["first-per-class", "per-class", "fraction"].filter { section.value($0) != nil }
        if given.count > 1 {
            throw section.conflict(
                given[1], "'\(section.fullName(given[0]))' is given too", "choose one of the two")
        }
        if let seed = try section.integer("seed", atLeast: 0, atMost: .max) {
            self.seed = seed
            if perClass == nil && fraction == nil {
                throw section.conflict(
                    "seed", "nothing is chosen at random", "give per-class or fraction, or remove it")
            }
        }
    }

    /// Whether this is bound to take images of `train`, whatever is at the path.
    func repeats(_ train: Self) -> Bool {
        guard path == train.path else { return false }
        let isSamePart = split == train.split || split == (train.split ?? .train)
        return self == train || (!train.selects && isSamePart && (!selects || split != nil))
    }

    var selects: Bool {
        (skipPerClass ?? 0) > 0 || firstPerClass != nil || perClass != nil || (fraction ?? 1) < 1
    }
}

extension Recipe.Data.Image {
    static let keys = ["size", "resize", "mean", "standard-deviation"]

    init(_ section: Section) throws {
        size = try section.integer("size", atLeast: 1, atMost: Preprocessing.longestSide)
        resize = try section.integer("resize", atLeast: 1, atMost: Preprocessing.longestSide)
        let channels = "give one number per channel (1 or 3), above 0 for the deviation"
        mean = try section.numbers("mean", channels) { [1, 3].contains($0.count) }
        standardDeviation = try section.numbers("standard-deviation", channels) { values in
            [1, 3].contains(values.count) && values.allSatisfy { $0 > 0 }
        }
        if mean?.count != standardDeviation?.count {
            throw section.conflict(
                mean == nil ? "standard-deviation" : "mean", "mean and standard-deviation belong together",
                "give both, equally long, or none")
        }
        if let size, let resize, resize < size {
            throw section.conflict(
                "resize", "the crop (data.image.size) is \(size)", "resize to at least that")
        }
    }
}

extension Recipe.Data.Text {
    static let keys = ["tokenizer", "length", "stride", "columns", "offsets", "held-out"]

    init(_ section: Section) throws {
        tokenizer = try section.text("tokenizer")
        length = try section.integer("length", atLeast: 1, atMost: 1_000_000)
        stride = try section.integer("stride", atLeast: 0, atMost: 1_000_000)
        if let section = try section.section("columns", keys: ["text", "pair", "label"]) {
            columns = TextColumns(
                text: try section.text("text"), pair: try section.text("pair"), label: try section.text("label"))
        }
        offsets = try section.choice("offsets", of: RunningText.Offsets.self) ?? offsets
        heldOut = try section.number("held-out", "give a number above 0 and below 1") { $0 > 0 && $0 < 1 }
    }
}

extension Recipe.Data.Augmentation {
    static let keys = ["random-resized-crop", "crop-padding", "flip", "jitter"]

    init(_ section: Section) throws {
        let cropKeys = ["minimum-area", "minimum-aspect", "maximum-aspect"]
        if case .scalar = section.value("random-resized-crop")?.content {
            if try section.flag("random-resized-crop") == true { randomResizedCrop = .init() }
        } else if let crop = try section.section("random-resized-crop", keys: cropKeys) {
            randomResizedCrop = try .init(crop)
        }
        cropPadding = try section.integer("crop-padding", atLeast: 1, atMost: Preprocessing.longestSide)
        flip = try section.flag("flip") ?? flip
        jitter = try section.section("jitter", keys: ["brightness", "contrast", "saturation", "hue"])
            .map(Recipe.Data.Jitter.init)
        if randomResizedCrop != nil, cropPadding != nil {
            throw section.conflict(
                "crop-padding", "'\(section.fullName("random-resized-crop"))' crops already", "choose one of the two")
        }
    }
}

extension Recipe.Data.RandomResizedCrop {
    init(_ section: Section) throws {
        minimumArea =
            try section.number("minimum-area", "give a number above 0, up to 1") { $0 > 0 && $0 <= 1 } ?? minimumArea
        let rule = "give a number from 0.001 to 1000"
        let isValid: (Double) -> Bool = { TransformStep.aspects.contains($0) }
        minimumAspect = try section.number("minimum-aspect", rule, where: isValid) ?? minimumAspect
        maximumAspect = try section.number("maximum-aspect", rule, where: isValid) ?? maximumAspect
        if minimumAspect > maximumAspect {
            throw section.conflict(
                section.value("minimum-aspect") == nil ? "maximum-aspect" : "minimum-aspect",
                "aspects would run from \(minimumAspect) to \(maximumAspect)", "let them rise")
        }
    }
}

extension Recipe.Data.Jitter {
    init(_ section: Section) throws {
        let rule = "give a number from 0 to 100"
        let isValid: (Double) -> Bool = { ColorJitter.strengths.contains($0) }
        brightness = try section.number("brightness", rule, where: isValid) ?? brightness
        contrast = try section.number("contrast", rule, where: isValid) ?? contrast
        saturation = try section.number("saturation", rule, where: isValid) ?? saturation
        hue = try section.number("hue", "give a number from 0 to 0.5") { $0 >= 0 && $0 <= 0.5 } ?? hue
    }
}

// MARK: - run

extension Recipe.Run {
    static let keys = [
        "output", "seed", "save-every", "validate-every", "keep", "log-every", "threads", "exact-convolutions",
    ]

    init(_ section: Section) throws {
        output = try section.text("output")
        seed = try section.integer("seed", atLeast: 0, atMost: .max) ?? seed
        saveEvery = try Recipe.Interval(section, "save-every") ?? saveEvery
        validateEvery = try Recipe.Interval(section, "validate-every") ?? validateEvery
        keep = try section.integer("keep", atLeast: 2) ?? keep
        logEvery = try section.integer("log-every", atLeast: 1) ?? logEvery
        if section.value("threads").map({ $0 != RecipeNode("auto") }) == true {
            threads = try section.integer("threads", atLeast: 1, atMost: 4_096)
        }
        exactConvolutions = try section.flag("exact-convolutions") ?? exactConvolutions
    }
}

extension Recipe.Interval {
    /// `{epochs: 1}`, `{steps: 100}` or `{minutes: 10}`.
    init?(_ parent: Section, _ key: String) throws {
        let keys = ["epochs", "steps", "minutes"]
        guard let section = try parent.section(key, keys: keys) else { return nil }
        let given = keys.filter { section.value($0) != nil }
        guard given.count == 1 else {
            throw parent.invalid(
                key, given.isEmpty ? "empty" : given.joined(separator: " and "),
                "give one of epochs, steps or minutes")
        }
        if let epochs = try section.integer("epochs", atLeast: 1) {
            self = .epochs(epochs)
        } else if let steps = try section.integer("steps", atLeast: 1) {
            self = .steps(steps)
        } else {
            self = .minutes(try section.number("minutes", "give a number above 0") { $0 > 0 } ?? 0)
        }
    }
}
