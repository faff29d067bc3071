"""Networks that no package has, written from their papers and published files, and variants of torchvision's."""
import torch.nn as nn
import torch.nn.functional as F


def move_strides(model):
    """v1.5 to v1: the stride of a bottleneck goes from its 3x3 to its first 1x1."""
    for m in model.modules():
        if type(m).__name__ == "Bottleneck":
            m.conv1.stride, m.conv2.stride = m.conv2.stride, (1, 1)
    return model


class CIFARBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra // 2, self.extra // 2))
        return F.relu(x + y)


class CIFARResNet(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for i, (inputs, outputs) in enumerate([(16, 16), (16, 32), (32, 64)]):
            first = CIFARBlock(inputs, outputs, 1 if i == 0 else 2)
            rest = [CIFARBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class MobileNetV1(nn.Module):
    """The backbone of biubug6/Pytorch_Retinaface, of any width."""

    def __init__(self, width, classes=1000):
        super().__init__()

        def bn(i, o, s):
            return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.1))

        def dw(i, o, s):
            return nn.Sequential(
                nn.Conv2d(i, i, 3, s, 1, groups=i, bias=False), nn.BatchNorm2d(i), nn.LeakyReLU(0.1),
                nn.Conv2d(i, o, 1, 1, 0, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.1))

        c = [int(n * width) for n in (32, 64, 128, 256, 512, 1024)]
        self.stage1 = nn.Sequential(
            bn(3, c[0], 2), dw(c[0], c[1], 1), dw(c[1], c[2], 2), dw(c[2], c[2], 1), dw(c[2], c[3], 2),
            dw(c[3], c[3], 1))
        self.stage2 = nn.Sequential(dw(c[3], c[4], 2), *[dw(c[4], c[4], 1) for _ in range(5)])
        self.stage3 = nn.Sequential(dw(c[4], c[5], 2), dw(c[5], c[5], 1))
        self.fc = nn.Linear(c[5], classes)

    def forward(self, x):
        return self.fc(self.stage3(self.stage2(self.stage1(x))).mean((2, 3)))
