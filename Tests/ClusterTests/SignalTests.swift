import Cluster
import Foundation
import Glibc
import Tensors
import XCTest

/// What a signal may interrupt: anything, matrix products too.
final class SignalTests: XCTestCase {
    /// oneDNN's kernels use the stack pointer for something else: a handler on the usual stack ends in a destroyed heap.
    func testSignalsDoNotDisturbMatrixProducts() throws {
        SignalFlag.install()
        defer { for number in [SIGUSR1, SIGTERM, SIGINT] { signal(number, SIG_DFL) } }
        var action = sigaction()
        XCTAssertEqual(sigaction(SIGUSR1, nil, &action), 0)
        XCTAssertNotEqual(action.sa_flags & SA_ONSTACK, 0)

        let products = [(400, 384, 384), (384, 1536, 400), (25, 32, 25), (384, 384, 25)].map { m, n, k in
            (
                Tensor((0..<m * k).map { Float($0 % 13) - 6 }, shape: [m, k]),
                Tensor((0..<k * n).map { Float($0 % 11) - 5 }, shape: [k, n])
            )
        }
        func run() -> [[Float]] { products.map { matmul($0, $1).scalars } }
        let expected = run()
        let thread = pthread_self()
        let (sent, isOver) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        Thread.detachNewThread {
            for _ in 0..<2_000 {
                pthread_kill(thread, SIGUSR1)
                usleep(300)
            }
            isOver.signal()
            sent.signal()
        }
        var rounds = 0
        while isOver.wait(timeout: .now()) == .timedOut {
            XCTAssertTrue(run() == expected, "round \(rounds)")
            rounds += 1
        }
        sent.wait()
        XCTAssertTrue(SignalFlag.isRaised)
        XCTAssertGreaterThan(rounds, 3)
    }
}
