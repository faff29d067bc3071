import Models

/// What must be done to a stored tensor to become the parameter it is mapped to.
enum TensorConversion: Equatable {
    case none
    /// H×W×I×O of Keras to O×I×H×W; I×O to O×I; 1×1×I×O to O×I where a linear layer takes it.
    case kernel
    /// H×W×C×M of Keras to (C·M)×1×H×W.
    case depthwiseKernel
}

/// A tensor of a file under the network's own path.
struct MappedTensor {
    let path: String
    let stored: StoredTensor
    let conversion: TensorConversion

    /// Its shape after the conversion, where a convolution takes it.
    var shape: [Int] {
        let s = stored.shape
        switch (conversion, s.count) {
        case (.kernel, 4): return [s[3], s[2], s[0], s[1]]
        case (.kernel, 2): return [s[1], s[0]]
        case (.depthwiseKernel, 4): return [s[2] * s[3], 1, s[0], s[1]]
        default: return s
        }
    }
}

/// The ways in which files name the tensors of the networks that Graft knows.
enum NameScheme {
    /// The network's own paths, which are PyTorch's; `module.` before them is what DataParallel adds.
    case canonical
    case kerasMobileNetV1, kerasMobileNetV2, kerasResNet, kerasResNet8

    /// Which scheme a file follows; layers that only one family has tell.
    static func of(_ names: [String]) -> NameScheme {
        let layers = Set(names.compactMap { KerasName($0)?.layer })
        if layers.contains("conv_dw_1") { return .kerasMobileNetV1 }
        if layers.contains("expanded_conv_depthwise") { return .kerasMobileNetV2 }
        if layers.contains("conv2_block1_1_conv") { return .kerasResNet }
        if layers.isSuperset(of: KerasNames.resNet8.keys.filter { $0 != "dense" }) { return .kerasResNet8 }
        return .canonical
    }

    var isKeras: Bool { self != .canonical }

    /// The tensor's path in the network, or nil where no network has it.
    func map(_ tensor: StoredTensor) -> MappedTensor? {
        guard isKeras else {
            let prefix = "module."
            let name = tensor.name.hasPrefix(prefix) ? String(tensor.name.dropFirst(prefix.count)) : tensor.name
            return MappedTensor(path: name, stored: tensor, conversion: .none)
        }
        guard let name = KerasName(tensor.name), let layer = layer(name.layer),
            let (variable, conversion) = KerasNames.variables[name.variable]
        else { return nil }
        return MappedTensor(path: "\(layer).\(variable)", stored: tensor, conversion: conversion)
    }

    private func layer(_ name: String) -> String? {
        switch self {
        case .canonical: name
        case .kerasMobileNetV1: KerasNames.mobileNetV1(name)
        case .kerasMobileNetV2: KerasNames.mobileNetV2(name)
        case .kerasResNet: KerasNames.resNet(name)
        case .kerasResNet8: KerasNames.resNet8[name]
        }
    }
}
