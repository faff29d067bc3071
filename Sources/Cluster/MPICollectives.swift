import COpenMPI
import Collectives
import Foundation

/// `Collectives` over Open MPI.
///
/// All MPI calls come from the thread that created this object (the training thread): MPI is
/// initialised with `MPI_THREAD_FUNNELED`, and a debug build traps a call from another thread.
///
/// Reductions that overlap with computing run on one communicator, everything else on a second one, so
/// that a small vector (denominators, a stop flag) can be summed while gradient buckets are under way.
/// On each of the two, all ranks call the same operations in the same order with the same sizes.
///
/// Every operation is a non-blocking one that is polled until it has finished: Open MPI advances
/// transfers only inside its own calls, a polled wait gives its core to others when it becomes long,
/// and a wait of more than `patience` seconds is reported with the ranks that are missing.
///
/// Sums have the same bits on every rank, and in every run with the same number of ranks: the algorithm
/// (a ring) is fixed by name before MPI starts, never chosen by a timing.
public final class MPICollectives: Collectives {
    public let rank: Int
    public let worldSize: Int
    /// Name of the host of each rank.
    public let hostNames: [String]
    /// What the program is doing, for the message about a long wait ("loading weights").
    public var phase: String = ""

    /// Elements or bytes per MPI call; longer arrays go in several. MPI counts with 32 bits.
    let chunk: Int
    let control: MPI_Comm
    let gradients: MPI_Comm
    let rollCall: RollCall
    private let thread = pthread_self()
    private var underWay: [MPIReduction] = []
    private var lastProgress: UInt64 = 0
    /// What this rank has sent to itself: MPI would wait for somebody to receive it.
    private let mailbox = SingleProcess()
    /// How many operations this rank has waited for; the same on all ranks that are in step.
    private(set) var operations = 0

    /// Initialises MPI. Collective over all processes of the job, once per process.
    ///
    /// - Parameters:
    ///   - chunk: the most elements given to one MPI call.
    ///   - patience: seconds after which a wait is reported on standard error.
    /// - Throws: `ClusterError` when MPI cannot be initialised.
    public init(chunk: Int = 1 << 28, patience: Double = 30) throws {
        precondition(chunk > 0 && chunk <= Int(Int32.max))
        MPIEnvironment.prepare()
        let wanted = CInt(MPI_THREAD_FUNNELED)
        var granted: CInt = 0
        try check("MPI_Init_thread", MPI_Init_thread(nil, nil, wanted, &granted))
        guard granted >= wanted else {
            throw ClusterError.cannotJoin(reason: "MPI offers no thread support (level \(granted))")
        }
        let world = graft_MPI_COMM_WORLD()
        try check("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(world, graft_MPI_ERRORS_RETURN()))
        var rank: CInt = 0
        var worldSize: CInt = 0
        try check("MPI_Comm_rank", MPI_Comm_rank(world, &rank))
        try check("MPI_Comm_size", MPI_Comm_size(world, &worldSize))
        self.rank = Int(rank)
        self.worldSize = Int(worldSize)
        self.chunk = chunk
        self.control = try Self.duplicate(world)
        self.gradients = try Self.duplicate(world)
        self.hostNames = try Self.collectHostNames(control, worldSize: Int(worldSize))
        self.rollCall = RollCall(
            communicator: try Self.duplicate(world), rank: Int(rank), hostNames: hostNames, patience: patience)
    }

    // MARK: Sums

    public func allReduceSum(_ values: UnsafeMutableBufferPointer<Float>) throws {
        try sum(UnsafeMutableRawBufferPointer(values), of: graft_MPI_FLOAT(), count: values.count)
    }

    public func allReduceSum(_ values: UnsafeMutableBufferPointer<Double>) throws {
        try sum(UnsafeMutableRawBufferPointer(values), of: graft_MPI_DOUBLE(), count: values.count)
    }

    public func startAllReduceSum(_ values: UnsafeMutableBufferPointer<Float>) throws -> PendingReduction {
        assertTrainingThread()
        let requests = MPIRequests()
        try forEachChunk(of: values.count) { offset, count in
            try requests.add("MPI_Iallreduce") {
                MPI_Iallreduce(
                    graft_MPI_IN_PLACE(), values.baseAddress.map { $0 + offset }, count, graft_MPI_FLOAT(),
                    graft_MPI_SUM(), gradients, $0)
            }
        }
        let reduction = MPIReduction(requests, elements: values.count, owner: self)
        underWay.append(reduction)
        return reduction
    }

    /// Asks MPI, at most every 50 microseconds, to advance the reductions under way. An error it meets is
    /// thrown by the `wait()` of the reduction.
    public func progress() {
        guard !underWay.isEmpty else { return }
        let now = DispatchTime.now().uptimeNanoseconds
        guard now &- lastProgress > 50_000 else { return }
        lastProgress = now
        assertTrainingThread()
        // One test advances all; only the oldest can be asked about without waiting for younger ones.
        while let oldest = underWay.first, oldest.poll() { underWay.removeFirst() }
    }

    /// Reductions that `progress` and the waits have not seen finished; asks MPI nothing.
    package var reductionsUnderWay: Int { underWay.count }

    // MARK: Moving bytes

    public func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws {
        assertTrainingThread()
        let requests = MPIRequests()
        try forEachChunk(of: bytes.count) { offset, count in
            try requests.add("MPI_Ibcast") {
                MPI_Ibcast(bytes.baseAddress.map { $0 + offset }, count, graft_MPI_BYTE(), CInt(root), control, $0)
            }
        }
        try finish(requests) { "broadcast of \(bytes.count) bytes from rank \(root)" }
    }

    public func gather(_ bytes: [UInt8], at root: Int) throws -> [[UInt8]] {
        guard rank == root else {
            try bytes.withUnsafeBytes { try send($0, to: root, tag: Self.gatherTag) }
            return []
        }
        return try (0..<worldSize).map { sender in
            sender == rank ? bytes : try receive(from: sender, tag: Self.gatherTag)
        }
    }

    public func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        var lengths = [Int64](repeating: 0, count: worldSize)
        lengths[rank] = Int64(bytes.count)
        try gatherInPlace(&lengths)
        return try lengths.enumerated().map { sender, length in
            var message = sender == rank ? bytes : [UInt8](repeating: 0, count: Int(length))
            if length > 0 { try message.withUnsafeMutableBytes { try broadcast($0, from: sender) } }
            return message
        }
    }

