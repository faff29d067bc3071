import ArgumentParser
import Cluster
import Datasets
import Foundation
import Models
import Tensors

/// `graft generate`: a language model goes on with a text.
struct Generate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Let a language model go on with a text.",
        discussion: """
            Token by token, with the tokenizer that the weights bring with them:

              graft generate --weights runs/a/weights.h5 --prompt "ROMEO:" --tokens 200
              graft generate --weights gpt2 --prompt "Once" --temperature 0 --json
              graft generate --weights w.h5 --prompt "A" --top-k 40 --top-p 0.9 --seed 7

            --temperature divides the logits: below 1 favours likely tokens, and 0 takes
            the likeliest. --top-k draws from the so many likeliest, --top-p from the
            likeliest that together have this probability. The same weights, prompt and
            settings give the same text. Without a prompt, the text begins with the token
            that the tokenizer begins texts with.
            """)

    @OptionGroup var weightOptions: WeightOptions

    @Option(help: "What to go on with.")
    var prompt = ""

    @Option(help: ArgumentHelp("How many tokens to add at most.", valueName: "count"))
    var tokens = 100

    @Option(help: "What logits are divided by; 0 always takes the likeliest token.")
    var temperature: Float = 1

    @Option(help: ArgumentHelp("Draw from the so many likeliest tokens only.", valueName: "count"))
    var topK: Int?

    @Option(help: ArgumentHelp("Draw from the likeliest tokens that have this probability.", valueName: "part"))
    var topP: Float?

    @Option(help: "Of the random choice.")
    var seed: UInt64 = 0

    @Option(help: ArgumentHelp("How many continuations to make.", valueName: "count"))
    var count = 1

    @Option(help: "Threads (default: one per core).")
    var threads: Int?

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func validate() throws {
        if count < 1 { throw ValidationError("--count \(count) is not possible; give 1 or more") }
        if let threads, threads < 1 { throw ValidationError("--threads \(threads) is not possible; give 1 or more") }
    }

    private struct Answer: Encodable {
        let prompt: String
        /// What follows the prompt.
        let texts: [String]
        let tokens: [[Int32]]
        let tokensPerSecond: Double
    }

    func run() throws {
        let plan = ThreadPlan.prepareProcess(requestedThreads: threads)
        Threads.count = plan.threads
        let trained = try TrainedNetwork(weightOptions)
        guard case .texts(let input) = trained.input, input.labels == .nextTokens else {
            throw CommandError.cannotAnswer(
                path: trained.path, output: "\(trained.network.architecture.output.rawValue), not the next token",
                remedy: "generate wants a language model")
        }
        let tokenizer = input.tokenizer
        let generator = try TextGenerator(
            trained.network,
            TextGenerator.Settings(
                maximumNewTokens: tokens, temperature: temperature, topK: topK, topP: topP, seed: seed,
                stopToken: tokenizer.separatorToken))
        var start = try tokenizer.encode(prompt, addingSpecialTokens: false).tokens
        if start.isEmpty, let begin = tokenizer.beginToken { start = [begin] }
        guard !start.isEmpty else {
            throw ValidationError("--prompt is empty, and the tokenizer has no token to begin with")
        }
        let result = try generator([[Int32]](repeating: start, count: count))
        let texts = result.tokens.map { new -> String in
            // Together with the prompt: a character may be divided between them.
            let (before, whole) = (tokenizer.decode(start), tokenizer.decode(start + new))
            return whole.hasPrefix(before) ? String(whole.dropFirst(before.count)) : tokenizer.decode(new)
        }
        if json {
            return try Output.json(
                Answer(
                    prompt: prompt, texts: texts, tokens: result.tokens, tokensPerSecond: result.tokensPerSecond))
        }
        for text in texts { print(prompt + text) }
    }
}
