"""MobileNetV1 with a quarter of the channels, 96 x 96 images: the visual wake words network of MLPerf Tiny, with seeded
random weights."""

from systolith.rtl.isa import DOUBLE

from .builder import Builder
from .layered import Layered

PAIRS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1))
"""Output channels and stride of each pair of depthwise and pointwise convolutions."""


def _layers(b: Builder) -> tuple[str, ...]:
    """A convolution, 13 pairs of depthwise and pointwise ones, and two classes."""
    x = b.conv("input", 8, stride=2)
    for channels, stride in PAIRS:
        x = b.conv(b.depthwise(x, stride=stride), channels, kernel=1)
    return (b.softmax(b.dense(b.flatten(b.average(x)), 2)),)


vww = Layered("vww", "MobileNetV1 0.25, visual wake words of MLPerf Tiny", _layers, (96, 96, 3), 1 / 256, -128, step=32,
              rounding=DOUBLE)
