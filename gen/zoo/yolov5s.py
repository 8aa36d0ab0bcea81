"""YOLOv5s, version 6, for 640 x 640 images and 80 classes, with seeded random weights.

The three outputs are the convolutions of the detection heads, 3 anchors of 85 values a position, at strides 8, 16 and
32; boxes are not made of them. Its own activation is SiLU, a table here; with ReLU it has the same layers otherwise.
"""

from functools import partial

from .builder import Builder
from .layered import Layered


def _c3(b: Builder, x: str, channels: int, blocks: int, activation: str, shortcut: bool = True) -> str:
    """`blocks` bottlenecks on half of the channels, the other half beside them, and a 1 x 1 convolution of both."""
    half = channels // 2
    y = b.conv(x, half, 1, activation=activation)
    for _ in range(blocks):
        z = b.conv(y, half, 1, activation=activation)
        z = b.conv(z, half, 3, padding=1, activation=activation)
        y = b.add(y, z, "none") if shortcut else z
    beside = b.conv(x, half, 1, activation=activation, like=y)
    return b.conv(b.concat(y, beside), channels, 1, activation=activation)


def _sppf(b: Builder, x: str, channels: int, activation: str) -> str:
    """Three 5 x 5 max pools in a row, concatenated with what they are made of."""
    seen = [b.conv(x, channels // 2, 1, activation=activation)]
    for _ in range(3):
        seen.append(b.max_pool(seen[-1], 5, 1, 2))
    return b.conv(b.concat(*seen), channels, 1, activation=activation)


def _layers(b: Builder, activation: str) -> tuple[str, ...]:
    """Backbone, then a neck that goes up to stride 8 and down again, then the heads."""
    x = b.conv("input", 32, 6, 2, 2, activation)
    levels = []
    for channels, blocks in ((64, 1), (128, 2), (256, 3), (512, 1)):
        x = b.conv(x, channels, 3, 2, 1, activation)
        x = _c3(b, x, channels, blocks, activation)
        levels.append(x)
    x = _sppf(b, x, 512, activation)
    sides = []
    for channels, level in ((256, levels[2]), (128, levels[1])):
        sides.append(b.conv(x, channels, 1, activation=activation, like=level))
        x = _c3(b, b.concat(b.upsample(sides[-1]), level), channels, 1, activation, shortcut=False)
    heads = [x]
    for channels, side in ((256, sides[1]), (512, sides[0])):
        x = b.conv(x, channels // 2, 3, 2, 1, activation, like=side)
        x = _c3(b, b.concat(x, side), channels, 1, activation, shortcut=False)
        heads.append(x)
    return tuple(b.conv(x, 255, 1, activation="none") for x in heads)


yolov5s_relu = Layered("yolov5s-640-relu", "YOLOv5s v6 with ReLU, COCO", partial(_layers, activation="relu"),
                       (640, 640, 3), 1 / 256, -128, step=32)
yolov5s_silu = Layered("yolov5s-640-silu", "YOLOv5s v6 with SiLU, COCO", partial(_layers, activation="silu"),
                       (640, 640, 3), 1 / 256, -128, step=32)
