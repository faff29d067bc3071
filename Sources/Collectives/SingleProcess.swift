/// The cluster of one: every sum is the value itself, every broadcast is already there.
public final class SingleProcess: Collectives {
    public let rank = 0
    public let worldSize = 1

    /// Messages this process has sent to itself, by tag.
    private var mailbox: [Int: [[UInt8]]] = [:]

    public init() {}

    public func allReduceSum(_ values: UnsafeMutableBufferPointer<Float>) throws {}
    public func allReduceSum(_ values: UnsafeMutableBufferPointer<Double>) throws {}
    public func startAllReduceSum(_ values: UnsafeMutableBufferPointer<Float>) throws -> PendingReduction {
        FinishedReduction()
    }
    public func progress() {}
    public func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws {}
    public func gather(_ bytes: [UInt8], at root: Int) throws -> [[UInt8]] { [bytes] }
    public func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] { [bytes] }

    public func send(_ bytes: UnsafeRawBufferPointer, to rank: Int, tag: Int) throws {
        mailbox[tag, default: []].append([UInt8](bytes))
    }

    public func receive(from rank: Int, tag: Int) throws -> [UInt8] {
        guard let message = mailbox[tag]?.first else {
            throw RankFailure(
                rank: 0, message: "nothing was sent with tag \(tag) in a cluster of one", exitCode: .cluster)
        }
        mailbox[tag]?.removeFirst()
        return message
    }

    public func agree(_ localError: Error?) throws {
        if let localError { throw localError }
    }
    public func barrier() throws {}
}

private final class FinishedReduction: PendingReduction {
    func test() throws -> Bool { true }
    func wait() throws {}
}
