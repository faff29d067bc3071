import COpenMPI
import Collectives

/// The MPI requests of one operation (one per chunk), in memory that stays where it is.
final class MPIRequests {
    private var handles: UnsafeMutableBufferPointer<MPI_Request?> = .init(start: nil, count: 0)
    private(set) var count = 0

    /// Starts one non-blocking call, which stores its request where it is told.
    func add(_ name: String, _ start: (UnsafeMutablePointer<MPI_Request?>) -> CInt) throws {
        if count == handles.count { grow() }
        guard let base = handles.baseAddress else { return }
        try check(name, start(base + count))
        count += 1
    }

    /// Lets MPI advance and says whether all requests have finished.
    func test() throws -> Bool {
        guard count > 0 else { return true }
        var flag: CInt = 0
        try check(
            "MPI_Testall",
            MPI_Testall(CInt(count), handles.baseAddress, &flag, graft_MPI_STATUSES_IGNORE()))
        return flag != 0
    }

    /// MPI does not look at the handles between calls, so they may move.
    private func grow() {
        let larger = UnsafeMutableBufferPointer<MPI_Request?>.allocate(capacity: max(1, 2 * handles.count))
        larger.initialize(repeating: graft_MPI_REQUEST_NULL())
        for index in 0..<count { larger[index] = handles[index] }
        handles.deallocate()
        handles = larger
    }

    deinit { handles.deallocate() }
}

/// A sum over all ranks under way.
final class MPIReduction: PendingReduction {
    private let requests: MPIRequests
    private let elements: Int
    private unowned let owner: MPICollectives
    private var isFinished = false
    private var failure: Error?

    init(_ requests: MPIRequests, elements: Int, owner: MPICollectives) {
        self.requests = requests
        self.elements = elements
        self.owner = owner
    }

    /// Like `test`, but keeps an error for later; used where nothing can be thrown.
    func poll() -> Bool {
        do {
            if !isFinished { isFinished = try requests.test() }
        } catch {
            failure = error
            isFinished = true
        }
        return isFinished
    }

    func test() throws -> Bool {
        owner.assertTrainingThread()
        guard poll() else { return false }
        owner.forget(self)
        if let failure { throw failure }
        return true
    }

    func wait() throws {
        owner.assertTrainingThread()
        owner.forget(self)
        if let failure { throw failure }
        // Also when it has finished already, so that all ranks count the same operations.
        try owner.finish(requests) { "sum of a bucket of \(elements) gradients" }
        isFinished = true
    }
}
