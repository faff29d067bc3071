import ArgumentParser
import Collectives
import Foundation
import Models

/// `graft models`: the networks that Graft knows.
struct ListModels: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "models",
        abstract: "List the networks that Graft knows.",
        discussion: """
            Every family with its networks: variants (the default first), parameters,
            multiplications of a forward pass and native input.

              graft models
              graft models resnet50 --json

            Input is height and width in pixels, or the most tokens. Multiplications (each
            comes with an addition: FLOPs are twice as many) are those of one image of
            that size, or of one sequence of 128 tokens.
            """)

    @Argument(help: "Only networks whose name begins so.")
    var name: String = ""

    @Flag(help: "Print JSON instead of text.")
    var json = false

    private struct Row: Encodable {
        let family: String
        let name: String
        let variants: [String]
        let parameters: Int
        let multiplications: Int
        let input: Int
        let takes: String
        let classes: Int
    }

    func run() throws {
        let rows = try Family.all.flatMap { family in
            try family.names.filter { $0.hasPrefix(name.lowercased()) }.map { try row(family, $0) }
        }
        guard !rows.isEmpty else {
            // Says which names there are.
            _ = try Architecture(named: name)
            return
        }
        if json { return try Output.json(rows) }
        var family = ""
        let table = Output.table(
            [["name", "parameters", "multiplications", "input", "classes", "variants"]]
                + rows.map { row in
                    [
                        row.name, Output.grouped(row.parameters), Output.grouped(row.multiplications),
                        row.takes == "images" ? "\(row.input)×\(row.input)" : "\(row.input) tokens", "\(row.classes)",
                        row.variants.joined(separator: ", "),
                    ]
                })
        for (line, row) in zip(table, [nil] + rows.map(Optional.init)) {
            if let row, row.family != family {
                family = row.family
                print(family)
            }
            print("  " + line)
        }
    }

    private func row(_ family: Family, _ name: String) throws -> Row {
        let architecture = try Architecture(named: name)
        let network = architecture.network()
        let isText = architecture.tokens != nil
        let size = architecture.inputSize
        let input = isText ? [1, min(128, size)] : [1, architecture.inputChannels, size, size]
        return Row(
            family: family.title, name: architecture.name, variants: architecture.variants,
            parameters: network.store.parameters.reduce(0) { $0 + $1.count },
            multiplications: try network.shapes(for: input).multiplications, input: size,
            takes: isText ? "tokens" : "images", classes: architecture.classes)
    }
}
