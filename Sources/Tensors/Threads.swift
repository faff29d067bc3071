import CKernels

/// The threads that operations compute with: one OpenMP team, shared with oneDNN and OpenBLAS.
public enum Threads {
    /// How many threads operations use from now on in the calling thread.
    public static var count: Int {
        get { Int(omp_get_max_threads()) }
        set { omp_set_num_threads(Int32(max(1, newValue))) }
    }

    /// Calls `body` with ranges that together cover `0..<count`, one per thread, at the same time; with all of it where
    /// a thread of a team calls this.
    ///
    /// - Parameter grain: the least number of items worth a thread of their own.
    package static func parallelFor(count: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
        let threads = min(self.count, max(1, count / max(1, grain)))
        guard threads > 1, omp_in_parallel() == 0 else {
            if count > 0 { body(0..<count) }
            return
        }
        withoutActuallyEscaping(body) { body in
            let team = Team(count: count, body: body)
            GOMP_parallel(
                { context in
                    guard let context else { return }
                    let team = Unmanaged<Team>.fromOpaque(context).takeUnretainedValue()
                    team.runShare(Int(omp_get_thread_num()), of: Int(omp_get_num_threads()))
                }, Unmanaged.passUnretained(team).toOpaque(), UInt32(threads), 0)
            withExtendedLifetime(team) {}
        }
    }

    private final class Team {
        let count: Int
        let body: (Range<Int>) -> Void

        init(count: Int, body: @escaping (Range<Int>) -> Void) {
            self.count = count
            self.body = body
        }

        func runShare(_ thread: Int, of threads: Int) {
            let share = count * thread / threads..<count * (thread + 1) / threads
            if !share.isEmpty { body(share) }
        }
    }
}
