"""The fixed-point arithmetic of TensorFlow Lite's reference kernels, and multipliers that reproduce it.

Where a kernel computes as the machine does, its multiplier is taken over. Where it does not (float64 in fully connected
layers, two roundings in sums) the multipliers here are searched and checked on every input that can occur, or on every
value at which an output changes; a form that is not exact is never used.
"""

import math

import numpy as np
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.graph import Tensor
from systolith.rtl.isa import DOUBLE
from systolith.sim.golden.rescale import ScaleError, quantise_scale, round_shift

Integers = NDArray[np.int64]
INT8 = np.arange(-128, 128, dtype=np.int64)
"""Every value of an int8 tensor, in the order of a table."""
INT32 = 1 << 31
ACTIVATIONS = {0: (None, None), 1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
"""Bounds of the fused activations: none, RELU, RELU_N1_TO_1, RELU6."""


def quantise_multiplier(scale: float) -> tuple[int, int]:
    """`quantise_scale`, a multiplier halfway between two integers rounded up as QuantizeMultiplier does."""
    q, _ = math.frexp(scale)
    if q * 2 ** 31 % 1 == 0.5:
        scale = math.nextafter(scale, math.inf)
    try:
        return quantise_scale(scale)
    except ScaleError as error:
        raise Refused(f"has scales that no multiplier can hold ({error}); quantise the network again") from None


def in_range(bound: int, shift: int) -> None:
    """Refuses sums of up to `bound` that the kernels, which shift them to the left first, would overflow."""
    if shift < 31 and bound << 31 - shift >= INT32:
        raise Refused("has scales so far apart that the reference kernel's 32-bit sums overflow; quantise the network "
                      "again")


def multiplied(x: Integers, scale: float) -> Integers:
    """MultiplyByQuantizedMultiplier: `x` times a scale, with the kernels' two roundings."""
    multiplier, shift = quantise_multiplier(abs(scale))
    in_range(int(np.abs(x).max(initial=0)), shift)
    y = round_shift(np.asarray(x, np.int64) * multiplier, shift, DOUBLE)
    return y if scale >= 0 else -y


def divided(x: Integers, exponent: Integers | int) -> Integers:
    """RoundingDivideByPOT: x / 2**exponent to the nearest integer, ties away from zero."""
    return np.sign(x) * (np.abs(x) + (1 << exponent >> 1) >> exponent)


def away(x: NDArray[np.floating] | np.floating) -> NDArray[np.float64]:
    """To the nearest integer, ties away from zero: std::round."""
    wide = np.asarray(x, np.float64)
    return np.copysign(np.floor(np.abs(wide) + 0.5), wide)


def clamp(kind: int, output: Tensor) -> tuple[int, int]:
    """Lowest and highest integer of an output with a fused activation."""
    if kind not in ACTIVATIONS:
        raise Refused("has a fused activation that is neither RELU, RELU_N1_TO_1 nor RELU6; convert the network with "
                      "the activation as an operator of its own")
    low, high = (None if bound is None else float(away(np.float32(bound) / np.float32(output.scale)))
                 for bound in ACTIVATIONS[kind])
    if max(abs(low or 0), abs(high or 0)) >= INT32:
        raise Refused(f"has the output scale {output.scale:g}, too small for its activation; quantise it again")
    return (-128 if low is None else max(-128, int(low) + output.zero_point),
            127 if high is None else min(127, int(high) + output.zero_point))


# Fully connected layers: out = round(float64(sum) * scale), ties away from zero

def _first_sums(scale: float, steps: Integers) -> Integers:
    """For each step the least sum that the kernel rounds to it or higher."""
    bound = steps - 0.5
    sums = np.clip(np.floor(bound / scale), -2.0 ** 40, 2.0 ** 40)[:, np.newaxis] + np.arange(-2, 4)
    product = sums * scale
    reached = np.where(steps[:, np.newaxis] > 0, product >= bound[:, np.newaxis], product > bound[:, np.newaxis])
    return sums[np.arange(len(steps)), reached.argmax(1)].astype(np.int64)


def float_scale(scale: float, zero_point: int, low: int, high: int, least: int, most: int) -> tuple[int, int]:
    """(multiplier, shift) whose SINGLE rounding gives what round(float64(sum) * scale) gives, clamped, for every sum
    from `least` to `most`. Refused where there is none of 31 bits.

    An output rises by one at each of at most 255 sums; a multiplier is exact if it rises at the same ones.
    """
    if scale == 0:
        return 0, 31
    if max(abs(least), abs(most)) * scale >= INT32 - 256 or max(abs(least), abs(most)) >= INT32:
        raise Refused("has sums that overflow 32 bits in the reference kernel; quantise the network again")
    steps = np.arange(low + 1, high + 1, dtype=np.int64) - zero_point
    first = np.clip(_first_sums(scale, steps), least, most + 1)
    multiplier, shift = quantise_multiplier(scale)
    if shift < 1:
        raise Refused("has an output scale far below its input's; quantise the network again")
    if multiplier == 0:
        shift = 62
    pairs = list(zip(first.tolist(), steps.tolist(), strict=True))
    found = exact_multiplier([(sum_, step) for sum_, step in pairs if sum_ <= most],
                             [(sum_ - 1, step) for sum_, step in pairs if sum_ > least], multiplier, shift)
    if found is None:
        raise Refused("needs a multiplier of more than 31 bits to round its sums as the reference kernel does; use "
                      "fewer inputs, or quantise it by channel")
    return found, shift


def exact_multiplier(reached: list[tuple[int, int]], missed: list[tuple[int, int]], nearest: int, shift: int,
                     ) -> int | None:
    """The multiplier of 31 bits closest to `nearest` with which SINGLE rounds each sum of `reached` to its step or
    higher, and each of `missed` lower than its step; None where there is none."""
    half = 1 << shift - 1
    smallest, largest = 0, INT32 - 1
    # round_shift(sum * m, shift) >= step is sum * m >= step * 2**shift - half; the opposite is -sum * m >= 1 - that
    needs = [(sum_, (step << shift) - half) for sum_, step in reached]
    needs += [(-sum_, 1 - (step << shift) + half) for sum_, step in missed]
    for factor, need in needs:
        if factor > 0:
            smallest = max(smallest, -(-need // factor))
        elif factor < 0:
            largest = min(largest, need // factor)
        elif need > 0:
            return None
    return min(max(nearest, smallest), largest) if smallest <= largest else None
