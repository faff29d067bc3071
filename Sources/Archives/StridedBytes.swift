/// Elements that lie in a source at steps of any size, brought into row-major order.
struct StridedBytes {
    /// The sizes of the result, outermost first; none is 0.
    let sizes: [Int]
    /// How far apart in the source neighbours along each dimension of the result are, in elements.
    let steps: [Int]

    /// A tile of a transposed plane: a line of the cache, of few enough rows that those of a power-of-two step stay in it.
    private static let tile = (fast: 32, last: 8)

    /// - Parameters:
    ///   - start: where the first element lies in the source, in elements.
    ///   - width: bytes of an element: 1, 2, 4 or 8.
    ///   - target: memory for as many elements as the result has.
    /// - Precondition: all elements lie within the source.
    func gather(
        _ source: UnsafeRawBufferPointer, at start: Int = 0, width: Int, into target: UnsafeMutableRawBufferPointer
    ) {
        guard let from = source.baseAddress, let to = target.baseAddress else { return }
        switch width {
        case 1: gather(UInt8.self, from + start, into: to)
        case 2: gather(UInt16.self, from + 2 * start, into: to)
        case 4: gather(UInt32.self, from + 4 * start, into: to)
        default: gather(UInt64.self, from + 8 * start, into: to)
        }
    }

    /// Goes through planes of the last dimension and of the one that lies side by side in the source.
    private func gather<Element: FixedWidthInteger>(
        _ type: Element.Type, _ source: UnsafeRawPointer, into target: UnsafeMutableRawPointer
    ) {
        let width = MemoryLayout<Element>.size
        var jumps = [Int](repeating: 1, count: sizes.count)
        for index in sizes.indices.dropLast().reversed() { jumps[index] = jumps[index + 1] * sizes[index + 1] }
        guard let last = sizes.indices.last else {
            return target.copyMemory(from: source, byteCount: width)
        }
        let fast = steps.dropLast().firstIndex { $0 == 1 }
        let outer = sizes.indices.filter { $0 != last && $0 != fast }
        var index = [Int](repeating: 0, count: outer.count)
        var (from, to) = (0, 0)
        while true {
            let (x, y) = (source + from * width, target + to * width)
            if steps[last] == 1 {
                for row in 0..<(fast.map { sizes[$0] } ?? 1) {
                    let jump = fast.map { jumps[$0] } ?? 0
                    (y + row * jump * width).copyMemory(from: x + row * width, byteCount: sizes[last] * width)
                }
            } else {
                Self.transpose(
                    type, x, y, rows: fast.map { sizes[$0] } ?? 1, jump: fast.map { jumps[$0] } ?? 0,
                    columns: sizes[last], step: steps[last])
            }
            // An odometer over the dimensions that are left.
            var place = outer.count - 1
            while place >= 0 {
                let dimension = outer[place]
                index[place] += 1
                from += steps[dimension]
                to += jumps[dimension]
                if index[place] < sizes[dimension] { break }
                from -= steps[dimension] * sizes[dimension]
                to -= jumps[dimension] * sizes[dimension]
                index[place] = 0
                place -= 1
            }
            if place < 0 { return }
        }
    }

    /// Rows are neighbours in the source and `jump` apart in the result, columns `step` apart and neighbours.
    private static func transpose<Element: FixedWidthInteger>(
        _ type: Element.Type, _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, rows: Int, jump: Int,
        columns: Int, step: Int
    ) {
        let width = MemoryLayout<Element>.size
        for top in stride(from: 0, to: rows, by: tile.fast) {
            for left in stride(from: 0, to: columns, by: tile.last) {
                for row in top..<min(rows, top + tile.fast) {
                    for column in left..<min(columns, left + tile.last) {
                        let value = source.loadUnaligned(
                            fromByteOffset: (row + column * step) * width, as: Element.self)
                        target.storeBytes(of: value, toByteOffset: (row * jump + column) * width, as: Element.self)
                    }
                }
            }
        }
    }
}
