import Foundation

/// What one step that resizes, or a resize and the centre crop after it, does to an image of known size: `box` of it
/// becomes `width`×`height`, of which `part` is kept. Known before anything is decoded, so that no more is
/// computed than is kept, and a large JPEG is decoded no larger than needed.
package struct Resizing: Equatable {
    package var box: CropRectangle
    package var width: Int
    package var height: Int
    package var part: CropRectangle
    package var interpolation: Interpolation
    /// How many steps of the transform this stands for.
    package var stepCount = 1
    /// Whether pixels near the exact ones will do: where the box is drawn at random. Evaluation has Pillow's pixels,
    /// bit for bit, whatever the size of the file.
    package var allowsShrinking = false

    package init(box: CropRectangle, width: Int, height: Int, _ interpolation: Interpolation) {
        self.box = box
        self.width = width
        self.height = height
        self.interpolation = interpolation
        part = CropRectangle(left: 0, top: 0, width: width, height: height)
    }

    /// What `steps` begin with, applied to an image of size `size`; nil where they do not begin with a resize.
    ///
    /// - Throws: `DatasetError` where the result would be too large; `name` is what it calls the image.
    package init?<G: RandomNumberGenerator>(
        _ steps: ArraySlice<TransformStep>, of size: (width: Int, height: Int), name: String, using generator: inout G
    ) throws {
        let whole = CropRectangle(left: 0, top: 0, width: size.width, height: size.height)
        switch steps.first {
        case .resize(let width, let height, let interpolation)?:
            self.init(box: whole, width: width, height: height, interpolation)
        case .resizeShortSide(let side, let interpolation)?:
            // The long side is cut to a whole number as torchvision does.
            let long = side * max(size.width, size.height) / min(size.width, size.height)
            let isTall = size.width <= size.height
            self.init(box: whole, width: isTall ? side : long, height: isTall ? long : side, interpolation)
        case .resizeToCover(let width, let height, let interpolation)?:
            let ratio = max(Double(width) / Double(size.width), Double(height) / Double(size.height))
            self.init(
                box: whole, width: max(width, Int((Double(size.width) * ratio).rounded())),
                height: max(height, Int((Double(size.height) * ratio).rounded())), interpolation)
        case .randomResizedCrop(let width, let height, let area, let low, let high, let interpolation)?:
            let box = CropRectangle.random(in: size, area: area...1, aspect: low...high, using: &generator)
            self.init(box: box, width: width, height: height, interpolation)
            allowsShrinking = interpolation != .nearest
        default: return nil
        }
        try ImageDecoder.checkSize(width: width, height: height, name: name)
        if case .centerCrop(let cropWidth, let cropHeight)? = steps.dropFirst().first, cropWidth <= width,
            cropHeight <= height
        {
            part = CropRectangle(
                left: centered(width - cropWidth), top: centered(height - cropHeight), width: cropWidth,
                height: cropHeight)
            stepCount = 2
        }
    }

    /// The least size that a JPEG may be decoded at, as one over this number: the largest of 1, 2, 4 and 8 at which
    /// `box` still has at least twice the pixels, each way, that it is resized to. (Mean difference from the exact
    /// result 0.5 of 255 levels, largest 20, on the 500-pixel photographs of the tests.)
    package var denominator: Int {
        guard allowsShrinking else { return 1 }
        return [8, 4, 2].first { box.width >= 2 * $0 * width && box.height >= 2 * $0 * height } ?? 1
    }

    /// Pillow 13 does the pass first that leaves less to do, by this rule (found by comparing pixels: the order
    /// shows in the last bit).
    func isVerticalFirst(_ denominator: Int) -> Bool {
        let (boxWidth, boxHeight) = (box.width / denominator, box.height / denominator)
        return height < boxHeight && 2 * (boxWidth - width) < boxHeight - height
    }
}

/// The part of an image that a random resized crop keeps.
package struct CropRectangle: Equatable {
    package var left: Int
    package var top: Int
    package var width: Int
    package var height: Int

    package init(left: Int, top: Int, width: Int, height: Int) {
        (self.left, self.top, self.width, self.height) = (left, top, width, height)
    }

    /// torchvision's rule: ten tries at a random area and a random shape, then the middle.
    package static func random<G: RandomNumberGenerator>(
        in size: (width: Int, height: Int), area: ClosedRange<Double>, aspect: ClosedRange<Double>,
        using generator: inout G
    ) -> CropRectangle {
        for _ in 0..<10 {
            let target = Double(size.width * size.height) * generator.uniform(area.lowerBound, area.upperBound)
            let shape = exp(generator.uniform(log(aspect.lowerBound), log(aspect.upperBound)))
            let width = Int((target * shape).squareRoot().rounded(.toNearestOrEven))
            let height = Int((target / shape).squareRoot().rounded(.toNearestOrEven))
            if width > 0, width <= size.width, height > 0, height <= size.height {
                let top = generator.index(below: size.height - height + 1)
                let left = generator.index(below: size.width - width + 1)
                return CropRectangle(left: left, top: top, width: width, height: height)
            }
        }
        let shape = Double(size.width) / Double(size.height)
        var (width, height) = size
        if shape < aspect.lowerBound {
            height = Int((Double(width) / aspect.lowerBound).rounded(.toNearestOrEven))
        } else if shape > aspect.upperBound {
            width = Int((Double(height) * aspect.upperBound).rounded(.toNearestOrEven))
        }
        (width, height) = (max(width, 1), max(height, 1))
        return CropRectangle(
            left: (size.width - width) / 2, top: (size.height - height) / 2, width: width, height: height)
    }
}
