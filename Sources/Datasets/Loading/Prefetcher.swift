import Foundation

/// Loads batches ahead on background threads and hands them over in order.
///
/// At most `depth` batches are decoded or being decoded beyond those handed over, so memory is bounded. Threads
/// sleep while there is nothing to do. An error comes out where its batch would have, and ends the
/// sequence. One thread consumes.
public final class Prefetcher {
    private let state: PrefetchState

    /// Starts loading at once.
    ///
    /// - Parameters:
    ///   - requests: what to load, asked for one at a time as room becomes free.
    ///   - threads: how many decode at the same time.
    ///   - depth: how many batches may be ahead; at least `threads` to keep all of them busy.
    public init(
        _ loader: any BatchSource, requests: some Sequence<BatchRequest>, threads: Int = 1, depth: Int? = nil
    ) {
        let threads = max(threads, 1)
        state = PrefetchState(loader: loader, requests: requests, depth: max(depth ?? threads + 1, 1))
        for number in 0..<threads {
            let thread = Thread { [state] in state.work() }
            thread.name = "graft-data-\(number)"
            thread.start()
        }
    }

    deinit { cancel() }

    /// The next batch, nil after the last.
    /// - Throws: what loading it threw; afterwards the same again.
    public func next() throws -> Batch? { try state.next() }

    /// Seconds that `next()` has waited so far for batches that were not ready.
    public var secondsWaiting: Double { state.secondsWaiting }

    /// How many broken samples have been left out of the batches handed over so far.
    public var skippedCount: Int { state.skippedCount }

    /// Stops loading; batches under way are finished and dropped. `next()` then returns nil.
    public func cancel() { state.cancel() }
}

/// What the threads share. They hold this, not the prefetcher, so that dropping the prefetcher ends them.
private final class PrefetchState: @unchecked Sendable {
    private let loader: any BatchSource
    private let depth: Int
    private let condition = NSCondition()
    // All below is guarded by `condition`.
    private var requests: any IteratorProtocol<BatchRequest>
    private var isExhausted = false
    private var isCancelled = false
    private var failure: Error?
    /// How many requests have been taken, and how many batches handed over.
    private var taken = 0
    private var delivered = 0
    private var ready: [Int: Result<Batch, Error>] = [:]
    private var waited = 0.0
    private var skipped = 0

    init(loader: any BatchSource, requests: some Sequence<BatchRequest>, depth: Int) {
        self.loader = loader
        self.requests = requests.makeIterator()
        self.depth = depth
    }

    var secondsWaiting: Double { condition.withLock { waited } }
    var skippedCount: Int { condition.withLock { skipped } }

    func cancel() {
        condition.withLock {
            isCancelled = true
            ready = [:]
            condition.broadcast()
        }
    }

    func next() throws -> Batch? {
        condition.lock()
        defer { condition.unlock() }
        var start: UInt64?
        while true {
            if let failure { throw failure }
            if isCancelled { return nil }
            if let result = ready.removeValue(forKey: delivered) {
                if let start { waited += Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9 }
                return try deliver(result)
            }
            if isExhausted && delivered == taken { return nil }
            if start == nil { start = DispatchTime.now().uptimeNanoseconds }
            condition.wait()
        }
    }

    private func deliver(_ result: Result<Batch, Error>) throws -> Batch {
        delivered += 1
        condition.broadcast()
        switch result {
        case .success(let batch):
            skipped += batch.skipped.count
            return batch
        case .failure(let error):
            failure = error
            throw error
        }
    }

    /// A thread's life: take a request, load it, put it in its place.
    func work() {
        while let (number, request) = take() {
            let result = Result { try loader.load(request) }
            condition.withLock {
                if !isCancelled { ready[number] = result }
                condition.broadcast()
            }
        }
    }

    private func take() -> (Int, BatchRequest)? {
        condition.lock()
        defer { condition.unlock() }
        while !isCancelled && failure == nil && !isExhausted {
            if taken - delivered >= depth {
                condition.wait()
                continue
            }
            guard let request = requests.next() else {
                isExhausted = true
                condition.broadcast()
                return nil
            }
            taken += 1
            return (taken - 1, request)
        }
        return nil
    }
}
