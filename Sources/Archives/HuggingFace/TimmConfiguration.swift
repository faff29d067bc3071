import Foundation
import Models

/// What timm's `config.json` says of the pictures that its weights were trained with. Which network they are of, names
/// and shapes tell.
///
///     {"architecture": "resnet50", "pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.95,
///      "interpolation": "bicubic", "mean": […], "std": […], "label_names": […]}}
///
/// What it leaves out is as in timm: 0.875 of the resized side is kept, bilinear, ImageNet's mean and deviation.
struct TimmConfiguration {
    let preprocessing: Preprocessing
    let classNames: [String]?

    private struct Content: Decodable {
        struct Pretrained: Decodable {
            var input_size: [Int]?
            var crop_pct: Double?
            var crop_mode: String?
            var interpolation: String?
            var mean: [Float]?
            var std: [Float]?
            var label_names: [String]?
        }
        var pretrained_cfg: Pretrained?
        var label_names: [String]?
    }

    /// nil where the text is no configuration of timm.
    ///
    /// - Throws: `ArchiveError` naming the key that asks for what Graft does not do, or is no such number.
    init?(_ text: String, path: String) throws {
        guard let object = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any],
            object["pretrained_cfg"] is [String: Any]
        else { return nil }
        let content: Content
        do {
            content = try JSONDecoder().decode(Content.self, from: Data(text.utf8))
        } catch let DecodingError.typeMismatch(_, context) {
            let key = context.codingPath.map(\.stringValue).joined(separator: ".")
            throw ArchiveError.damaged(path: path, format: "timm configuration", reason: "\(key) has no such value")
        }
        let said = content.pretrained_cfg ?? Content.Pretrained()
        func unsupported(_ key: String, _ value: String, _ supported: String) -> ArchiveError {
            .unsupported(path: path, feature: "pretrained_cfg.\(key) \(value) (where \(supported) is read)")
        }
        let size = said.input_size ?? [3, 224, 224]
        guard size.count == 3, size[1] == size[2], (1...Preprocessing.longestSide).contains(size[1]) else {
            throw unsupported("input_size", "\(size)", "[3, N, N]")
        }
        let kept = said.crop_pct ?? 0.875
        guard kept > 0.01, kept <= 1 else { throw unsupported("crop_pct", "\(kept)", "above 0 and at most 1") }
        guard [nil, "center"].contains(said.crop_mode) else {
            throw unsupported("crop_mode", said.crop_mode ?? "", "center")
        }
        let name = said.interpolation ?? "bilinear"
        guard let interpolation = Preprocessing.Interpolation(rawValue: name) else {
            throw unsupported("interpolation", name, "nearest, bilinear or bicubic")
        }
        preprocessing = Preprocessing(
            resize: Int((Double(size[1]) / kept).rounded(.down)), inputSize: size[1], interpolation: interpolation,
            mean: said.mean ?? [0.485, 0.456, 0.406], standardDeviation: said.std ?? [0.229, 0.224, 0.225])
        if let problem = preprocessing.problem {
            throw ArchiveError.damaged(path: path, format: "timm configuration", reason: problem)
        }
        classNames = said.label_names ?? content.label_names
    }
}
