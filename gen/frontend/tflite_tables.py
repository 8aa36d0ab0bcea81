"""Functions of one int8 value as tables of 256, as TensorFlow Lite's reference kernels compute them: entry x + 128
for x."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_arithmetic import INT8, Integers, away, divided, multiplied, quantise_multiplier
from systolith.gen.graph import Tensor

Table = NDArray[np.int8]


def saturated(values: Integers) -> Table:
    """As int8, clamped."""
    return np.clip(values, -128, 127).astype(np.int8)


def of_real(function: Callable[[float], float], x: Tensor, output: Tensor) -> Table:
    """A function computed in float32 on each value: LOGISTIC and TANH. Source: LUTPopulate.

    The C library's expf and tanhf are taken to be float64's rounded to float32; where theirs differ by a unit in the
    last place the table is the same but for values within 2**-16 of the middle between two integers.
    """
    real = np.float32(x.scale) * (INT8 - x.zero_point).astype(np.float32)
    made = np.array([function(float(value)) for value in real], np.float32)
    steps = away(made * (np.float32(1) / np.float32(output.scale)))
    return saturated((steps + output.zero_point).astype(np.int64))


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)) in float32."""
    with np.errstate(over="ignore"):
        return float(np.float32(1) / (np.float32(1) + np.float32(math.exp(min(-x, 700.0)))))


def leaky_relu(x: Tensor, output: Tensor, alpha: float) -> Table:
    """x where it is not negative, alpha * x where it is; each rescaled on its own."""
    scale_in, scale_out = np.float32(x.scale), np.float32(output.scale)
    centred = INT8 - x.zero_point
    positive = multiplied(centred, float(scale_in / scale_out))
    negative = multiplied(centred, float(scale_in * np.float32(alpha) / scale_out))
    return saturated(np.where(centred >= 0, positive, negative) + output.zero_point)


def hard_swish(x: Tensor, output: Tensor) -> Table:
    """x * relu6(x + 3) / 6 in 16-bit fixed point: x in steps of 1/128, and relu6(x + 3) / 6 in steps of 2**-15."""
    hires = np.float32(1 / 128) * np.float32(x.scale)
    to_output, output_shift = _short_multiplier(float(hires / np.float32(output.scale)))
    to_reluish, reluish_shift = _short_multiplier(float(hires / np.float32(3 / 32768)))
    if output_shift > 0:
        raise Refused(f"has the output scale {output.scale:g}, too small for its input's; quantise the network again")
    fine = (INT8 - x.zero_point) * 128
    reluish = fine
    if reluish_shift > 0:
        reluish = _int16(reluish << min(reluish_shift - 1, 31))
    reluish = _high(reluish, to_reluish)
    if reluish_shift > 0:
        reluish = _int16(reluish << 1)
    elif reluish_shift < 0:
        reluish = divided(reluish, -reluish_shift)
    product = (reluish + 32768 >> 1) * _high(fine, to_output)
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return saturated(divided(truncated, -output_shift) + output.zero_point)


def _short_multiplier(scale: float) -> tuple[int, int]:
    """QuantizeMultiplier with 16 bits: scale is multiplier / 2**15 * 2**shift."""
    multiplier, shift = quantise_multiplier(scale)
    return min((multiplier + (1 << 15)) >> 16, 32767), 31 - shift


def _int16(x: Integers) -> Integers:
    return np.clip(x, -32768, 32767)


def _high(x: Integers, multiplier: int) -> Integers:
    """SaturatingRoundingDoublingHighMul of int16."""
    return _int16(x * multiplier + (1 << 14) >> 15)
