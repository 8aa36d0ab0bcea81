"""EBPC: zero runs, and bit planes of differences of what is not zero.

Cavigelli, Rutishauser, Benini, "EBPC: Extended Bit-Plane Compression for Deep Neural Network Inference and Training
Accelerators", IEEE JETCAS 2019. Blocks of 8 words and runs of up to 16 zeros, as in its hardware.
"""

import numpy as np
from numpy.typing import NDArray

WORD, BLOCK, BURST = 8, 8, 16
_PLANES = WORD + 1
_PLACE = 3  # bits that name one of 7 differences, or a number of zero planes


def ebpc_bits(values: NDArray[np.uint8], zero_point: int) -> float:
    """The tensor in one piece, channel by channel: no random access."""
    scanned = values.transpose(2, 0, 1).ravel()
    return float(zero_run_bits(scanned == zero_point) + plane_bits(scanned[scanned != zero_point]))


def zero_run_bits(zeros: NDArray[np.bool_]) -> int:
    """One bit for what is not zero, one and four for up to 16 zeros in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], zeros, [False]]).astype(np.int8)))
    runs = edges[1::2] - edges[::2]
    return int(np.count_nonzero(~zeros) + ((runs + BURST - 1) // BURST).sum() * (1 + 4))


def plane_bits(words: NDArray[np.uint8]) -> int:
    """Bits of all blocks: the first word, then 9 planes of 7 differences, each XORed with the plane above it."""
    if not len(words):
        return 0
    blocks = np.pad(words, (0, -len(words) % BLOCK), mode="edge").reshape(-1, BLOCK).astype(np.int64)
    differences = np.diff(blocks, axis=1) & (1 << _PLANES) - 1
    planes = (differences[:, None] >> np.arange(_PLANES - 1, -1, -1)[:, None] & 1).astype(bool)  # highest first
    changed = planes.copy()
    changed[:, :-1] ^= planes[:, 1:]  # with the next lower one; the lowest as it is
    ones = changed.sum(2)
    pair = (ones == 2) & (changed[:, :, 1:] & changed[:, :, :-1]).any(2)
    bits = np.full(ones.shape, 1 + BLOCK - 1)
    bits[(ones == 1) | pair] = 5 + _PLACE
    bits[(ones > 0) & ~planes.any(2)] = 5
    bits[ones == BLOCK - 1] = 5
    total = WORD * len(blocks) + int(bits[ones > 0].sum())
    run = np.zeros(len(blocks), np.int64)
    for plane in range(_PLANES + 1):  # planes without a one: 3 bits for one, 5 for several in a row
        zero = ones[:, plane] == 0 if plane < _PLANES else np.zeros(len(blocks), bool)
        ended = run[~zero]
        total += int(np.where(ended == 0, 0, np.where(ended == 1, 3, 2 + _PLACE)).sum())
        run = np.where(zero, run + 1, 0)
    return total
