"""ResNet-50 for ImageNet, with seeded random weights.

`resnet50` is the network of the paper, with the stride of a stack in its first 1 x 1 convolution: 3.86 GMAC.
`resnet50-v1.5` has it in the 3 x 3 convolution: 4.09 GMAC. Convolutions are padded evenly; the outputs are logits.
"""

from functools import partial

from .builder import Builder
from .layered import Layered

STACKS = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Channels of the 3 x 3 convolutions, and blocks, of each stack."""


def _block(b: Builder, x: str, channels: int, stride: int, first: bool, late_stride: bool) -> str:
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut, which is a convolution in the first block of a stack."""
    early, late = (1, stride) if late_stride else (stride, 1)
    y = b.conv(x, channels, 1, early, 0)
    y = b.conv(y, channels, 3, late, 1)
    y = b.conv(y, 4 * channels, 1, 1, 0, "none")
    if first:
        x = b.conv(x, 4 * channels, 1, stride, 0, "none")
    return b.add(x, y)


def _layers(b: Builder, late_stride: bool) -> tuple[str, ...]:
    x = b.max_pool(b.conv("input", 64, 7, 2, 3), 3, 2, 1)
    for stack, (channels, blocks) in enumerate(STACKS):
        for block in range(blocks):
            x = _block(b, x, channels, 2 if stack and not block else 1, not block, late_stride)
    return (b.dense(b.flatten(b.average(x)), 1000),)


resnet50 = Layered("resnet50", "ResNet-50 v1 (stride in the 1 x 1), ImageNet", partial(_layers, late_stride=False),
                   (224, 224, 3), 0.01866, -14, step=32)
resnet50_v15 = Layered("resnet50-v1.5", "ResNet-50 v1.5 (stride in the 3 x 3), ImageNet",
                       partial(_layers, late_stride=True), (224, 224, 3), 0.01866, -14, step=32)
