"""APack: 16 ranges of values, arithmetic coded, and the place in the range as it is.

Delmas Lascorz, Mahmoud, Moshovos, "APack: Off-Chip, Lossless Data Compression for Efficient Deep Learning Inference",
arXiv 2201.08830. The ranges here are the best there are for the tensor, the arithmetic coder is ideal.
"""

import numpy as np
from numpy.typing import NDArray

RANGES = 16
ROW_BITS = 8 + 3 + 10
"""A row of the table: first value, bits of the place, probability."""


def apack_bits(values: NDArray[np.uint8], zero_point: int = 0) -> float:
    """Table and values of a tensor with the best table for it."""
    return table_cost(np.bincount(values.ravel(), minlength=256), RANGES) + RANGES * ROW_BITS


def table_cost(counts: NDArray[np.int64], ranges: int) -> float:
    """Bits of values with this histogram when it is cut into the best `ranges` ranges (or fewer)."""
    sums = np.concatenate([[0], np.cumsum(counts)]).astype(float)
    width = np.arange(len(sums)) - np.arange(len(sums))[:, None]
    inside = sums - sums[:, None]  # [first, end]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = inside * (np.ceil(np.log2(np.maximum(width, 1))) - np.log2(inside / sums[-1]))
    cost = np.where(width > 0, np.where(inside > 0, cost, 0.0), np.inf)
    best = cost[0]
    for _ in range(ranges - 1):
        best = np.minimum(best, (best[:, None] + cost).min(0))
    return float(best[-1])
