/// A Keras weight name: `conv1_bn/gamma:0`, also below the name of a nested model.
struct KerasName {
    let layer: String
    let variable: String

    init?(_ name: String) {
        let parts = name.split(separator: "/")
        guard parts.count >= 2 else { return nil }
        layer = String(parts[parts.count - 2])
        variable = String(parts[parts.count - 1].prefix { $0 != ":" })
    }
}

/// The layers of keras.applications and MLPerf Tiny, in the words of the networks in `Models`.
enum KerasNames {
    static let variables: [String: (String, TensorConversion)] = [
        "kernel": ("weight", .kernel),
        "depthwise_kernel": ("weight", .depthwiseKernel),
        "bias": ("bias", .none),
        "gamma": ("weight", .none),
        "beta": ("bias", .none),
        "moving_mean": ("running_mean", .none),
        "moving_variance": ("running_var", .none),
    ]

    /// MobileNetV1 keeps Keras's layer names: conv1, conv1_bn, conv_dw_N, conv_pw_N, …, conv_preds.
    static func mobileNetV1(_ layer: String) -> String? {
        if ["conv1", "conv1_bn", "conv_preds"].contains(layer) { return layer }
        return layer.hasPrefix("conv_dw_") || layer.hasPrefix("conv_pw_") ? layer : nil
    }

    /// block_3_expand → features.4.conv.0.0, block_3_project_BN → features.4.conv.3.
    static func mobileNetV2(_ layer: String) -> String? {
        let fixed = [
            "Conv1": "features.0.0", "bn_Conv1": "features.0.1", "Conv_1": "features.18.0",
            "Conv_1_bn": "features.18.1", "predictions": "classifier.1", "Logits": "classifier.1",
        ]
        if let path = fixed[layer] { return path }
        let first = [
            "depthwise": "0.0", "depthwise_BN": "0.1", "project": "1", "project_BN": "2",
        ]
        let others = [
            "expand": "0.0", "expand_BN": "0.1", "depthwise": "1.0", "depthwise_BN": "1.1", "project": "2",
            "project_BN": "3",
        ]
        if layer.hasPrefix("expanded_conv_") {
            return first[String(layer.dropFirst("expanded_conv_".count))].map { "features.1.conv.\($0)" }
        }
        let parts = layer.split(separator: "_", maxSplits: 2).map(String.init)
        guard parts.count == 3, parts[0] == "block", let number = Int(parts[1]), let place = others[parts[2]]
        else { return nil }
        return "features.\(number + 1).conv.\(place)"
    }

    /// conv2_block1_1_conv → layer1.0.conv1, conv3_block1_0_bn → layer2.0.downsample.1.
    static func resNet(_ layer: String) -> String? {
        let fixed = [
            "conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc", "probs": "fc", "fc1000": "fc",
        ]
        if let path = fixed[layer] { return path }
        let parts = layer.split(separator: "_").map(String.init)
        guard parts.count == 4, parts[0].hasPrefix("conv"), let stage = Int(parts[0].dropFirst("conv".count)),
            parts[1].hasPrefix("block"), let block = Int(parts[1].dropFirst("block".count)),
            let place = Int(parts[2]), ["conv", "bn"].contains(parts[3])
        else { return nil }
        let prefix = "layer\(stage - 1).\(block - 1)"
        if place == 0 { return "\(prefix).downsample.\(parts[3] == "conv" ? 0 : 1)" }
        return "\(prefix).\(parts[3])\(place)"
    }

    /// MLPerf Tiny's ResNet-8, whose layers Keras numbered in the order in which they were built.
    static let resNet8: [String: String] = [
        "conv2d": "conv1", "batch_normalization": "bn1",
        "conv2d_1": "layer1.0.conv1", "batch_normalization_1": "layer1.0.bn1",
        "conv2d_2": "layer1.0.conv2", "batch_normalization_2": "layer1.0.bn2",
        "conv2d_3": "layer2.0.conv1", "batch_normalization_3": "layer2.0.bn1",
        "conv2d_4": "layer2.0.conv2", "batch_normalization_4": "layer2.0.bn2",
        "conv2d_5": "layer2.0.shortcut",
        "conv2d_6": "layer3.0.conv1", "batch_normalization_5": "layer3.0.bn1",
        "conv2d_7": "layer3.0.conv2", "batch_normalization_6": "layer3.0.bn2",
        "conv2d_8": "layer3.0.shortcut",
        "dense": "linear",
    ]
}
