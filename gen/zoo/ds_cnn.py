"""DS-CNN on 49 x 10 cepstral coefficients: the keyword spotting network of MLPerf Tiny, with seeded random weights."""

from systolith.rtl.isa import DOUBLE

from .builder import Builder
from .layered import Layered


def _layers(b: Builder) -> tuple[str, ...]:
    """A convolution, four pairs of depthwise and pointwise ones, 64 channels throughout, and 12 words."""
    x = b.conv("input", 64, (10, 4), stride=2)
    for _ in range(4):
        x = b.conv(b.depthwise(x), 64, kernel=1)
    return (b.softmax(b.dense(b.flatten(b.average(x)), 12)),)


ds_cnn = Layered("ds-cnn", "DS-CNN, keyword spotting of MLPerf Tiny", _layers, (49, 10, 1), 0.5847, 83,
                 rounding=DOUBLE)
