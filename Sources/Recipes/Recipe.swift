import Datasets
import Training

/// A run as data: which network, which images or texts, what learns and how, where the results go.
///
/// This type holds every default. A recipe is read strictly from YAML (`Recipe.load`), printed back in
/// full (`yaml`), compared when a run is resumed (`fingerprint`, `differences(from:)`) and turned into a
/// `TransferPlan` (`plan()`). Relative paths are relative to the working directory.
public struct Recipe: Equatable, Sendable {
    /// The comment that opens the file: purpose, command, expected metric and cost.
    public var purpose: [String] = []
    /// What logs and the default output folder call the run; the file's name by default.
    public var name: String
    public var model: Model
    public var data: Data
    /// In order, at least one.
    public var phases: [Phase]
    public var trunk = Trunk()
    public var run = Run()

    public init(name: String, model: Model, data: Data, phases: [Phase], run: Run = Run()) {
        self.name = name
        self.model = model
        self.data = data
        self.phases = phases
        self.run = run
    }

    /// `model:` the network and where its weights come from.
    public struct Model: Equatable, Sendable {
        /// A name such as `resnet50`; nil takes what the weight file says.
        public var architecture: String?
        /// The variant of an architecture that has several, such as `keras`; nil takes its usual one.
        public var variant: String?
        /// Width multiplier of the MobileNets; nil takes what the weight file says, or 1.
        public var width: Double?
        /// Numbers that an architecture's name does not say (`layers`, `width`, …); empty takes those of the weights.
        public var sizes: [String: Int] = [:]
        /// The rate of all dropout of a network over text, in 0..<1; nil takes that of the weights or the published one.
        public var dropout: Double?
        /// A weight file, or a Hugging Face folder; nil starts from random weights.
        public var weights: String?
        /// Whether random weights are to be taken as if somebody had trained them: to measure, and as the baseline
        /// that says what trained weights are worth.
        public var takesRandomWeights = false
        /// What becomes of the classifier. Classes are those of the data.
        public var head: Head

        public enum Head: String, CaseIterable, Sendable {
            /// As in the weight file; it must fit.
            case keep
            /// A new one, newly initialised, with as many classes as the data has.
            case new
        }

        public init(
            architecture: String? = nil, variant: String? = nil, width: Double? = nil, weights: String? = nil,
            head: Head? = nil
        ) {
            self.architecture = architecture
            self.variant = variant
            self.width = width
            self.weights = weights
            self.head = head ?? (weights == nil ? .new : .keep)
        }
    }

    /// `data:` the images or texts, and what happens to them before the network sees them.
    public struct Data: Equatable, Sendable {
        public var train: Source
        /// nil trains without validation.
        public var validation: Source?
        /// Classes to take, in the order of their new labels; empty takes all.
        public var classes: [String] = []
        public var image = Image()
        public var augmentation = Augmentation()
        public var text = Text()
        public var sharding = Sharding.shared
        public var brokenFiles = BrokenFilePolicy.fail
        /// Batches prepared ahead.
        public var prefetch = 4

        /// How a rank gets its part: reads a file system that all share, or is sent it by rank 0.
        public enum Sharding: String, CaseIterable, Sendable { case shared, scatter }

        public init(train: Source, validation: Source? = nil) {
            self.train = train
            self.validation = validation
        }

        /// Images at a path (class folders, IDX or HDF5; what it is is found by looking), or texts, or some of them. Per
        /// class, in name order: the first `skipPerClass` are left out, then `firstPerClass`, or `perClass` at
        /// random, or a random `fraction`, are taken.
        public struct Source: Equatable, Sendable {
            public var path: String
            /// Which part, where a folder holds both; nil takes the training part for `train`, and the test part
            /// for `validation` unless both are selections from the same path.
            public var split: DatasetSplit?
            public var skipPerClass: Int?
            public var firstPerClass: Int?
            public var perClass: Int?
            /// Above 0, up to 1.
            public var fraction: Double?
            /// Of the random choice.
            public var seed = 0

            public init(path: String) {
                self.path = path
            }
        }

        /// Overrides of what the weight file says about its input.
        public struct Image: Equatable, Sendable {
            /// Height and width in pixels; nil takes what the weights were trained with.
            public var size: Int?
            /// Length of the short side before the centre crop, in pixels; nil takes what the weights say.
            public var resize: Int?
            /// Per channel, of values from 0 to 1; both or none.
            public var mean: [Double]?
            public var standardDeviation: [Double]?

            public init() {}
        }

        /// `text:` how texts become tokens. For networks over text only.
        public struct Text: Equatable, Sendable {
            /// A tokenizer's file or folder, or `bytes`: one token per byte; nil takes the tokenizer of the weights.
            public var tokenizer: String?
            /// The most tokens of a sample; of running text, the tokens of a block. nil takes 128, of questions 384, or the
            /// most that the network takes.
            public var length: Int?
            /// The tokens that two windows of a passage share, of questions; nil takes a third of the length.
            public var stride: Int?
            /// Which columns of a table hold text and label.
            public var columns = TextColumns()
            /// Where blocks of running text begin in training.
            public var offsets = RunningText.Offsets.random
            /// The last part of running text, above 0 and below 1, that is left to validation.
            public var heldOut: Double?

