// ResNeXt and Wide ResNet: 50 and 101 layers.
//
// Papers: Xie, Girshick, Dollár, Tu, He, "Aggregated Residual Transformations for Deep Neural Networks", 2016,
//   https://arxiv.org/abs/1611.05431; Zagoruyko and Komodakis, "Wide Residual Networks", 2016,
//   https://arxiv.org/abs/1605.07146
// Variant: `torchvision`: ResNet v1.5 whose 3×3 convolutions have groups (`resnext50_32x4d`: 32 groups, of 4 channels each
//   in layer1), or twice the channels (`wide_resnet50_2`). timm's networks of the same names are the same.
// Weight names: those of torchvision's ResNet — conv1, bn1, layer1.0.conv1, …, fc.
// Checked against: torchvision, filled by a formula — logits at two input sizes and every gradient
//   (Tests/ModelsTests/Reference).

import Layers

extension Family {
    static let resNeXt = Family(
        title: "ResNeXt and Wide ResNet",
        names: ResNeXt.networks.map(\.name),
        member: { asked in
            guard let network = ResNeXt.networks.first(where: { $0.name == asked.name }) else { return nil }
            let variant = try asked.choose(from: ResNeXt.Variant.allCases)
            return Member(
                name: network.name, variant: variant, of: ResNeXt.Variant.allCases, input: .images(.torchvision),
                classes: 1000,
                build: {
                    ResNet.network(
                        $0, network.depth, .v1_5, groups: network.groups, widthPerGroup: network.widthPerGroup, seed: $1
                    )
                })
        },
        recognise: { weights in
            guard let depth = ResNet.depth(of: weights), let shape = weights["layer1.0.conv2.weight"] else {
                return nil
            }
            let network = ResNeXt.networks.first {
                $0.depth == depth && shape == [$0.groups * $0.widthPerGroup, $0.widthPerGroup, 3, 3]
            }
            return network.map { Recognition($0.name, ResNeXt.Variant.torchvision.rawValue) }
        })
}

public enum ResNeXt {
    public enum Variant: String, CaseIterable, Sendable { case torchvision }

    /// Groups of the 3×3 convolutions, and channels of each in layer1.
    static let networks: [(name: String, depth: ResNet.Depth, groups: Int, widthPerGroup: Int)] = [
        ("resnext50_32x4d", .resNet50, 32, 4),
        ("resnext101_32x8d", .resNet101, 32, 8),
        ("resnext101_64x4d", .resNet101, 64, 4),
        ("wide_resnet50_2", .resNet50, 1, 128),
        ("wide_resnet101_2", .resNet101, 1, 128),
    ]
}
