"""Models of other codecs: how many bits each needs for a tensor. Every one is at least as good as what was published:
nothing is counted for byte boundaries, stuffing or the lengths of substreams."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .apack import apack_bits
from .ebpc import ebpc_bits
from .jpegls import jpegls_bits
from .simple import deflate_bits, entropy_bits, shapeshifter_bits, zero_value_bits

PEERS: dict[str, Callable[[NDArray[np.uint8], int], float]] = {
    "zero-value": zero_value_bits,
    "EBPC": ebpc_bits,
    "ShapeShifter": shapeshifter_bits,
    "APack": apack_bits,
    "JPEG-LS tiles": jpegls_bits,
    "zlib": deflate_bits,
}
"""Bits of a uint8 tensor [rows, columns, channels] with a zero point."""

__all__ = ["PEERS", "apack_bits", "deflate_bits", "ebpc_bits", "entropy_bits", "jpegls_bits", "shapeshifter_bits",
           "zero_value_bits"]
