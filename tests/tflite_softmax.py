"""TensorFlow Lite's reference kernel of SOFTMAX in numpy: what the SOFTMAX instruction comes close to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.frontend.tflite_arithmetic import divided

Integers = NDArray[Any]
ONE, SUM_BITS = (1 << 31) - 1, 19


def product(a: Integers | int, b: Integers | int) -> Integers:
    """SaturatingRoundingDoublingHighMul of int32."""
    return np.asarray(a, np.int64) * b + (1 << 30) >> 31


def reciprocal(total: Integers) -> tuple[Integers, Integers]:
    """(r, bits) with r / 2**31 about 2**bits / total, of SUM_BITS fractional bits: three of Newton's steps."""
    bits = np.frexp(total.astype(np.float64))[1].astype(np.int64)  # 2**(bits - 1) <= total < 2**bits
    half = (total << 32 - bits) >> 1  # total between 1/2 and 1, with 31 fractional bits
    x = round(48 / 17 * 2 ** 29) + product(half, round(-32 / 17 * 2 ** 29))
    for _ in range(3):
        x = x + (product(x, (1 << 29) - product(half, x)) << 2)
    return np.minimum(x << 1, ONE), bits - 1 - SUM_BITS


def reference(x: Integers, table: Integers) -> Integers:
    """The kernel's outputs for rows (last axis) of int8, with the `exponentials` for its scale."""
    e = table[x.max(axis=-1, keepdims=True) - x]
    used = np.maximum(e, 0)
    r, bits = reciprocal(divided(used, 31 - SUM_BITS).sum(axis=-1, keepdims=True))
    y = divided(product(used, r), bits + 31 - 8)
    return np.where(e < 0, 0, np.minimum(y, 255)) - 128
