import XCTest

/// Ranks on several hosts, which are network namespaces, and under a scheduler on this machine.
final class SeveralHostsTests: XCTestCase {
    private let virtual = Launch.packageRoot.appendingPathComponent("cluster/virtual").path
    private let slurm = Launch.packageRoot.appendingPathComponent("cluster/slurm").path

    private func command(_ arguments: [String]) throws -> Outcome {
        try Launch(
            ["/bin/bash"] + arguments, environment: ["GRAFT_VIRTUAL_NAME": "gt\(getpid())"]
        ).finish()
    }

    func testVirtualHosts() throws {
        try XCTSkipUnless(getuid() == 0, "virtual hosts need root")
        let made = try command([virtual, "up", "2", "1gbit"])
        defer { _ = try? command([virtual, "down"]) }
        try XCTSkipUnless(made.code == 0, "no virtual hosts here: \(made.errors)")

        let collectives = try command([virtual, "run", "-np", "2", Launch.check, "collectives"])
        XCTAssertEqual(collectives.code, 0, collectives.errors)
        XCTAssertEqual(collectives.output, "collectives agree on 2 ranks\n")

        let thrown = try command([virtual, "run", "-np", "2", Launch.check, "throw", "1"])
        XCTAssertEqual(thrown.code, 3)
        XCTAssertEqual(thrown.errors, "graft: rank 1: weights.h5: truncated\n")
        XCTAssertLessThan(thrown.seconds, 10)

        let killed = try command([virtual, "run", "-np", "2", Launch.check, "kill", "1", "9"])
        XCTAssertEqual(killed.code, 5)
        XCTAssertTrue(
            killed.errors.hasPrefix("graft: rank 1 was killed by signal 9 (Killed) on node2"), killed.errors)
        XCTAssertLessThan(killed.seconds, 10)
    }

    func testSlurmOnThisMachine() throws {
        try XCTSkipUnless(getuid() == 0, "starting Slurm needs root")
        try XCTSkipUnless(
            FileManager.default.isExecutableFile(atPath: "/usr/sbin/slurmctld"),
            "no Slurm here; install it with: sudo apt-get install slurm-wlm munge")
        let up = try command([slurm, "up"])
        defer { _ = try? command([slurm, "down"]) }
        try XCTSkipUnless(up.code == 0, "Slurm did not start: \(up.errors)")
        let direct = try command([slurm, "srun", "-n", "2", "--mpi=pmix", Launch.check, "collectives"])
        XCTAssertEqual(direct.code, 0, direct.errors)
        XCTAssertEqual(direct.output, "collectives agree on 2 ranks\n")
        let batch = try command([
            slurm, "sbatch", "--wait", "--ntasks=2", "--output=/dev/null",
            "--wrap", "'\(Launch.launcher)' '\(Launch.check)' throw 1",
        ])
        XCTAssertEqual(batch.code, 3, batch.errors)
    }
}