    /// Sends the length, then the bytes in chunks. Returns when `bytes` may be changed; long messages
    /// wait until the other rank receives.
    public func send(_ bytes: UnsafeRawBufferPointer, to receiver: Int, tag: Int) throws {
        assertTrainingThread()
        if receiver == rank { return try mailbox.send(bytes, to: rank, tag: tag) }
        let requests = MPIRequests()
        var length = Int64(bytes.count)
        try withUnsafeMutablePointer(to: &length) { length in
            try requests.add("MPI_Isend") {
                MPI_Isend(length, 1, graft_MPI_INT64(), CInt(receiver), CInt(tag), control, $0)
            }
            try forEachChunk(of: bytes.count) { offset, count in
                try requests.add("MPI_Isend") {
                    MPI_Isend(
                        bytes.baseAddress.map { $0 + offset }, count, graft_MPI_BYTE(), CInt(receiver), CInt(tag),
                        control,
                        $0)
                }
            }
            try finishAlone(requests) { "sending \(bytes.count) bytes to rank \(receiver)" }
        }
    }

    public func receive(from sender: Int, tag: Int) throws -> [UInt8] {
        assertTrainingThread()
        if sender == rank { return try mailbox.receive(from: rank, tag: tag) }
        var length: Int64 = 0
        try withUnsafeMutablePointer(to: &length) { length in
            let request = MPIRequests()
            try request.add("MPI_Irecv") {
                MPI_Irecv(length, 1, graft_MPI_INT64(), CInt(sender), CInt(tag), control, $0)
            }
            try finishAlone(request) { "a message from rank \(sender)" }
        }
        guard length >= 0 else {
            throw ClusterError.sizeMismatch(name: "receive", rank: sender, expected: 0, actual: Int(length))
        }
        var message = [UInt8](repeating: 0, count: Int(length))
        try message.withUnsafeMutableBytes { bytes in
            let requests = MPIRequests()
            try forEachChunk(of: bytes.count) { offset, count in
                try requests.add("MPI_Irecv") {
                    MPI_Irecv(
                        bytes.baseAddress.map { $0 + offset }, count, graft_MPI_BYTE(), CInt(sender), CInt(tag),
                        control, $0)
                }
            }
            try finishAlone(requests) { "\(bytes.count) bytes from rank \(sender)" }
        }
        return message
    }

    // MARK: Agreement

    /// Costs one reduction of eight bytes when nothing failed.
    public func agree(_ localError: Error?) throws {
        assertTrainingThread()
        var lowest = Int64(localError == nil ? worldSize : rank)
        try withUnsafeMutablePointer(to: &lowest) { lowest in
            let request = MPIRequests()
            try request.add("MPI_Iallreduce") {
                MPI_Iallreduce(
                    graft_MPI_IN_PLACE(), lowest, 1, graft_MPI_INT64(), graft_MPI_MIN(), control, $0)
            }
            try finish(request) { "agreement that no rank has failed" }
        }
        guard lowest < worldSize else { return }
        throw try share(localError, of: Int(lowest))
    }

    public func barrier() throws {
        assertTrainingThread()
        let request = MPIRequests()
        try request.add("MPI_Ibarrier") { MPI_Ibarrier(control, $0) }
        try finish(request) { "barrier" }
    }

