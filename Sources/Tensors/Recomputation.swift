import Foundation

/// Computes a part of the forward pass and keeps only what went into it: backward computes the part again, with
/// everything in it kept, and walks back through it (Chen et al. 2016, https://arxiv.org/abs/1604.06174).
///
/// Gradients have the bits that they would have without, and each reaches the sink as soon as it is finished. Parts
/// may lie within one another. Nothing is kept where nothing in the part learns.
///
/// - Parameters:
///   - input: what goes in.
///   - body: computes the part, from its argument and variables alone; it must give the same values every time.
///     The second argument says whether it has run before.
public func recomputed(_ input: Tensor, _ body: @escaping (Tensor, _ isAgain: Bool) throws -> Tensor) throws -> Tensor {
    let begin = Tape.nextSequence()
    let output = try body(input, false)
    guard let last = output.node, last !== input.node else { return output }
    let inputs = [input.node] + last.leaves(since: begin, besides: input.node)
    let node = TapeNode(name: "recomputed", inputs: inputs, backward: nil, recompute: { try body(input, true) })
    return Tensor(shape: output.shape, storage: output.storage, layout: output.layout, node: node)
}

/// What computing again costs.
public enum Recomputation {
    /// Seconds that backward passes of this process have spent in computing parts of forward passes again.
    public private(set) nonisolated(unsafe) static var seconds = 0.0

    /// Runs `body` recorded, on the thread that trains.
    static func time(_ body: () throws -> Tensor) rethrows -> Tensor {
        let begin = DispatchTime.now().uptimeNanoseconds
        defer { seconds += Double(DispatchTime.now().uptimeNanoseconds - begin) * 1e-9 }
        return try Tape.$isRecording.withValue(true, operation: body)
    }
}

extension TapeNode {
    /// The variables that this operation depends on through operations recorded after `begin`.
    fileprivate func leaves(since begin: UInt64, besides input: TapeNode?) -> [TapeNode] {
        var visited: Set<UInt64> = [sequence]
        var (found, stack) = ([TapeNode](), [self])
        while let node = stack.popLast() {
            if node.variable != nil {
                found.append(node)
                continue
            }
            precondition(
                node.sequence > begin, "recomputed: \(node.name) was recorded before, and is not the input")
            for case let next? in node.inputs where next !== input && visited.insert(next.sequence).inserted {
                stack.append(next)
            }
        }
        return found
    }
}
