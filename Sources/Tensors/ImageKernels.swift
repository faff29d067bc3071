import CKernels

/// The compiled loops over 8-bit images, channels interleaved (H×W×C). All give Pillow's pixels, bit for bit.
package enum ImageKernels {
    /// One pass of a separable resize: per output position the first input position, how many from there on, and
    /// `pitch` weights in fixed point with 22 bits after the point.
    package struct Pass {
        package let starts: [Int32]
        package let counts: [Int32]
        package let weights: [Int32]
        package let pitch: Int

        package init(starts: [Int32], counts: [Int32], weights: [Int32], pitch: Int) {
            precondition(
                counts.count == starts.count && weights.count == starts.count * pitch,
                "resampling: \(counts.count) counts and \(weights.count) weights for \(starts.count) positions")
            (self.starts, self.counts, self.weights, self.pitch) = (starts, counts, weights, pitch)
        }

        /// The input positions that have a weight.
        package var sources: Range<Int> {
            let end = zip(starts, counts).map { Int($0 + $1) }.max() ?? 0
            return min(Int(starts.min() ?? 0), end)..<end
        }

        fileprivate func with(_ body: (UnsafePointer<graft_resampling>) -> Void) {
            starts.withUnsafeBufferPointer { starts in
                counts.withUnsafeBufferPointer { counts in
                    weights.withUnsafeBufferPointer { weights in
                        var plan = graft_resampling(
                            size: starts.count, starts: starts.baseAddress, counts: counts.baseAddress,
                            weights: weights.baseAddress, pitch: pitch)
                        body(&plan)
                    }
                }
            }
        }
    }

    /// The horizontal pass over some rows of an image.
    ///
    /// - Parameter width: of the image, in pixels.
    /// - Returns: `rows.count` packed rows of `pass.starts.count` pixels.
    package static func resampledAcross(
        _ pixels: [UInt8], width: Int, channels: Int, rows: Range<Int>, _ pass: Pass
    ) -> [UInt8] {
        precondition(
            pass.sources.upperBound <= width && rows.upperBound * width * channels <= pixels.count,
            "resampling beyond the image")
        return filled(rows.count * pass.starts.count * channels) { out in
            pixels.withUnsafeBufferPointer { source in
                guard let source = source.baseAddress else { return }
                pass.with {
                    graft_resample_across(
                        $0, source + rows.lowerBound * width * channels, width * channels, rows.count, channels, out)
                }
            }
        }
    }

    /// The vertical pass over some columns of an image, whose first row is number `firstRow` of what the pass counts.
    ///
    /// - Returns: `pass.starts.count` packed rows of `columns.count` pixels.
    package static func resampledDown(
        _ pixels: [UInt8], width: Int, channels: Int, columns: Range<Int>, firstRow: Int, _ pass: Pass
    ) -> [UInt8] {
        let (sources, samples) = (pass.sources, columns.count * channels)
        precondition(
            sources.lowerBound >= firstRow && columns.upperBound <= width
                && (sources.upperBound - firstRow) * width * channels <= pixels.count, "resampling beyond the image")
        let shifted = Pass(
            starts: pass.starts.map { $0 - Int32(firstRow) }, counts: pass.counts, weights: pass.weights,
            pitch: pass.pitch)
        return filled(pass.starts.count * samples) { out in
            pixels.withUnsafeBufferPointer { source in
                guard let source = source.baseAddress else { return }
                shifted.with {
                    graft_resample_down(
                        $0, source + columns.lowerBound * channels, width * channels, samples, out)
                }
            }
        }
    }

    /// The grey values (ITU-R 601-2 luma) of red, green and blue.
    package static func luma(_ pixels: [UInt8]) -> [UInt8] {
        filled(pixels.count / 3) { out in
            pixels.withUnsafeBufferPointer { source in
                if let start = source.baseAddress { graft_luma(start, source.count / 3, out) }
            }
        }
    }

    /// Moves each colour between its grey (0) and itself (1), or beyond.
    package static func saturate(_ pixels: inout [UInt8], by factor: Float) {
        pixels.withUnsafeMutableBufferPointer { graft_saturate($0.baseAddress, $0.count / 3, factor) }
    }

    /// Moves each colour's hue by `shift` 256ths of the colour circle.
    package static func turnHue(_ pixels: inout [UInt8], by shift: UInt8) {
        pixels.withUnsafeMutableBufferPointer { graft_turn_hue($0.baseAddress, $0.count / 3, shift) }
    }

    private static func filled(_ count: Int, _ body: (UnsafeMutablePointer<UInt8>) -> Void) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            if let out = buffer.baseAddress, count > 0 { body(out) }
            filled = count
        }
    }
}