    /// Ends MPI. Collective; nothing may be called afterwards.
    public func finalize() throws {
        try barrier()
        try rollCall.drain()
        try check("MPI_Finalize", MPI_Finalize())
    }

    // MARK: Parts

    /// Above every tag a caller may use.
    private static let gatherTag = 1 << 20

    private func sum(_ bytes: UnsafeMutableRawBufferPointer, of type: MPI_Datatype, count: Int) throws {
        assertTrainingThread()
        let stride = count == 0 ? 0 : bytes.count / count
        let requests = MPIRequests()
        try forEachChunk(of: count) { offset, length in
            try requests.add("MPI_Iallreduce") {
                MPI_Iallreduce(
                    graft_MPI_IN_PLACE(), bytes.baseAddress.map { $0 + offset * stride }, length, type, graft_MPI_SUM(),
                    control, $0)
            }
        }
        try finish(requests) { "sum of \(count) numbers" }
    }

    private func gatherInPlace(_ values: inout [Int64]) throws {
        try values.withUnsafeMutableBufferPointer { values in
            let request = MPIRequests()
            try request.add("MPI_Iallgather") {
                MPI_Iallgather(
                    graft_MPI_IN_PLACE(), 0, graft_MPI_INT64(), values.baseAddress, 1, graft_MPI_INT64(),
                    control, $0)
            }
            try finish(request) { "gathering of \(values.count) lengths" }
        }
    }

    /// The failure of rank `failed`, known to all ranks afterwards.
    private func share(_ localError: Error?, of failed: Int) throws -> RankFailure {
        var message: [UInt8] = []
        if rank == failed, let localError {
            let failure = localError as? RankFailure ?? RankFailure(rank: rank, error: localError)
            message = [UInt8](try JSONEncoder().encode(failure))
        }
        var length = Int64(message.count)
        try withUnsafeMutableBytes(of: &length) { try broadcast($0, from: failed) }
        if rank != failed { message = [UInt8](repeating: 0, count: Int(length)) }
        try message.withUnsafeMutableBytes { try broadcast($0, from: failed) }
        return try JSONDecoder().decode(RankFailure.self, from: Data(message))
    }

    /// Calls `body` with the offset and the length of each piece of `count` elements.
    private func forEachChunk(of count: Int, _ body: (Int, CInt) throws -> Void) throws {
        var offset = 0
        while offset < count {
            let length = min(chunk, count - offset)
            guard let exact = CInt(exactly: length) else {
                throw ClusterError.count(name: "chunk", count: length)
            }
            try body(offset, exact)
            offset += length
        }
    }

    /// Waits for a collective operation.
    func finish(_ requests: MPIRequests, _ what: () -> String) throws {
        operations += 1
        try rollCall.wait(for: requests, operation: operations, phase: phase, collective: true, what)
    }

    /// Waits for an operation between two ranks, which the others take no part in.
    private func finishAlone(_ requests: MPIRequests, _ what: () -> String) throws {
        try rollCall.wait(for: requests, operation: operations, phase: phase, collective: false, what)
    }

    func forget(_ reduction: MPIReduction) {
        underWay.removeAll { $0 === reduction }
    }

    func assertTrainingThread() {
        assert(pthread_equal(thread, pthread_self()) != 0, "MPI was called from another thread than it was started on")
    }

    private static func duplicate(_ communicator: MPI_Comm?) throws -> MPI_Comm {
        var copy: MPI_Comm?
        try check("MPI_Comm_dup", MPI_Comm_dup(communicator, &copy))
        guard let copy else { throw ClusterError.cannotJoin(reason: "MPI_Comm_dup gave nothing") }
        try check("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(copy, graft_MPI_ERRORS_RETURN()))
        return copy
    }

    private static func collectHostNames(_ communicator: MPI_Comm, worldSize: Int) throws -> [String] {
        let width = 64
        var own = [CChar](repeating: 0, count: width)
        gethostname(&own, width - 1)
        var all = [CChar](repeating: 0, count: width * worldSize)
        try check(
            "MPI_Allgather",
            MPI_Allgather(
                own, CInt(width), graft_MPI_BYTE(), &all, CInt(width), graft_MPI_BYTE(), communicator))
        return (0..<worldSize).map { rank in
            let name = all[rank * width..<(rank + 1) * width].prefix { $0 != 0 }
            return String(decoding: name.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}

/// Throws when an MPI call did not succeed; every call goes through here.
func check(_ name: String, _ code: CInt) throws {
    guard code != MPI_SUCCESS else { return }
    var text = [CChar](repeating: 0, count: Int(MPI_MAX_ERROR_STRING) + 1)
    var length: CInt = 0
    MPI_Error_string(code, &text, &length)
    let message = String(decoding: text.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    throw ClusterError.call(name: name, code: Int(code), text: message)
}
