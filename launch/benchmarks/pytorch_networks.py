"""The peers' networks, in their best mode on a CPU: channels-last for images, fused attention for text."""

import os
import sys
import types

VISION = {"resnet50": "ResNet-50", "vgg16": "VGG16", "mobilenet_v1": "MobileNetV1", "mobilenet_v2": "MobileNetV2"}
LANGUAGE = {"bert_base": "BERT-base", "gpt2": "GPT-2 small"}
NAMES = VISION | LANGUAGE
VOCABULARY = {"bert_base": 30522, "gpt2": 50257}


def torchvision():
    """torchvision without its compiled operators, which do not load beside the CPU build of PyTorch: none is needed."""
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    import torchvision.models
    import torchvision.transforms.v2

    return torchvision


def mobilenet_v1(width=1.0, classes=1000, slope=None):
    """Howard et al. 2017: torchvision has no MobileNetV1. With a slope, LeakyReLU in place of ReLU6."""
    from torch import nn

    def block(inputs, outputs, size, stride, groups=1):
        convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU6(inplace=True)
        return [convolution, nn.BatchNorm2d(outputs), activation]

    stages = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    inputs = int(32 * width)
    layers = block(3, inputs, 3, 2)
    for outputs, stride in stages:
        outputs = int(outputs * width)
        layers += block(inputs, inputs, 3, stride, groups=inputs) + block(inputs, outputs, 1, 1)
        inputs = outputs
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.add_module("fc", nn.Linear(inputs, classes))
    return network


def make(architecture):
    """A network with random weights: images N×3×H×W to 1000 classes, tokens N×T to 2 labels or to next tokens."""
    import torch

    if architecture in LANGUAGE:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        torchvision()  # transformers imports it
        import transformers

        if architecture == "bert_base":
            settings = transformers.BertConfig(num_labels=2, attn_implementation="sdpa")
            return transformers.BertForSequenceClassification(settings)
        # The same tanh formula as GPT-2's "gelu_new", in one operation in place of eight.
        settings = transformers.GPT2Config(
            attn_implementation="sdpa", activation_function="gelu_pytorch_tanh", use_cache=False
        )
        return transformers.GPT2LMHeadModel(settings)
    network = mobilenet_v1() if architecture == "mobilenet_v1" else getattr(torchvision().models, architecture)()
    return network.to(memory_format=torch.channels_last)


def batch(architecture, count, size, sequence):
    """Random inputs and labels."""
    import torch

    if architecture in LANGUAGE:
        tokens = torch.randint(0, VOCABULARY[architecture], (count, sequence))
        return tokens, tokens if architecture == "gpt2" else torch.randint(0, 2, (count,))
    images = torch.randn(count, 3, size, size).to(memory_format=torch.channels_last)
    return images, torch.randint(0, 1000, (count,))


def loss(network, architecture, batch):
    """Cross-entropy: of labels, or of the next token at every position."""
    import torch

    inputs, labels = batch
    if architecture in LANGUAGE:
        return network(input_ids=inputs, labels=labels).loss
    return torch.nn.functional.cross_entropy(network(inputs), labels)


def peak_rss_mib():
    """The most memory that this process had, VmHWM."""
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024
