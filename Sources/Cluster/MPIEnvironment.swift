import Foundation
import Glibc

/// What the process that started this one has told it.
public enum MPIEnvironment {
    /// Whether a launcher that speaks MPI (`mpirun`, `srun --mpi=pmix`) started this process.
    public static var isLaunched: Bool {
        value("OMPI_COMM_WORLD_SIZE") != nil || value("PMIX_RANK") != nil
    }

    /// Ranks of the job as the launcher counts, known before MPI has started.
    public static var worldSize: Int {
        guard isLaunched else { return 1 }
        let ranks = number("OMPI_COMM_WORLD_SIZE") ?? number("SLURM_STEP_NUM_TASKS") ?? number("SLURM_NTASKS")
        return max(1, ranks ?? 1)
    }

    /// Ranks on this host.
    public static var localRanks: Int {
        if let ranks = number("OMPI_COMM_WORLD_LOCAL_SIZE") { return max(1, ranks) }
        guard isLaunched else { return 1 }
        // srun: "2(x3),1" counts tasks per node; the first entry is right unless nodes differ.
        let first = value("SLURM_STEP_TASKS_PER_NODE")?.prefix { $0.isNumber }
        return max(1, first.flatMap { Int($0) } ?? 1)
    }

    /// Rank as the launcher counts, known before MPI has started.
    public static var rank: Int {
        number("OMPI_COMM_WORLD_RANK") ?? number("PMIX_RANK") ?? 0
    }

    /// Whether `mpirun` has given this rank cores of its own.
    static var isBound: Bool { value("OMPI_MCA_orte_bound_at_launch") == "1" }

    /// Whether `launch/mpirun` reads this process's standard error.
    static var hasSupervisor: Bool { value("GRAFT_SUPERVISED") != nil }

    /// Whether a person reads what this program prints. Under `mpirun` every rank writes to a pipe or a
    /// pseudo-terminal of Open MPI's, so `launch/mpirun` says what its own output is.
    public static var outputIsTerminal: Bool {
        if let told = value("GRAFT_TERMINAL") { return told == "1" }
        return isLaunched ? false : isatty(STDOUT_FILENO) == 1
    }

    /// Sets what Open MPI reads when it starts; a variable that is already set stays.
    static func prepare() {
        // The ring sums the same way on every rank and moves the least bytes; Debian's default reduces
        // to one rank and broadcasts, which takes 1.5 times as long between hosts.
        set("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "1")
        // Child processes (the reader of foreign HDF5 files) do not use MPI.
        set("OMPI_MCA_mpi_warn_on_fork", "0")
        set("OMPI_MCA_btl_base_warn_component_unused", "0")
        // Containers without the right to read another process's memory: copy twice instead of printing
        // an error for every message.
        if !canReadProcessMemory { set("OMPI_MCA_btl_vader_single_copy_mechanism", "none") }
    }

    private typealias ReadMemory =
        @convention(c) (
            pid_t, UnsafePointer<iovec>, UInt, UnsafePointer<iovec>, UInt, UInt
        ) -> Int

    /// Tries `process_vm_readv` (which the Swift import of glibc leaves out) on this process: security
    /// filters of containers refuse even that.
    private static var canReadProcessMemory: Bool {
        guard let symbol = dlsym(nil, "process_vm_readv") else { return false }
        let readMemory = unsafeBitCast(symbol, to: ReadMemory.self)
        var source = 1
        var target = 0
        return withUnsafeMutablePointer(to: &source) { source in
            withUnsafeMutablePointer(to: &target) { target in
                var local = iovec(iov_base: target, iov_len: MemoryLayout<Int>.size)
                var remote = iovec(iov_base: source, iov_len: MemoryLayout<Int>.size)
                return readMemory(getpid(), &local, 1, &remote, 1, 0) > 0
            }
        }
    }

    static func value(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        return String(cString: value)
    }

    static func number(_ name: String) -> Int? { value(name).flatMap { Int($0) } }

    private static func set(_ name: String, _ value: String) { setenv(name, value, 0) }
}
