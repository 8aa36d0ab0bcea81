"""MobileNetV2 for ImageNet, with seeded random weights; "same" padding, the outputs are logits."""

from .builder import Builder
from .layered import Layered

STACKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, blocks and first stride of each stack: table 2 of the paper."""


def _block(b: Builder, x: str, expansion: int, channels: int, stride: int) -> str:
    """Wider by a 1 x 1 convolution, depthwise 3 x 3, narrow again without activation; added to x where shapes agree."""
    inputs = b.tensors[x].shape[2]
    y = b.conv(x, expansion * inputs, 1, activation="relu6") if expansion > 1 else x
    y = b.conv(b.depthwise(y, stride=stride, activation="relu6"), channels, 1, activation="none")
    return b.add(x, y, "none") if stride == 1 and inputs == channels else y


def _layers(b: Builder) -> tuple[str, ...]:
    x = b.conv("input", 32, stride=2, activation="relu6")
    for expansion, channels, blocks, stride in STACKS:
        for block in range(blocks):
            x = _block(b, x, expansion, channels, 1 if block else stride)
    x = b.conv(x, 1280, 1, activation="relu6")
    return (b.dense(b.flatten(b.average(x)), 1000),)


mobilenetv2 = Layered("mobilenetv2", "MobileNetV2 1.0, ImageNet", _layers, (224, 224, 3), 1 / 128, -1, step=32)
