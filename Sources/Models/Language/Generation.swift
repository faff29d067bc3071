import Foundation
import Layers
import Tensors

/// Continues texts with a language model, token by token.
///
///     let generator = try TextGenerator(network, .init(maximumNewTokens: 40, temperature: 0.8, topK: 50))
///     let continuation = try generator([prompt])
///
/// Keys and values of tokens that were read are kept (`AttentionCache`), so each step computes one position. Texts may
/// grow beyond the positions that the network knows: then each step reads the last ones anew. The same prompts,
/// settings and weights give the same tokens; a prompt gives the same alone and among others, to rounding.
public struct TextGenerator {
    public struct Settings: Equatable, Sendable {
        /// How many tokens are added at most.
        public var maximumNewTokens: Int
        /// What logits are divided by: below 1 favours likely tokens. 0 always takes the likeliest (greedy).
        public var temperature: Float
        /// Only so many of the likeliest tokens are drawn from; nil for all.
        public var topK: Int?
        /// Only the likeliest tokens that together have this probability are drawn from (Holtzman et al. 2020,
        /// https://arxiv.org/abs/1904.09751), in 0...1; nil for all.
        public var topP: Float?
        /// What tokens are drawn with.
        public var seed: UInt64
        /// A text ends with this token, which is not given; nil where none ends it.
        public var stopToken: Int32?
        /// Whether keys and values are kept; without, each step reads the whole text.
        public var usesCache: Bool

        public init(
            maximumNewTokens: Int = 100, temperature: Float = 1, topK: Int? = nil, topP: Float? = nil,
            seed: UInt64 = 0, stopToken: Int32? = nil, usesCache: Bool = true
        ) {
            self.maximumNewTokens = maximumNewTokens
            self.temperature = temperature
            self.topK = topK
            self.topP = topP
            self.seed = seed
            self.stopToken = stopToken
            self.usesCache = usesCache
        }
    }

    /// What was added to each prompt, and how fast.
    public struct Continuation: Equatable, Sendable {
        /// By prompt, the new tokens.
        public internal(set) var tokens: [[Int32]]
        /// Time until the first new tokens, which reads the prompts.
        public internal(set) var promptSeconds = 0.0
        /// Time for all new tokens but the first of each prompt.
        public internal(set) var seconds = 0.0

        /// New tokens of all prompts together in a second, but the first of each; 0 where there is no further one.
        public var tokensPerSecond: Double {
            seconds > 0 ? Double(tokens.reduce(0) { $0 + max(0, $1.count - 1) }) / seconds : 0
        }
    }

    public let settings: Settings
    private let network: Network
    private let input: TokenInput
    private let choice: TokenChoice

    /// - Throws: `ModelError.generatesNothing` where the network is no language model, `.invalidNumber` for settings
    ///   that cannot be.
    public init(_ network: Network, _ settings: Settings = Settings()) throws {
        let architecture = network.architecture
        guard architecture.output == .nextTokens, let input = architecture.tokens else {
            throw ModelError.generatesNothing(architecture: "\(architecture)")
        }
        func check(_ key: String, _ value: Double?, _ expected: String, _ isPossible: (Double) -> Bool) throws {
            guard let value, !isPossible(value) else { return }
            throw ModelError.invalidNumber(
                architecture: architecture.name, key: key, value: String(format: "%g", value), expected: expected)
        }
        try check("maximum new tokens", Double(settings.maximumNewTokens), "0 or more") { $0 >= 0 }
        try check("temperature", Double(settings.temperature), "0 or more") { $0 >= 0 && $0.isFinite }
        try check("top-k", settings.topK.map(Double.init), "1 or more") { $0 >= 1 }
        try check("top-p", settings.topP.map(Double.init), "more than 0 and at most 1") { $0 > 0 && $0 <= 1 }
        (self.network, self.settings, self.input) = (network, settings, input)
        choice = TokenChoice(temperature: settings.temperature, topK: settings.topK, topP: settings.topP)
    }

    /// Continues prompts together.
    ///
    /// - Parameters:
    ///   - prompts: tokens of one or more texts, all of one length.
    ///   - onToken: is given each new token as it is chosen, with the index of its prompt.
    /// - Throws: `ModelError.wrongPrompts`, `LayerError.tokenOutOfRange`, and what `onToken` throws.
    public func callAsFunction(
        _ prompts: [[Int32]], onToken: (_ prompt: Int, _ token: Int32) throws -> Void = { _, _ in }
    ) throws -> Continuation {
        try check(prompts)
        let start = Date()
        let cache = settings.usesCache ? AttentionCache() : nil
        var (texts, isDone) = (prompts, [Bool](repeating: false, count: prompts.count))
        var result = Continuation(tokens: [[Int32]](repeating: [], count: prompts.count))
        for step in 0..<settings.maximumNewTokens where isDone.contains(false) {
            let logits = try withoutTape { try nextLogits(texts, cache) }
            for prompt in prompts.indices {
                let number = PhiloxGenerator(key: key(prompt)).double(at: UInt64(step))
                let token = logits.withScalars {
                    choice.token(UnsafeBufferPointer(rebasing: $0[row(prompt)]), at: number)
                }
                texts[prompt].append(token)
                isDone[prompt] = isDone[prompt] || token == settings.stopToken
                guard !isDone[prompt] else { continue }
                result.tokens[prompt].append(token)
                try onToken(prompt, token)
            }
            if step == 0 { result.promptSeconds = Date().timeIntervalSince(start) }
        }
        result.seconds = Date().timeIntervalSince(start) - result.promptSeconds
        return result
    }

