extension Tensor {
    /// The rows (entries of the first dimension) that `indices` names, in its order and shape.
    ///
    /// For a variable, as an embedding's table is, the gradient is a set of rows: `Gradient.rows`. For any other
    /// tensor, and where the backward pass is recorded, it is dense.
    ///
    /// - Parameters:
    ///   - indices: `Int32` in 0..<(size of the first dimension), of any shape S.
    ///   - constant: a row that gets no gradient.
    /// - Returns: S followed by the shape of one row.
    public func gathered(rows indices: Tensor, constant: Int32? = nil) -> Tensor {
        precondition(
            rank >= 1 && indices.elementType == .int32,
            "gathered: \(indices.elementType) indices into the shape \(shape)")
        let rowShape = Array(shape.dropFirst())
        let (rows, width, places) = (shape[0], rowShape.elementCount, indices.indices)
        for place in places {
            precondition(
                place >= 0 && place < rows, "gathered: the row \(place) is not one of \(rows)")
        }
        let result = Tensor(uninitialized: indices.shape + rowShape, elementType: elementType)
        let table = rowMajor
        copyRows(places, of: table.storage, to: result.storage, byteCount: width * elementType.byteCount)
        let (full, flat, leaf) = (shape, indices.reshaped([places.count]), node?.variable == nil ? nil : node)
        return result.recorded("gather", from: [self]) { gradient in
            var (flat, values) = (flat, gradient.reshaped([places.count] + rowShape))
            if let constant, places.contains(constant) {
                let kept = places.indices.filter { places[$0] != constant }
                flat = Tensor(indices: kept.map { places[$0] }, shape: [kept.count])
                values = values.gathered(rows: Tensor(indices: kept.map(Int32.init), shape: [kept.count]))
            }
            guard !Tape.isRecording, let leaf else {
                return [values.scattered(to: flat, rows: full[0])]
            }
            leaf.accumulate(rows: flat, values, shape: full)
            return [nil]
        }
    }

    /// Adds row i to row `indices[i]` of a tensor of `rows` rows that is zero elsewhere.
    private func scattered(to indices: Tensor, rows: Int) -> Tensor {
        Gradient.rows(indices: indices, values: self.detached, shape: [rows] + shape.dropFirst()).tensor
            .recorded("scatter", from: [self]) { [$0.gathered(rows: indices)] }
    }

    /// Along `axis`, the elements that `indices` names: result[i, j] = self[i, indices[i, j]] for the last axis
    /// of two.
    ///
    /// - Parameter indices: `Int32`, of this tensor's shape except along `axis`.
    public func taken(along axis: Int, _ indices: Tensor) -> Tensor {
        let axis = shape.dimension(axis, "taken")
        var expected = shape
        expected[axis] = indices.rank == rank ? indices.shape[axis] : 0
        precondition(
            indices.elementType == .int32 && indices.shape == expected,
            "taken: \(indices.elementType) indices of shape \(indices.shape) do not fit the shape \(shape)")
        let places = ElementPlaces(shape, axis: axis, indices)
        return places.take(self).recorded("takeAlong", from: [self]) { [places.put($0)] }
    }
}

private func copyRows(_ rows: [Int32], of source: Storage, to target: Storage, byteCount: Int) {
    Threads.parallelFor(count: rows.count, grain: max(1, (Elementwise.grain * 4) / max(1, byteCount))) { range in
        for i in range {
            (target.pointer + i * byteCount)
                .copyMemory(from: source.pointer + Int(rows[i]) * byteCount, byteCount: byteCount)
        }
    }
}

/// Where in a tensor's memory the elements lie that indices along an axis name.
private struct ElementPlaces {
    private let shape: [Int]
    private let resultShape: [Int]
    private let places: [Int]

    init(_ shape: [Int], axis: Int, _ indices: Tensor) {
        (self.shape, resultShape) = (shape, indices.shape)
        let inner = shape[(axis + 1)...].reduce(1, *)
        let (size, taken) = (shape[axis], indices.shape[axis])
        places = indices.indices.enumerated().map { position, index in
            precondition(index >= 0 && index < size, "taken: the index \(index) is not in 0..<\(size)")
            return (position / (taken * inner) * size + Int(index)) * inner + position % inner
        }
    }

    func take(_ whole: Tensor) -> Tensor {
        whole.withScalars { whole in
            Tensor(shape: resultShape) { part in
                for (i, place) in places.enumerated() { part[i] = whole[place] }
            }
        }
    }

    /// The other way round: elements that were taken several times add up.
    func put(_ part: Tensor) -> Tensor {
        let whole = Tensor(shape: shape) { whole in
            whole.update(repeating: 0)
            part.withScalars { part in
                for (i, place) in places.enumerated() { whole[place] += part[i] }
            }
        }
        return whole.recorded("putAlong", from: [part]) { [take($0)] }
    }
}

extension TapeNode {
    /// Adds gradients of rows of this leaf to those it has.
    func accumulate(rows indices: Tensor, _ values: Tensor, shape: [Int]) {
        precondition(!Tape.squaresSamples, "backward: no squares of samples' gradients for the rows of a table")
        guard case .rows(let earlier, let earlierValues, _) = rows else {
            rows = .rows(indices: indices, values: values, shape: shape)
            return
        }
        rows = .rows(
            indices: concatenated([earlier, indices], axis: 0),
            values: concatenated([earlierValues, values], axis: 0), shape: shape)
    }
}