            /// The most tokens of a sample, where nothing says otherwise.
            static func usualLength(_ labels: TextLabels) -> Int { labels == .spans ? 384 : 128 }

            public init() {}
        }

        /// Random changes of training images, in the order of the properties. None by default.
        public struct Augmentation: Equatable, Sendable {
            public var randomResizedCrop: RandomResizedCrop?
            /// Black border in pixels, out of which an image of the full size is cut at random.
            public var cropPadding: Int?
            /// Mirrors every other image.
            public var flip = false
            public var jitter: Jitter?

            public init() {}
        }

        /// A random part of the image, resized.
        public struct RandomResizedCrop: Equatable, Sendable {
            /// The smallest part of the area, above 0, up to 1.
            public var minimumArea = 0.08
            /// Width by height, narrowest and widest.
            public var minimumAspect = 3.0 / 4
            public var maximumAspect = 4.0 / 3

            public init() {}
        }

        /// Random colour changes; each number v (up to 100) draws a factor from 1 - v to 1 + v, hue a shift up to v
        /// turns.
        public struct Jitter: Equatable, Sendable {
            public var brightness = 0.0
            public var contrast = 0.0
            public var saturation = 0.0
            /// At most 0.5.
            public var hue = 0.0

            public init() {}
        }
    }

    /// One entry of `phases:`, or `train:` where there is only one.
    public struct Phase: Equatable, Sendable {
        public var name: String
        public var length: PhaseLength
        /// Samples per optimizer step over all ranks.
        public var batch = 32
        public var technique: Technique
        /// Gradual unfreezing only: what joins the learning parameters, phase by phase.
        public var unfreeze: [String] = []
        /// What learns, beyond what the technique says.
        public var rules: [TrainableSet.Rule] = []
        public var optimizer = Optimizer()
        public var groups: [ParameterGroup] = []
        public var schedule = Schedule()
        /// The largest global norm of the gradient; nil does not clip.
        public var clipNorm: Double?
        /// Parts a batch is computed in, one after the other.
        public var accumulate = 1
        /// Whether backward computes parts of the network again, to save memory.
        public var recomputes = false
        public var labelSmoothing = 0.0
        public var batchNorm = BatchNormStatistics.local

        public enum Technique: String, CaseIterable, Sendable {
            case fineTuning = "fine-tuning"
            case featureExtraction = "feature-extraction"
            case fromScratch = "from-scratch"
            case gradualUnfreezing = "gradual-unfreezing"
        }

        public init(name: String, length: PhaseLength, technique: Technique) {
            self.name = name
            self.length = length
            self.technique = technique
        }
    }

    /// `optimizer:` with PyTorch's defaults.
    public struct Optimizer: Equatable, Sendable {
        public var rule: OptimizerConfiguration.Rule
        public var learningRate = 1e-3
        /// SGD only.
        public var momentum = 0.0
        /// SGD only.
        public var usesNesterov = false
        /// Adam and AdamW only.
        public var beta1 = 0.9
        public var beta2 = 0.999
        /// Adam and AdamW only.
        public var epsilon = 1e-8
        /// L2 for SGD and Adam, decoupled for AdamW; 0.01 for AdamW, 0 for the others.
        public var weightDecay: Double
        /// Whether biases and normalisation layers decay too.
        public var decaysNormalization = true

        public init(rule: OptimizerConfiguration.Rule = .adam) {
            self.rule = rule
            weightDecay = rule == .adamw ? 0.01 : 0
        }
    }

    /// The defaults of `schedule:`.
    enum ScheduleDefaults {
        /// Factor of `step`.
        static let factor = 0.1
        /// Factor at the end of `cosine` and `linear`.
        static let end = 0.0
        /// Factor of the first step of a warm-up.
        static let warmUpStart = 0.1
    }

    /// `run:` how to run; of these, seed, threads and exact convolutions change the result.
    public struct Run: Equatable, Sendable {
        /// The run directory; nil is `runs/NAME`.
        public var output: String?
        public var seed = 0
        public var saveEvery = Interval.epochs(1)
        public var validateEvery = Interval.epochs(1)
        /// Generations of checkpoints kept beside the best one.
        public var keep = 2
        /// Steps between log lines.
        public var logEvery = 10
        /// Threads per rank; nil takes the rank's share of the machine.
        public var threads: Int?
        /// Whether convolutions are direct sums only; see `ConvolutionAlgorithms`.
        public var exactConvolutions = false

        public init() {}
    }

    /// How often something happens.
    public enum Interval: Equatable, Sendable {
        case epochs(Int)
        case steps(Int)
        case minutes(Double)
    }

    /// The run directory.
    public var outputDirectory: String { run.output ?? "runs/\(name)" }
}
