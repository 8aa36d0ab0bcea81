"""The table of a softmax: TensorFlow Lite's reference kernel computes exp in gemmlowp's fixed point.

The kernel's exponentials have 31 bits; it adds them up rounded to 19 and finds 1 / sum by Newton's method. The machine
has one table of 24 bits for all that. So its outputs are the kernel's but for about one in 50,000 of rows of three or
more values, which lies so near to the middle between two integers that it is rounded to the other one.
"""

import math

import numpy as np
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_arithmetic import Integers, divided, quantise_multiplier

TABLE_BITS = 24
"""The table holds 2**TABLE_BITS for 1."""
ONE = (1 << 31) - 1
"""1.0 with 31 fractional bits, saturated."""


def _product(a: Integers | int, b: Integers | int) -> Integers:
    """SaturatingRoundingDoublingHighMul of int32."""
    return np.asarray(a, np.int64) * b + (1 << 30) >> 31


def _exp(x: Integers) -> Integers:
    """exp of x <= 0 with 26 fractional bits, in 31: a polynomial on [-1/4, 0), times exp(-2**k) for the bits above."""
    quarter = 1 << 24
    rest = (x & quarter - 1) - quarter
    z = (rest << 5) + (1 << 28)  # around -1/8
    z2 = _product(z, z)
    z3, z4 = _product(z2, z), _product(z2, z2)
    series = divided(_product(divided(z4, 2) + z3, round(2 ** 31 / 3)) + z2, 1)
    middle = round(math.exp(-1 / 8) * 2 ** 31)
    y = middle + _product(z + series, middle)
    for k in range(-2, 5):
        factor = round(math.exp(-2.0 ** k) * 2 ** 31)
        y = np.where(rest - x & 1 << 26 + k, _product(y, factor), y)
    return np.where(x == 0, ONE, y)


def exponentials(scale: float, beta: float) -> Integers:
    """exp(-beta * scale * d) for d = 0 .. 255 with 31 fractional bits; -1 for a d so large that the output is 0."""
    real = min(beta * scale * 2 ** 26, 2.0 ** 31 - 1)
    if not real > 1:
        raise Refused(f"has the input scale {scale:g} and beta {beta:g}, too small for the reference kernel")
    multiplier, shift = quantise_multiplier(real)
    to_left = 31 - shift
    d = np.arange(256, dtype=np.int64)
    last = math.floor(31 * 2 ** 26 / 2 ** to_left)
    return np.where(d <= last, _exp(_product(-np.minimum(d, last) << to_left, multiplier)), -1)


def softmax_table(scale: float, beta: float) -> NDArray[np.int32]:
    """The node's table: `exponentials`, rounded."""
    return divided(np.maximum(exponentials(scale, beta), 0), 31 - TABLE_BITS).astype(np.int32)