    /// Logits of what follows texts of one length, N×vocabulary.
    private func nextLogits(_ texts: [[Int32]], _ cache: AttentionCache?) throws -> Tensor {
        let length = texts[0].count
        var context = ForwardContext.inference
        var first = max(0, length - input.positions)
        if first == 0, let cache {
            context.cache = cache
            first = cache.length
        }
        let tokens = Tensor(indices: texts.flatMap { $0[first...] }, shape: [texts.count, length - first])
        let stages = network.stages.count
        let features = try network.run(tokens, stages: 0..<stages, context)
        let last = features.sliced(axis: 1, length - first - 1..<length - first)
        return try network(last, context, startingAt: stages).reshaped([texts.count, input.vocabulary])
    }

    private func row(_ prompt: Int) -> Range<Int> {
        prompt * input.vocabulary..<(prompt + 1) * input.vocabulary
    }

    private func key(_ prompt: Int) -> RandomKey {
        RandomKey(seed: settings.seed, purpose: .generation, position: prompt)
    }

    private func check(_ prompts: [[Int32]]) throws {
        guard let first = prompts.first else { throw ModelError.wrongPrompts(reason: "there is none") }
        guard !first.isEmpty else {
            throw ModelError.wrongPrompts(reason: "one is empty; begin with the token that ends a text")
        }
        if let other = prompts.first(where: { $0.count != first.count }) {
            throw ModelError.wrongPrompts(
                reason: "one has \(first.count) tokens, another \(other.count); continue those of one length together")
        }
    }
}

/// How a token is chosen from logits.
package struct TokenChoice: Equatable, Sendable {
    let temperature: Float
    let topK: Int?
    let topP: Float?

    package init(temperature: Float, topK: Int? = nil, topP: Float? = nil) {
        (self.temperature, self.topK, self.topP) = (temperature, topK, topP)
    }

    /// - Parameter number: in 0..<1: where in the probabilities, laid end to end, the choice falls.
    package func token(_ logits: UnsafeBufferPointer<Float>, at number: Double) -> Int32 {
        let best = logits.indices.max { logits[$0] < logits[$1] || (logits[$0] == logits[$1] && $0 > $1) } ?? 0
        guard temperature > 0 else { return Int32(best) }
        let candidates = probabilities(logits, largest: logits[best])
        let total = candidates.reduce(0) { $0 + $1.probability }
        var rest = number * total
        for candidate in candidates {
            rest -= candidate.probability
            if rest < 0 { return Int32(candidate.token) }
        }
        return Int32(candidates.last { $0.probability > 0 }?.token ?? best)
    }

    /// The tokens that may be chosen, by token or from the likeliest on, with what their probabilities are in
    /// proportion to.
    private func probabilities(
        _ logits: UnsafeBufferPointer<Float>, largest: Float
    ) -> [(token: Int, probability: Double)] {
        var threshold = -Float.infinity
        if let topK, topK < logits.count { threshold = logits.sorted(by: >)[topK - 1] }
        var candidates = logits.indices.filter { logits[$0] >= threshold }.map { token in
            (token: token, probability: Foundation.exp(Double(logits[token] - largest) / Double(temperature)))
        }
        guard let topP, topP < 1 else { return candidates }
        candidates.sort { $0.probability > $1.probability || ($0.probability == $1.probability && $0.token < $1.token) }
        let wanted = Double(topP) * candidates.reduce(0) { $0 + $1.probability }
        var (sum, count) = (0.0, 0)
        while count < candidates.count, sum < wanted {
            sum += candidates[count].probability
            count += 1
        }
        return Array(candidates.prefix(max(1, count)))
    }
}

extension PhiloxGenerator {
    /// The `index`-th number of the stream, a multiple of 2⁻⁵³ in [0, 1).
    fileprivate func double(at index: UInt64) -> Double {
        let (high, low) = (UInt64(word(at: 2 * index)), UInt64(word(at: 2 * index + 1)))
        return Double((high << 32 | low) >> 11) * 0x1p-53
    }
}
