"""ResNet-8 for 32 x 32 images: the image classification network of MLPerf Tiny, with seeded random weights."""

from systolith.rtl.isa import DOUBLE

from .builder import Builder
from .layered import Layered


def _layers(b: Builder) -> tuple[str, ...]:
    """A stem and three residual stacks of 16, 32 and 64 channels."""
    x = b.conv("input", 16)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = b.conv(x, channels, stride=stride)
        y = b.conv(y, channels, activation="none")
        if stride > 1:
            x = b.conv(x, channels, kernel=1, stride=stride, activation="none")
        x = b.add(x, y)
    return (b.softmax(b.dense(b.flatten(b.average(x)), 10)),)


resnet8 = Layered("resnet8", "ResNet-8, image classification of MLPerf Tiny", _layers, (32, 32, 3), 1.0, -128, step=4,
                  rounding=DOUBLE)
