"""ResNet-8 for 32 x 32 images: the image classification network of MLPerf Tiny, with seeded random weights."""

from systolith.gen.graph import Graph

from .builder import Builder


def resnet8() -> Graph:
    """12.5 MMAC: a stem and three residual stacks of 16, 32 and 64 channels."""
    b = Builder("resnet8", (32, 32, 3))
    x = b.conv("input", 16)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = b.conv(x, channels, stride=stride)
        y = b.conv(y, channels, relu=False)
        if stride > 1:
            x = b.conv(x, channels, kernel=1, stride=stride, relu=False)
        x = b.add(x, y)
    return b.graph(b.conv(b.flatten(b.average(x)), 10, kernel=1, relu=False))
