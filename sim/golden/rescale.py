"""RESCALE: int64 sums to a small integer, as TOSA defines it, with the rounding modes of the VECTOR instruction."""

import math

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import DOUBLE, EVEN, SINGLE


class ScaleError(ValueError):
    """A scale that no multiplier and shift can hold."""


def quantise_scale(scale: float) -> tuple[int, int]:
    """Multiplier (31 bits, not negative) and right shift (0 to 62) with `multiplier / 2**shift` nearest to `scale`.

    `scale` is the float64 quotient of float32 scales. Formula: TOSA RESCALE / TensorFlow Lite's QuantizeMultiplier.
    Raises ScaleError for a scale that is negative, not finite, or 2**31 and more.
    """
    if not (math.isfinite(scale) and 0 <= scale < 2.0 ** 31):
        raise ScaleError(f"a scale must be from 0 to 2**31, not {scale}")
    q, e = math.frexp(scale)
    multiplier = round(q * 2 ** 31)
    if multiplier == 1 << 31:
        multiplier, e = multiplier >> 1, e + 1
    if e < -31:
        return 0, 31
    return multiplier, 31 - e


def round_shift(s: NDArray[np.int64], shift: NDArray[np.int64] | int, rounding: int) -> NDArray[np.int64]:
    """`s / 2**shift` rounded: SINGLE ties upwards, DOUBLE as gemmlowp's two steps, EVEN ties to even."""
    s = np.asarray(s, np.int64)
    shift = np.asarray(shift, np.int64)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    if rounding == SINGLE:
        return (s + half) >> shift
    if rounding == DOUBLE:
        nudge = np.where(shift > 31, np.where(s < 0, -(1 << 30), 1 << 30), 0)
        return (s + half + nudge) >> shift
    if rounding == EVEN:
        up = (s + half) >> shift
        tie = (shift > 0) & ((s & ((np.int64(1) << shift) - 1)) == half)
        return up - (tie & ((up & 1) == 1))
    raise ValueError(f"rounding must be SINGLE, DOUBLE or EVEN, not {rounding}")


def rescale(
    acc: NDArray[np.int32], multiplier: NDArray[np.int64] | int, shift: NDArray[np.int64] | int, *,
    rounding: int = SINGLE, zero_point: int = 0, low: int = -128, high: int = 127,
) -> NDArray[np.int32]:
    """clamp(round(acc * multiplier / 2**shift) + zero_point, low, high).

    Multiplier and shift broadcast over channels (last axis).
    """
    product = np.asarray(acc, np.int64) * np.asarray(multiplier, np.int64)
    return np.clip(round_shift(product, shift, rounding) + zero_point, low, high).astype(np.int32)
