import Foundation
import Glibc

/// A request to stop, made by a signal and read at step boundaries.
///
/// SIGUSR1 asks every process to save and stop. SIGTERM asks a process that stands alone, or one that
/// `srun` started. Under `mpirun` it is left as it is: after a lost rank Open MPI sends it to the
/// survivors, who would wait in a dead all-reduce; `launch/mpirun` turns a SIGTERM sent to itself into
/// SIGUSR1 for all ranks. SIGINT (Ctrl-C) asks a process that stands alone; the second one ends it.
///
/// Signals reach ranks at different moments. So the training loop sums the flags over ranks with the gradients of
/// every step, and stops where the sum is not zero.
///
/// Handlers run on a stack of their own: oneDNN's matrix products of 32-bit floats use the stack pointer for an address
/// in their workspace, and what the kernel writes below it when a signal arrives would destroy the heap.
public enum SignalFlag {
    /// Starts listening; until then signals do what they always do. Again does nothing.
    ///
    /// On the main thread, which is where the system delivers signals to a process.
    public static func install() {
        guard !isInstalled else { return }
        isInstalled = true
        raisedSignal = 0
        provideStack()
        listen(to: SIGUSR1)
        if MPIEnvironment.value("OMPI_COMM_WORLD_SIZE") == nil { listen(to: SIGTERM) }
        if !MPIEnvironment.isLaunched { listen(to: SIGINT, once: true) }
    }

    /// Whether this process has been asked to stop. Local: ranks may differ for some steps.
    public static var isRaised: Bool { raisedSignal != 0 }

    private static func listen(to signal: Int32, once: Bool = false) {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { raisedSignal = $0 }
        // System calls go on where they were: no read or write needs to know about the signal.
        action.sa_flags = SA_RESTART | SA_ONSTACK | (once ? CInt(bitPattern: UInt32(SA_RESETHAND)) : 0)
        sigaction(signal, &action, nil)
    }

    /// Gives this thread a stack for handlers, for as long as the process lives; Swift's backtraces may have given it one.
    private static func provideStack() {
        var stack = stack_t()
        guard sigaltstack(nil, &stack) == 0, stack.ss_flags & CInt(SS_DISABLE) != 0 else { return }
        // All registers of AVX-512 and AMX take 11 kB.
        stack.ss_size = 64 << 10
        stack.ss_sp = UnsafeMutableRawPointer.allocate(byteCount: stack.ss_size, alignment: 16)
        stack.ss_flags = 0
        sigaltstack(&stack, nil)
    }
}

nonisolated(unsafe) private var isInstalled = false
/// Written by the handler, which may do no more than that. One aligned word, so never half written.
nonisolated(unsafe) private var raisedSignal: Int32 = 0
