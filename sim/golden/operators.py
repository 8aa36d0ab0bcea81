"""The core graph's operators on integer arrays [..., height, width, channels], exact; leading axes are a batch.

Each returns int32 values within the output's range. Formulae: `systolith.gen.graph`; rounding: `rescale`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import SINGLE

from .rescale import rescale, round_shift

Array = NDArray[Any]
Padding = tuple[int, int, int, int]
"""top, left, bottom, right"""


def pad_map(x: Array, padding: Padding, value: float = 0) -> Array:
    """`x` with a border of `value`."""
    if not any(padding):
        return x
    top, left, bottom, right = padding
    return np.pad(x, [(0, 0)] * (x.ndim - 3) + [(top, bottom), (left, right), (0, 0)], constant_values=value)


def window_count(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Windows along an axis of `size` (padding included)."""
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def taps(x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int],
         ) -> Iterator[tuple[int, int, Array]]:
    """(ky, kx, what that element of the window sees at every window), views of the padded map `x`."""
    ny = window_count(x.shape[-3], kernel[0], strides[0], dilations[0])
    nx = window_count(x.shape[-2], kernel[1], strides[1], dilations[1])
    for ky in range(kernel[0]):
        y = ky * dilations[0]
        rows = x[..., y:y + (ny - 1) * strides[0] + 1:strides[0], :, :]
        for kx in range(kernel[1]):
            z = kx * dilations[1]
            yield ky, kx, rows[..., z:z + (nx - 1) * strides[1] + 1:strides[1], :]


def correlate(x: Array, weights: Array, strides: tuple[int, int], dilations: tuple[int, int]) -> Array:
    """Sums of products of the padded map `x` with `weights` [out, ky, kx, in], in the arithmetic of x's type."""
    outputs, height, width, inputs = weights.shape
    total: Array | None = None
    row: list[Array] = []
    for ky, kx, seen in taps(x, (height, width), strides, dilations):
        row.append(seen)
        if kx == width - 1:
            columns = np.concatenate(row, axis=-1) if width > 1 else seen
            matrix = weights[:, ky].reshape(outputs, width * inputs).T
            # one flat product: numpy would loop over the leading axes of a stacked one
            part = np.ascontiguousarray(columns).reshape(-1, width * inputs) @ np.ascontiguousarray(matrix)
            total = part if total is None else np.add(total, part, out=total)
            shape, row = columns.shape[:-1], []
    assert total is not None
    return total.reshape(*shape, outputs)


def exact_sums(x: Array, weights: Array, strides: tuple[int, int], dilations: tuple[int, int]) -> NDArray[np.int64]:
    """`correlate` of integers, in floating point where every partial sum is an integer that it holds exactly."""
    largest = int(np.abs(x).max(initial=0))
    bound = largest * int(np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3)).max(initial=0))
    kind = np.float32 if bound < 1 << 24 else np.float64 if bound < 1 << 53 else np.int64
    return correlate(x.astype(kind), weights.astype(kind), strides, dilations).astype(np.int64)


def conv2d(x: Array, weights: Array, bias: Array, multiplier: Array, shift: Array, *, zero_in: int = 0,
           zero_out: int = 0, strides: tuple[int, int] = (1, 1), dilations: tuple[int, int] = (1, 1),
           padding: Padding = (0, 0, 0, 0), rounding: int = SINGLE, low: int = -128, high: int = 127,
           ) -> NDArray[np.int32]:
    """Convolution: int32 sums (they wrap), bias, rescale a channel."""
    centred = pad_map(np.asarray(x, np.int32) - zero_in, padding)
    sums = (exact_sums(centred, weights, strides, dilations) + np.asarray(bias, np.int64)).astype(np.int32)
    return rescale(sums, multiplier, shift, rounding=rounding, zero_point=zero_out, low=low, high=high)


def add(a: Array, b: Array, multiplier: tuple[int, int], shift: int, *, zero_a: int = 0, zero_b: int = 0,
        zero_out: int = 0, rounding: int = SINGLE, low: int = -128, high: int = 127) -> NDArray[np.int32]:
    """Sum of two tensors of equal shape, each with its own scale."""
    s = (np.asarray(a, np.int64) - zero_a) * multiplier[0] + (np.asarray(b, np.int64) - zero_b) * multiplier[1]
    return np.clip(round_shift(s, shift, rounding) + zero_out, low, high).astype(np.int32)


def window_sums(x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]) -> Array:
    """Sum of each window of the padded map `x`."""
    seen = [view for _, _, view in taps(x, kernel, strides, dilations)]
    total = seen[0].copy()
    for view in seen[1:]:
        total += view
    return total


def window_maxima(x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]) -> Array:
    """Largest value of each window of the padded map `x`."""
    seen = [view for _, _, view in taps(x, kernel, strides, dilations)]
    best = seen[0].copy()
    for view in seen[1:]:
        np.maximum(best, view, out=best)
    return best


def window_elements(height: int, width: int, kernel: tuple[int, int], strides: tuple[int, int],
                    dilations: tuple[int, int], padding: Padding) -> NDArray[np.int64]:
    """How many elements of each window lie inside a map: [output height, output width, 1]."""
    ones = pad_map(np.ones((height, width, 1), np.int64), padding)
    return window_sums(ones, kernel, strides, dilations)


def pool2d(x: Array, mode: str, kernel: tuple[int, int], multiplier: int, shift: int, *, zero_in: int = 0,
           zero_out: int = 0, strides: tuple[int, int] = (1, 1), dilations: tuple[int, int] = (1, 1),
           padding: Padding = (0, 0, 0, 0), exclude_padding: bool = False,
           border: tuple[tuple[int, int, int], ...] = (), rounding: int = SINGLE, low: int = -128, high: int = 127,
           ) -> NDArray[np.int32]:
    """Largest or average value of each window; 0 + zero_out where a window lies outside altogether."""
    centred = np.asarray(x, np.int64) - zero_in
    inside = window_elements(x.shape[-3], x.shape[-2], kernel, strides, dilations, padding)
    if mode == "max":
        lowest = np.iinfo(np.int64).min
        s = window_maxima(pad_map(centred, padding, lowest), kernel, strides, dilations)
        s = np.where(inside > 0, s, 0)
    elif mode == "average":
        s = window_sums(pad_map(centred, padding), kernel, strides, dilations)
    else:
        raise ValueError(f'mode must be "max" or "average", not {mode!r}')
    multipliers: NDArray[np.int64] | int = multiplier
    shifts: NDArray[np.int64] | int = shift
    if exclude_padding:
        table = {count: (m, sh) for count, m, sh in border} | {0: (0, 0)}
        missing = sorted(set(np.unique(inside).tolist()) - set(table))
        if missing:
            raise ValueError(f"border has no entry for windows of {missing[0]} elements")
        multipliers = np.vectorize(lambda n: table[n][0], otypes=[np.int64])(inside)
        shifts = np.vectorize(lambda n: table[n][1], otypes=[np.int64])(inside)
    return rescale(s, multipliers, shifts, rounding=rounding, zero_point=zero_out, low=low, high=high)


def rescale_map(x: Array, multiplier: int, shift: int, *, zero_in: int = 0, zero_out: int = 0,
                padding: Padding = (0, 0, 0, 0), rounding: int = SINGLE, low: int = -128, high: int = 127,
                ) -> NDArray[np.int32]:
    """Another scale, element by element, and a border of zero_out."""
    centred = np.asarray(x, np.int32) - zero_in
    inner = rescale(centred, multiplier, shift, rounding=rounding, zero_point=zero_out, low=low, high=high)
    return pad_map(inner, padding, zero_out)
