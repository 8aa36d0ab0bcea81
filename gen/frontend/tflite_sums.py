"""ADD and SUB of TensorFlow Lite: both inputs are rounded to a common scale, then their sum to the output's.

The machine adds two products and rounds once. For nearly all scales there are two multipliers with which that is the
same for all 256 x 256 pairs; `one_pass` finds them. For the others `passes` rounds as often as the kernel does.
"""

from dataclasses import dataclass

import numpy as np

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_arithmetic import INT8, Integers, quantise_multiplier
from systolith.gen.graph import Tensor
from systolith.rtl.isa import DOUBLE, SINGLE
from systolith.sim.golden.rescale import round_shift

PRE_SHIFT = 20
"""Bits by which inputs are shifted to the left before they are scaled."""
REACH = 64
"""How far from the nearest multipliers `one_pass` looks. The kernel's first rounding moves a sum by up to half a step
of 2**-19 of the larger input; so do multipliers of 30 bits that are 2**10 / 255 off."""


@dataclass(frozen=True)
class Form:
    """A rescale: round_shift(x * multiplier, shift)."""

    multiplier: int
    shift: int
    rounding: int

    def __call__(self, x: Integers) -> Integers:
        return round_shift(x * self.multiplier, self.shift, self.rounding)


class Sum:
    """The kernel's arithmetic for a + sign * b on tensors with these scales and zero points."""

    def __init__(self, a: Tensor, b: Tensor, output: Tensor, sign: int, low: int, high: int) -> None:
        self.sign, self.output, self.low, self.high = sign, output, low, high
        self.inputs = (INT8 - a.zero_point, INT8 - b.zero_point)
        twice = 2.0 * max(a.scale, b.scale)
        shifted = float(np.float32(1 << PRE_SHIFT) * np.float32(output.scale))
        self.real = (a.scale / twice, b.scale / twice, twice / shifted)
        if not 0 < self.real[2] < 1:
            raise Refused(f"has the output scale {output.scale:g}, more than 2**19 times finer than its inputs'; "
                          "quantise the network again")
        *self.first, self.last = (Form(*quantise_multiplier(real), DOUBLE) for real in self.real)
        # scaled[i][x + 128]: input i in steps of 2**-20 of twice the larger scale
        self.scaled = [form(x << PRE_SHIFT) for form, x in zip(self.first, self.inputs, strict=True)]

    def __call__(self, a: Integers, b: Integers) -> Integers:
        """The kernel's output for integers a and b of the two inputs."""
        total = self.scaled[0][a + 128] + self.sign * self.scaled[1][b + 128]
        return np.clip(self.last(total) + self.output.zero_point, self.low, self.high)

    def one_pass(self) -> tuple[tuple[int, int], int] | None:
        """(multipliers, shift) of an Add that with SINGLE gives the same for every pair; None where there are none
        within `REACH` of the nearest."""
        a, b = (np.repeat(INT8, 256), np.tile(INT8, 256))
        x, y = np.repeat(self.inputs[0], 256), self.sign * np.tile(self.inputs[1], 256)
        expected = self(a, b)
        ratios = [self.real[k] * self.real[2] * 2.0 ** PRE_SHIFT for k in (0, 1)]
        shift = min(40, 30 - int(np.frexp(max(ratios))[1]))
        if shift < 1:
            return None
        nearest = [round(ratio * 2.0 ** shift) for ratio in ratios]
        half = np.int64(1) << shift - 1
        beyond = (x * nearest[0] + y * nearest[1] + half) & 2 * half - 1
        # the pairs near enough to where the output changes that other multipliers may round them otherwise
        close = np.flatnonzero(np.minimum(beyond, 2 * half - beyond) <= 255 * 2 * REACH)
        steps = expected[close] - self.output.zero_point
        reached, missed = (expected > self.low)[close], (expected < self.high)[close]
        for first in sorted(range(nearest[0] - REACH, nearest[0] + REACH + 1), key=lambda m: abs(m - nearest[0])):
            # y * second >= need for outputs that are reached, -y * second >= need for those that are missed
            left = x[close] * first + half
            factor = np.concatenate((y[close][reached], -y[close][missed]))
            need = np.concatenate(((steps * 2 * half - left)[reached], 1 - ((steps + 1) * 2 * half - left)[missed]))
            if (need[factor == 0] > 0).any():
                continue
            up, down = factor > 0, factor < 0
            smallest = (-(-need[up] // factor[up])).max(initial=max(0, nearest[1] - REACH))
            largest = (need[down] // factor[down]).min(initial=nearest[1] + REACH)
            second = int(min(max(nearest[1], smallest), largest))
            got = np.clip((x * first + y * second + half >> shift) + self.output.zero_point, self.low, self.high)
            if smallest <= largest and (got == expected).all():
                return (first, self.sign * second), shift
        return None

    def passes(self) -> tuple[list[Form], list[Form], Form]:
        """Rescales in a row from x - zero_point to `scaled` for each input, int8 to int32, and the one of the sum."""
        a, b = (self._widened(form) for form in self.first)
        return a, b, self.last

    @staticmethod
    def _widened(form: Form) -> list[Form]:
        if form.shift == 31:  # one rounding: the shift to the left goes into the other
            return [Form(form.multiplier, form.shift - PRE_SHIFT, SINGLE)]
        return [Form(1 << 30, 30 - PRE_SHIFT, SINGLE), form]
