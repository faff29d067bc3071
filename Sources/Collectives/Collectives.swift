/// What ranks can do together. Every method is collective unless it says otherwise: all ranks call
/// it, in the same order, with buffers of the same size.
///
/// `SingleProcess` is the cluster of one; the MPI version lives in the target `Cluster`. Calls come
/// from one thread at a time.
public protocol Collectives: AnyObject {
    /// This process's number, from 0; rank 0 is also the coordinator.
    var rank: Int { get }
    /// How many processes there are.
    var worldSize: Int { get }

    /// Replaces `values` by their sums over all ranks, the same bits on every rank.
    func allReduceSum(_ values: UnsafeMutableBufferPointer<Float>) throws
    /// Replaces `values` by their sums over all ranks, the same bits on every rank.
    func allReduceSum(_ values: UnsafeMutableBufferPointer<Double>) throws
    /// Starts summing `values` over all ranks, in place; the caller keeps the memory alive and
    /// untouched until the reduction has finished.
    func startAllReduceSum(_ values: UnsafeMutableBufferPointer<Float>) throws -> PendingReduction
    /// Lets reductions under way advance. Local, cheap, called from inside long computations.
    func progress()

    /// Overwrites `bytes` on every rank with those of rank `root`.
    func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws
    /// Collects one message of any length from each rank, in rank order, at `root`; empty elsewhere.
    func gather(_ bytes: [UInt8], at root: Int) throws -> [[UInt8]]
    /// Collects one message of any length from each rank, in rank order, on every rank.
    func allGather(_ bytes: [UInt8]) throws -> [[UInt8]]

    /// Sends a message to one rank, which calls `receive`. Not collective.
    func send(_ bytes: UnsafeRawBufferPointer, to rank: Int, tag: Int) throws
    /// Waits for a message from one rank. Not collective.
    func receive(from rank: Int, tag: Int) throws -> [UInt8]

    /// Ends a phase in which ranks may fail alone: if any rank passes an error, every rank throws
    /// the one of the lowest such rank, as a `RankFailure`.
    func agree(_ localError: Error?) throws
    /// Returns when every rank has arrived.
    func barrier() throws
}

/// A reduction under way.
public protocol PendingReduction: AnyObject {
    /// Whether the sums are there; lets the reduction advance.
    func test() throws -> Bool
    /// Returns when the sums are there.
    func wait() throws
}
