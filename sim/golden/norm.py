"""The NORM instruction in numpy: what `rtl.norm_unit` does to memory; and its parameters from real numbers."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import INT16, NORM_ELEMS, Instruction

from .rescale import ScaleError
from .softmax import row_bytes

FRACTION = 16
"""Fraction bits of a normalised value before its gain."""
PARAMETER_BYTES = 8
_TYPES = (np.dtype("<i1"), np.dtype("<i2"))


class NormParameters(NamedTuple):
    """What NORM applies: gain (18 bits, signed), right shift (0 to 63) and offset (int32) of each channel."""

    gain: NDArray[np.int64]
    shift: NDArray[np.int64]
    offset: NDArray[np.int64]

    def encode(self) -> NDArray[np.uint8]:
        """Their bytes in memory."""
        words = np.stack([self.gain << 14 | self.shift, self.offset], axis=-1) & 0xFFFFFFFF
        return words.astype("<u4").reshape(-1).view(np.uint8)

    @classmethod
    def decode(cls, raw: NDArray[np.uint8]) -> "NormParameters":
        """The inverse of `encode`."""
        words = raw.view("<i4").astype(np.int64).reshape(-1, 2)
        return cls(words[:, 0] >> 14, words[:, 0] & 63, words[:, 1])


def quantise_norm(gamma: NDArray[Any], beta: NDArray[Any], scale: float) -> NormParameters:
    """The parameters that make gamma * t + beta in steps of `scale`. Raises ScaleError for what they cannot hold."""
    gains = np.asarray(gamma, np.float64) / scale * 2.0 ** (8 - FRACTION)
    offsets = np.rint(np.asarray(beta, np.float64) / scale * 256)
    if not (np.isfinite(gains).all() and (np.abs(offsets) < 2.0 ** 31).all()):
        raise ScaleError(f"beta must be less than 2**23 steps of the output, not {np.abs(beta).max() / scale:g}")
    mantissas, exponents = np.frexp(gains)
    steps = np.rint(mantissas * 2.0 ** 17).astype(np.int64)
    full = np.abs(steps) == 1 << 17  # rounded up to the next power of two
    shifts = 17 - exponents.astype(np.int64) - full
    steps = np.where(full, steps >> 1, steps)
    if (shifts[steps != 0] < 0).any():
        raise ScaleError(f"gamma must be less than 2**25 steps of the output, not {np.abs(gamma).max() / scale:g}")
    steps >>= np.clip(shifts - 63, 0, 18)  # so small that fewer bits do
    return NormParameters(steps, np.where(steps == 0, 0, np.minimum(shifts, 63)), offsets.astype(np.int64))


def quantise_epsilon(epsilon: float, scale: float, elems: int) -> int:
    """The instruction's epsilon for rows of `elems` values in steps of `scale`. Raises ScaleError if it has no room."""
    value = 256 * elems ** 2 * epsilon / scale ** 2
    if not 0 <= value < 2.0 ** 64 - 2.0 ** 11:
        raise ScaleError(f"an epsilon of {epsilon:g} is too large for inputs in steps of {scale:g}")
    return round(value)


def reciprocal_root(variance: int) -> tuple[int, int]:
    """r and k - 3 of V, as `rtl.isa` defines them: r / 2**(k - 3) is about 2**20 / sqrt(V)."""
    half = max(3, (variance.bit_length() + 1) // 2)
    if variance == 0:
        return 0, half - 3
    normal = variance << 36 - 2 * half if half <= 18 else variance >> 2 * half - 36
    return min((math.isqrt((1 << 72) // normal) + 1) >> 1, (1 << 18) - 1), half - 3


def norm_rows(x: NDArray[Any], parameters: NormParameters, epsilon: int, *, rms: bool = False, zero_point: int = 0,
              low: int = -128, high: int = 127) -> NDArray[np.int32]:
    """Layer norm (RMS norm) over the last axis of integers of 16 bits: the NORM instruction."""
    wide = np.asarray(x, np.int64)
    n = wide.shape[-1]
    s = np.zeros((*wide.shape[:-1], 1), np.int64) if rms else wide.sum(axis=-1, keepdims=True)
    moments = n * (wide * wide).sum(axis=-1, keepdims=True) - s * s
    roots = [reciprocal_root(256 * moment + epsilon) for moment in moments.reshape(-1).tolist()]
    r, down = (np.array(part, np.int64).reshape(s.shape) for part in zip(*roots, strict=True))
    t = _round_shift((n * wide - s) * r, down)
    u = _round_shift(t * parameters.gain, parameters.shift)
    return np.clip((u + parameters.offset + 128 >> 8) + zero_point, low, high).astype(np.int32)


def _round_shift(value: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """Nearest, ties upwards; shifts up to 63 of values below 2**62."""
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    return value + half >> shift


def check_norm(instruction: Instruction, word_bytes: int) -> None:
    """Raises ValueError where the norm unit would report an illegal operand."""
    i = instruction
    for name in ("rows", "elems"):
        if getattr(i, name) == 0:
            raise ValueError(f"NORM: {name} must be at least 1, not 0")
    if i.elems > NORM_ELEMS:
        raise ValueError(f"NORM: elems must be at most {NORM_ELEMS}, not {i.elems}")
    if i.b % word_bytes:
        raise ValueError(f"NORM: b must be a multiple of word_bytes ({word_bytes}), not {i.b}")
    for name in ("in_type", "out_type"):
        if getattr(i, name) > INT16:
            raise ValueError(f"NORM: {name} must be INT8 or INT16, not {getattr(i, name)}")
    if i.low > i.high:
        raise ValueError(f"NORM: low must be at most high ({i.high}), not {i.low}")


def execute_norm(instruction: Instruction, memory: NDArray[np.uint8], word_bytes: int) -> None:
    """Carries out one instruction on `memory`, in place. Raises ValueError or IndexError where the machine reports."""
    i = instruction
    check_norm(i, word_bytes)
    parameters = NormParameters.decode(memory[row_bytes(i.b, 0, 1, PARAMETER_BYTES * i.elems)[0]])
    source, target = _TYPES[i.in_type], _TYPES[i.out_type]
    x = memory[row_bytes(i.a, i.a_row, i.rows, source.itemsize * i.elems)].view(source)
    out = norm_rows(x, parameters, i.epsilon_high << 32 | i.epsilon, rms=bool(i.rms), zero_point=i.zero_point,
                    low=i.low, high=i.high)
    memory[row_bytes(i.c, i.c_row, i.rows, target.itemsize * i.elems)] = out.astype(target).view(np.uint8)
