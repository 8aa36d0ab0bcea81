"""Peers that need a few lines each, and the entropy that bounds every coder without context."""

import zlib

import numpy as np
from numpy.typing import NDArray

GROUP = 16


def entropy_bits(values: NDArray[np.uint8], zero_point: int = 0) -> float:
    """An ideal order-0 coder that knows the tensor's histogram for nothing."""
    counts = np.bincount(values.ravel())
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def zero_value_bits(values: NDArray[np.uint8], zero_point: int) -> float:
    """Zero-value compression: a bit for each value, and the byte where it is not zero.

    Rhu et al., "Compressing DMA Engine: Leveraging Activation Sparsity for Training Deep Neural Networks", HPCA 2018.
    """
    return values.size + 8 * float(np.count_nonzero(values != zero_point))


def shapeshifter_bits(values: NDArray[np.uint8], zero_point: int) -> float:
    """Groups of 16: a bit for each value (zero or not), the width of the widest, and that many bits for each that is
    not zero, the sign with them where there are negative ones in the tensor.

    Delmas Lascorz et al., "ShapeShifter: Enabling Fine-Grain Data Width Adaptation in Deep Learning", MICRO 2019.
    """
    signed = zero_point > 0
    offset = values.astype(np.int64).ravel() - zero_point
    widths = np.where(offset == 0, 0, np.ceil(np.log2(np.abs(offset) + 1)).astype(np.int64) + signed)
    groups = np.pad(widths, (0, -len(widths) % GROUP)).reshape(-1, GROUP)
    count = np.bincount(np.arange(len(offset)) // GROUP, offset != 0)
    prefix = 4 if signed else 3  # widths 1..9 or 1..8
    return float(values.size + prefix * len(groups) + (count * groups.max(1)).sum())


def deflate_bits(values: NDArray[np.uint8], zero_point: int) -> float:
    """zlib at its best level over the whole tensor, channel by channel: no random access."""
    return 8.0 * len(zlib.compress(np.ascontiguousarray(values.transpose(2, 0, 1)).tobytes(), 9))
